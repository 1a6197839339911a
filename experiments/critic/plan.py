"""The long runs: WGAN-GP with the paper's critic steps, and the other objectives for comparison."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.training import Tree, merge

SETS = ("bricks", "fashion")
BATCH = 64

# Images seen, in thousands. D sees five batches for each step of G in WGAN-GP, so that its runs
# have 3,125 steps of G, those of the others 2,344.
KIMG = {"wgan-gp": 1000.0, "dcgan": 150.0, "hinge": 150.0}
CHECKPOINT_KIMG = {"wgan-gp": 25.0, "dcgan": 6.25, "hinge": 6.25}
SEEDS = {"wgan-gp": (0, 1, 2), "dcgan": (0, 1), "hinge": (0, 1)}
_OBJECTIVES: dict[str, Tree] = {
    "wgan-gp": {
        "objective": {"kind": "wgan-gp", "n_critic": 5},
        "generator": {"betas": [0.0, 0.9], "learning_rate": 3e-4},
        "discriminator": {"betas": [0.0, 0.9], "learning_rate": 3e-4},
    },
    "dcgan": {},
    "hinge": {"objective": {"kind": "hinge"}, "discriminator": {"spectral_norm": True}},
}


@dataclass(frozen=True)
class LongRun:
    """A run of an objective on a set of images."""

    kind: str
    data: str
    seed: int

    @property
    def name(self) -> str:
        """The name of its directory."""
        return f"{self.kind}-{self.data}-{self.seed}"

    def config(self, out: Path, shards: Path) -> Tree:
        """Return its config. out: folder of the runs; shards: of its images, grey and 32x32."""
        length: Tree = {
            "training": {"total_kimg": KIMG[self.kind]},
            "output": {"checkpoint_every_kimg": CHECKPOINT_KIMG[self.kind]},
        }
        return merge(_base(out, shards), _OBJECTIVES[self.kind], length)


def all_runs() -> Sequence[LongRun]:
    """Return the runs, those of WGAN-GP first, and of each kind one seed before the next."""
    return [
        LongRun(kind, data, seed)
        for kind, seeds in SEEDS.items()
        for seed in seeds
        for data in SETS
    ]


def _base(out: Path, shards: Path) -> Tree:
    """Return what all runs have in common: small networks, bf16, and all checkpoints kept."""
    adam = {"width": 16, "learning_rate": 2e-4}
    return {
        "data": {"shards": str(shards), "size": 32, "cache_dir": str(out / "scratch")},
        "generator": {**adam, "latent_size": 64, "upsampling": "nearest", "kernel": 3},
        "discriminator": {**adam, "norm": "none", "bias": True},
        "training": {"batch_size": BATCH, "mixed_precision": "bf16", "device": "cpu"},
        "ema": {"half_life_kimg": 5},
        "metrics": {"every_kimg": 0},
        "output": {
            "log_every_kimg": 1,
            "sample_every_kimg": 100,
            "keep_checkpoints": 1000,
        },
    }
