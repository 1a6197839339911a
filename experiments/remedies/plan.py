"""The runs of the experiments: a small base config, and the changes that each run makes to it."""

from dataclasses import dataclass, field
from pathlib import Path

from experiments.training import Tree, merge

TUNING_PARTS = "3001,3003,3004,3005,3020,3022,3039,3040,3062,3068"
OTHER_PARTS = "3024,3710,3794,3069,3298,3660,54200,4589,3659,3701"
SEEDS = range(10, 15)  # of each arm; the remedies were chosen on others


@dataclass(frozen=True)
class PlannedRun:
    """A run of an experiment.

    group: name of the experiment: a fault on a data set.
    arm: name of the remedy.
    changes: to the base config: the fault and the remedy.
    """

    group: str
    arm: str
    seed: int
    changes: Tree = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name of its directory."""
        return f"{self.group}-{self.arm}-{self.seed}"


def base_config(out: Path, shards: Path) -> Tree:
    """Return the config that all runs start from.

    32x32 images, networks of width 12, 30 kimg: 40 seconds on one core.
    """
    network = {"width": 12, "learning_rate": 1e-3}
    return {
        "data": {"shards": str(shards), "size": 32, "cache_dir": str(out / "scratch")},
        "generator": {**network, "latent_size": 32},
        # BatchNorm in D would hide the mean brightness of a batch.
        "discriminator": {**network, "norm": "none", "bias": True},
        "training": {"total_kimg": 30, "batch_size": 32, "device": "cpu", "cpu_threads": 1},
        "ema": {"half_life_kimg": 1},
        "metrics": {"every_kimg": 6, "samples": 400, "features": "lite0"},
        "output": {
            "log_every_kimg": 1,
            "sample_every_kimg": 12,
            "checkpoint_every_kimg": 1000,
            "grid": [6, 10],
        },
    }


def learning_rates(g: float, d: float) -> Tree:
    """Set the learning rates of G and D."""
    return {"generator": {"learning_rate": g}, "discriminator": {"learning_rate": d}}


AUTO: Tree = {"health": {"remedy": "auto"}}
STRONG_D: Tree = learning_rates(5e-5, 1e-3)
COLLAPSE: Tree = learning_rates(2e-3, 5e-5)

# Remedies from the book for a D whose learning rate is 20 times that of G. A slower D is no remedy
# but the end of the fault, and shows what could be reached.
STRONG_ARMS: dict[str, Tree] = {
    "none": {},
    "label-flips": {"objective": {"label_flips": 0.15}},
    "slower-d": {"discriminator": {"learning_rate": 5e-5}},
    "auto": AUTO,
}
# Remedies from the literature for a G whose learning rate is 40 times that of D.
COLLAPSE_ARMS: dict[str, Tree] = {
    "none": {},
    "more-d-steps": {"objective": {"n_critic": 5}},
    "slower-g": {"generator": {"learning_rate": 4e-4}},
    "auto": AUTO,
}


@dataclass(frozen=True)
class Group:
    """An experiment: one fault, and a run of each seed with each remedy."""

    name: str
    fault: Tree
    arms: dict[str, Tree]

    def runs(self) -> list[PlannedRun]:
        """Return its runs, those of one seed together."""
        return [
            PlannedRun(self.name, arm, seed, merge(self.fault, changes))
            for seed in SEEDS
            for arm, changes in self.arms.items()
        ]


GROUPS = (
    Group("strong", STRONG_D, STRONG_ARMS),
    Group("collapse", COLLAPSE, COLLAPSE_ARMS),
)


def all_runs() -> list[PlannedRun]:
    """Return all runs."""
    return [run for group in GROUPS for run in group.runs()]
