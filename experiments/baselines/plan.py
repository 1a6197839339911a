"""The runs of the baselines: small DCGANs and WGAN-GPs, and what they are trained on."""

from dataclasses import dataclass
from pathlib import Path

from experiments.training import Tree, merge

KINDS = ("dcgan", "wgan-gp")


@dataclass(frozen=True)
class Baseline:
    """A data set that the same small GANs are trained on.

    name: of its folder and of its tables.
    channels: of its images, which are 32x32.
    kimg: length of each training.
    seeds: of each kind of GAN.
    """

    name: str
    channels: int
    kimg: int
    seeds: tuple[int, ...]

    def runs(self) -> list["BaselineRun"]:
        """Return its runs; all kinds of one seed come before the next seed."""
        return [BaselineRun(self, kind, seed) for seed in self.seeds for kind in KINDS]


@dataclass(frozen=True)
class BaselineRun:
    """One training. kind: of the objective."""

    baseline: Baseline
    kind: str
    seed: int

    @property
    def name(self) -> str:
        """The name of its directory."""
        return f"{self.kind}-{self.seed}"

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
        return merge(common, _OBJECTIVES[self.kind])


_OBJECTIVES: dict[str, Tree] = {
    "dcgan": {"objective": {"kind": "dcgan"}},
    "wgan-gp": {
        "objective": {"kind": "wgan-gp", "n_critic": 3},
        "generator": {"betas": [0.0, 0.9]},
        "discriminator": {"betas": [0.0, 0.9], "norm": "layer", "bias": True},
    },
}

DIGITS = Baseline("digits", channels=3, kimg=150, seeds=(0, 1, 2))
FASHION = Baseline("fashion", channels=1, kimg=60, seeds=(0, 1, 2))
