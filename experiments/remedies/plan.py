"""The runs of the experiments: a small base config, and the changes that each run makes to it."""

from dataclasses import dataclass, field
from pathlib import Path

from experiments.training import Tree, merge
from gantrain.health.problems import NO_FAULT

TUNING_PARTS = "3001,3003,3004,3005,3020,3022,3039,3040,3062,3068"
OTHER_PARTS = "3024,3710,3794,3069,3298,3660,54200,4589,3659,3701"
SEEDS = 5  # of each arm


@dataclass(frozen=True)
class PlannedRun:
    """A run of an experiment.

    group: name of the experiment.
    arm: name of the changes.
    changes: to the base config.
    truth: the correct diagnosis; "" outside the experiment on diagnoses.
    """

    group: str
    arm: str
    seed: int
    changes: Tree = field(default_factory=dict)
    truth: str = ""

    @property
    def name(self) -> str:
        """The name of its directory."""
        return f"{self.group}-{self.arm}-{self.seed}"


def base_config(out: Path, shards: Path) -> Tree:
    """Return the config that all runs start from.

    32x32 images of ten parts, networks of width 12, 36 kimg: half a minute on one core.
    """
    network = {"width": 12, "learning_rate": 1e-3}
    return {
        "data": {"shards": str(shards), "size": 32, "cache_dir": str(out / "scratch")},
        "generator": {**network, "latent_size": 32},
        # BatchNorm in D would hide the mean brightness of a batch.
        "discriminator": {**network, "norm": "none", "bias": True},
        "training": {"total_kimg": 36, "batch_size": 32, "device": "cpu"},
        "ema": {"half_life_kimg": 1},
        "metrics": {"every_kimg": 4, "samples": 400, "features": "classifier"},
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


WGAN: Tree = {
    "objective": {"kind": "wgan-gp", "n_critic": 3},
    "generator": {"betas": [0.0, 0.9]},
    "discriminator": {"betas": [0.0, 0.9]},
}
STRONG_D: Tree = {"generator": {"learning_rate": 5e-5}}
COLLAPSE: Tree = learning_rates(2e-3, 5e-5)
FREQUENT_METRICS: Tree = {"metrics": {"every_kimg": 2}}
WIDE: Tree = {"training": {"batch_size": 64, "total_kimg": 48}, "generator": {"width": 16}}
LONG: Tree = {"training": {"total_kimg": 60}}


def strong_arms() -> dict[str, Tree]:
    """Remedies from the book for a D whose learning rate is 20 times that of G."""
    return {
        "none": {},
        "dropout": {"discriminator": {"dropout": 0.3}},
        "slower-d": {"discriminator": {"learning_rate": 5e-5}},
        "narrower-d": {"discriminator": {"width": 3}},
        "label-noise": {"objective": {"label_noise": 0.3}},
        "label-flips": {"objective": {"label_flips": 0.15}},
        "auto": {"health": {"remedy": "auto"}},
    }


def collapse_arms() -> dict[str, Tree]:
    """Remedies from the literature for a G whose learning rate is 40 times that of D."""
    return {
        "none": {},
        "more-d-steps": {"objective": {"n_critic": 5}},
        "slower-g": {"generator": {"learning_rate": 4e-4}},
        "batch-norm": {"discriminator": {"norm": "batch", "bias": False}},
        "wgan-gp": WGAN,
        "auto": {"health": {"remedy": "auto"}},
    }


def faults() -> dict[str, tuple[str, Tree]]:
    """Return the correct diagnosis and the faulty settings of each faulty run."""
    return {
        "strong-a": ("discriminator too strong", learning_rates(7e-5, 1e-3)),
        "strong-b": ("discriminator too strong", merge(WIDE, learning_rates(4e-5, 1.5e-3))),
        "strong-c": (
            "discriminator too strong",
            merge(LONG, learning_rates(6e-5, 1e-3), {"objective": {"n_critic": 2}}),
        ),
        "collapse-a": ("mode collapse", learning_rates(3e-3, 3e-5)),
        "collapse-b": ("mode collapse", merge(WIDE, learning_rates(2e-3, 4e-5))),
        "collapse-c": (
            "mode collapse",
            merge(learning_rates(1.5e-3, 4e-5), {"discriminator": {"width": 8}}),
        ),
        "diverging-a": (
            "penalty off",
            merge(LONG, WGAN, {"objective": {"penalty_weight": 1e-6}}),
        ),
        "diverging-b": ("diverging", learning_rates(0.06, 0.06)),
        "diverging-c": ("diverging", merge(LONG, WGAN, learning_rates(1e-3, 0.04))),
        "stalled-a": ("stalled", learning_rates(1e-6, 1e-6)),
        "stalled-b": ("stalled", merge(LONG, WGAN, learning_rates(1e-7, 1e-7))),
        "memorising-a": ("memorising", merge(LONG, {"data": {"limit": 8}})),
        "memorising-b": (
            "memorising",
            merge(LONG, {"data": {"limit": 10}, "generator": {"width": 16}}),
        ),
    }


def healthy_settings() -> dict[str, Tree]:
    """Return settings that train well and must not raise an alarm."""
    return {
        "healthy-a": {},
        "healthy-b": WIDE,
        "healthy-c": {"discriminator": {"dropout": 0.2}},
        "healthy-d": {"discriminator": {"init": "glorot"}, "generator": {"learning_rate": 7e-4}},
        "healthy-e": merge(LONG, WGAN),
        "healthy-f": merge(LONG, WGAN, {"discriminator": {"width": 16}}),
    }


def diagnosis_runs() -> list[PlannedRun]:
    """Return runs with other parts, seeds and faults than those the thresholds were tuned on.

    Diagnoses depend on the generator's steps, so runs that take several D steps for each of these
    see more images.
    """
    faulty = [
        PlannedRun("diagnoses", arm, 300 + i, changes, truth)
        for i, (arm, (truth, changes)) in enumerate(faults().items())
    ]
    healthy = [
        PlannedRun("diagnoses", arm, 400 + i, changes, NO_FAULT)
        for i, (arm, changes) in enumerate(healthy_settings().items())
    ]
    return [*faulty, *healthy]


def all_runs() -> list[PlannedRun]:
    """Return all runs, the most informative first."""
    arms: list[tuple[str, str, Tree]] = [
        *(("strong", arm, merge(STRONG_D, changes)) for arm, changes in strong_arms().items()),
        *(("collapse", arm, merge(COLLAPSE, changes)) for arm, changes in collapse_arms().items()),
        ("kinds", "dcgan", FREQUENT_METRICS),
        ("kinds", "wgan-gp", merge(WGAN, FREQUENT_METRICS)),
        (
            "kinds",
            "dcgan-nearest",
            merge(FREQUENT_METRICS, {"generator": {"upsampling": "nearest"}}),
        ),
        ("kinds", "dcgan-kernel-5", merge(FREQUENT_METRICS, {"generator": {"kernel": 5}})),
    ]
    seeded = [
        PlannedRun(group, arm, seed, changes)
        for seed in range(SEEDS)
        for group, arm, changes in arms
    ]
    first = [run for run in seeded if run.arm in ("none", "auto")]
    kinds = [run for run in seeded if run.group == "kinds"]
    rest = [run for run in seeded if run not in first and run not in kinds]
    return [*diagnosis_runs(), *first, *kinds, *rest]
