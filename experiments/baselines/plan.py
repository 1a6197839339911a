"""The runs of the baselines: small GANs, and what they are trained on."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from experiments.training import Tree, merge

Pairs = tuple[tuple[str, str], ...]  # of arms that are compared


@dataclass(frozen=True)
class Baseline:
    """Small GANs that are trained on the same data.

    name: of its folder, its table and its samples.
    channels: of its images, which are 32x32.
    kimg: length of each training.
    seeds: of each arm.
    arms: what each kind of GAN changes in the config, by its name.
    """

    name: str
    channels: int
    kimg: int
    seeds: tuple[int, ...]
    arms: Mapping[str, Tree]

    def runs(self) -> list["BaselineRun"]:
        """Return its runs; all arms of one seed come before the next seed."""
        return [BaselineRun(self, arm, seed) for seed in self.seeds for arm in self.arms]

    def runs_of(self, arm: str) -> list["BaselineRun"]:
        """Return the runs of one arm, seed by seed."""
        return [BaselineRun(self, arm, seed) for seed in self.seeds]


@dataclass(frozen=True)
class BaselineRun:
    """One training."""

    baseline: Baseline
    arm: str
    seed: int

    @property
    def name(self) -> str:
        """The name of its directory."""
        return f"{self.arm}-{self.seed}"

    def config(self, folder: Path) -> Tree:
        """Return its config; `folder` contains the data and becomes the run's scratch.

        Networks of width 16 instead of the paper's 64, and learning rates of 1e-3 instead of 2e-4,
        so that one core trains it in minutes.
        """
        network = {"width": 16, "learning_rate": 1e-3}
        common: Tree = {
            "data": {
                "shards": str(folder / "data"),
                "size": 32,
                "channels": self.baseline.channels,
                "cache_dir": str(folder / "scratch"),
            },
            "generator": {**network, "latent_size": 64},
            "discriminator": {**network},
            "training": {
                "total_kimg": self.baseline.kimg,
                "batch_size": 32,
                "device": "cpu",
                "cpu_threads": 1,
                "mixed_precision": "bf16",
            },
            "ema": {"half_life_kimg": 5},
            "metrics": {"every_kimg": 0},  # measured at the end, with more images
            "output": {
                "log_every_kimg": 2,
                "sample_every_kimg": 50,
                "checkpoint_every_kimg": 25,
                "keep_best": None,
                "grid": [5, 12],
            },
        }
        return merge(common, self.baseline.arms[self.arm])


_DCGAN: Tree = {"objective": {"kind": "dcgan"}}
_WGAN_GP: Tree = {
    "objective": {"kind": "wgan-gp", "n_critic": 3},
    "generator": {"betas": [0.0, 0.9]},
    "discriminator": {"betas": [0.0, 0.9], "norm": "layer", "bias": True},
}
_TWO_ARMS = {"dcgan": _DCGAN, "wgan-gp": _WGAN_GP}

DIGITS = Baseline("digits", channels=3, kimg=150, seeds=(0, 1, 2), arms=_TWO_ARMS)
FASHION = Baseline("fashion", channels=1, kimg=60, seeds=(0, 1, 2), arms=_TWO_ARMS)

# As in SNGAN's code, learning rates fall to 0.
_FALLING: Tree = {
    name: {"learning_rate": {"from": 1e-3, "to": 0.0, "kind": "linear"}}
    for name in ("generator", "discriminator")
}
_FALLING_DCGAN = merge(_FALLING, _DCGAN)

# Pairing with R1 and R2, whose D cannot have BatchNorm, and Adam as in R3GAN.
_UNNORMALISED: Tree = {"discriminator": {"norm": "none", "bias": True}}
_R3GAN_ADAM: Tree = {
    "generator": {"betas": [0.0, 0.99]},
    "discriminator": {"betas": [0.0, 0.99]},
}
_RPGAN: Tree = merge(
    _UNNORMALISED,
    _R3GAN_ADAM,
    {"objective": {"kind": "rpgan", "r1_gamma": 0.5, "r2_gamma": 0.5}},
)
COVERAGE = Baseline(
    "coverage",
    channels=3,
    kimg=20,
    seeds=(0, 1, 2),
    arms={
        "dcgan": _DCGAN,
        "dcgan-plain-d": merge(_DCGAN, _UNNORMALISED),
        "dcgan-r3gan-adam": merge(_DCGAN, _UNNORMALISED, _R3GAN_ADAM),
        "rpgan": _RPGAN,
    },
)
# A D twice as wide as G. Chosen on seeds 10 and 11.
_WIDE: Tree = {"discriminator": {"width": 32}}
WIDE = Baseline(
    "wide",
    channels=3,
    kimg=10,
    seeds=(0, 1, 2),
    arms={arm: merge(tree, _WIDE) for arm, tree in COVERAGE.arms.items()},
)
# Chosen on seed 0.
PAIRING = Baseline(
    "pairing",
    channels=3,
    kimg=30,
    seeds=(3, 4),
    arms={"dcgan": _FALLING_DCGAN, "rpgan": merge(_FALLING, _RPGAN)},
)

# Both residual networks have 16 channels in every layer, as many as DCGAN's have at 32 pixels.
_RESNET: Tree = merge(
    _FALLING,
    {
        "objective": {"kind": "hinge"},
        "generator": {"backbone": "resnet", "width": 4, "betas": [0.0, 0.9]},
        "discriminator": {
            "backbone": "resnet",
            "width": 8,
            "norm": "none",
            "spectral_norm": True,
            "betas": [0.0, 0.9],
        },
    },
)
_CONCAT: Tree = {"conditioning": {"kind": "concat"}}
_PROJECTION: Tree = {"conditioning": {"kind": "projection"}}
_PLACED: Tree = {
    "conditioning": {"kind": "projection", "join_latents": True, "pool_features": False}
}
CLASSES = Baseline(
    "classes",
    channels=1,
    kimg=30,
    seeds=(0, 1, 2),
    arms={
        "dcgan": _FALLING_DCGAN,
        "dcgan-concat": merge(_FALLING_DCGAN, _CONCAT),
        "dcgan-projection": merge(_FALLING_DCGAN, _PROJECTION),
        "resnet": _RESNET,
        "resnet-projection": merge(_RESNET, _PROJECTION),
    },
)
# The arms of `CLASSES` whose FIDs are compared.
CLASS_PAIRS: Pairs = (
    ("dcgan", "resnet"),
    ("dcgan", "dcgan-concat"),
    ("dcgan", "dcgan-projection"),
    ("resnet", "resnet-projection"),
)

# The same question in a longer training, with classes beside G's latents and D's class by place.
# Chosen on seeds 0 and 10.
CONDITIONING = Baseline(
    "conditioning",
    channels=1,
    kimg=100,
    seeds=(1, 2, 3),
    arms={
        "rpgan": _RPGAN,
        "rpgan-placed": merge(_RPGAN, _PLACED),
    },
)
CONDITIONING_PAIRS: Pairs = (("rpgan", "rpgan-placed"),)
