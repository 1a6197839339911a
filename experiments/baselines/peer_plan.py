"""The runs that compare gantrain with its peer: six arms, five seeds, both codes."""

from dataclasses import dataclass
from pathlib import Path

from experiments.baselines.mimicry import LATENT_SIZE
from experiments.training import Tree

CODES = ("peer", "gantrain")
SEEDS = 5
WIDTH = 16  # channels of every layer, `ngf` and `ndf` there; 256 and 128 in the peer's baselines
BETAS = (0.0, 0.9)
_ADAM_EPSILON = 1e-8


@dataclass(frozen=True)
class Arm:
    """An objective with its settings.

    label: the peer's name. n_critic: D steps per G step. steps: of the generator.
    """

    kind: str
    label: str
    n_critic: int
    steps: int
    batch_size: int
    learning_rate: float

    @property
    def name(self) -> str:
        """The objective and the learning rate."""
        return f"{self.kind}-{self.learning_rate:g}"

    @property
    def images(self) -> int:
        """Number of real images that D sees."""
        return self.steps * self.n_critic * self.batch_size


def _at_published_rate(kind: str, label: str, n_critic: int, steps: int) -> Arm:
    """Return an arm with the learning rate of the peer's baselines: slow for so few steps."""
    return Arm(kind, label, n_critic, steps, batch_size=32, learning_rate=2e-4)


def _at_high_rate(kind: str, label: str, n_critic: int, steps: int) -> Arm:
    return Arm(kind, label, n_critic, steps, batch_size=16, learning_rate=1e-3)


ARMS = (
    _at_published_rate("dcgan", "DCGAN", n_critic=1, steps=200),
    _at_published_rate("wgan-gp", "WGAN-GP", n_critic=2, steps=90),
    _at_published_rate("hinge", "SNGAN", n_critic=2, steps=110),
    _at_high_rate("dcgan", "DCGAN", n_critic=1, steps=250),
    _at_high_rate("wgan-gp", "WGAN-GP", n_critic=2, steps=130),
    _at_high_rate("hinge", "SNGAN", n_critic=2, steps=180),
)


@dataclass(frozen=True)
class PeerRun:
    """One training. code: whose trainer runs it."""

    arm: Arm
    code: str
    seed: int

    @property
    def name(self) -> str:
        """The name of its directory."""
        return f"{self.arm.name}-{self.code}-{self.seed}"


def all_runs() -> list[PeerRun]:
    """Return all runs, seed by seed, so that a part of them is a comparison too."""
    return [PeerRun(arm, code, seed) for seed in range(SEEDS) for arm in ARMS for code in CODES]


def trainer_config(arm: Arm, out: Path, shards: Path) -> Tree:
    """Return the config with which our trainer does what the peer's does.

    No EMA, no augmentation, no decay of the learning rate, one thread. Networks are not described:
    the peer's are trained in place of those of the config.
    """
    adam = {"learning_rate": arm.learning_rate, "betas": list(BETAS)}
    # DCGAN's D loss is the mean of the losses on real and on fake images, the peer's their sum.
    # Adam's step is the same if its epsilon is halved with the gradient.
    epsilon = _ADAM_EPSILON / 2 if arm.kind == "dcgan" else _ADAM_EPSILON
    kimg = arm.images / 1000
    return {
        "data": {
            "shards": str(shards),
            "size": 32,
            "channels": 3,
            "cache_dir": str(out / "scratch"),
        },
        "generator": {**adam, "latent_size": LATENT_SIZE},
        "discriminator": {**adam, "norm": "none", "adam_epsilon": epsilon},
        "objective": {"kind": arm.kind, "n_critic": arm.n_critic},
        "ema": {"half_life_kimg": 0},
        "training": {
            "total_kimg": kimg,
            "batch_size": arm.batch_size,
            "device": "cpu",
            "cpu_threads": 1,
        },
        "metrics": {"every_kimg": 0},
        "output": {
            "log_every_kimg": 2,
            "sample_every_kimg": kimg,
            "checkpoint_every_kimg": kimg,
            "keep_best": None,
        },
    }
