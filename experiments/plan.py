"""Which runs the experiments are: a common small config, and what each differs in."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Tree = dict[str, dict[str, Any]]

SHOWN_PARTS = "3001,3003,3004,3005,3020,3022,3039,3040,3062,3068"
OTHER_PARTS = "3024,3710,3794,3069,3298,3660,54200,4589,3659,3701"
SEEDS = 5


@dataclass(frozen=True)
class Planned:
    """One run. group: the experiment; arm: what differs; changes: to the common config.

    truth: the diagnosis that is right for it, where the experiment is on diagnoses.
    """

    group: str
    arm: str
    seed: int
    changes: Tree = field(default_factory=dict)
    truth: str = ""

    @property
    def name(self) -> str:
        """Of its directory."""
        return f"{self.group}-{self.arm}-{self.seed}"


def merged(*trees: Tree) -> Tree:
    """Later trees win, key by key."""
    result: Tree = {}
    for tree in trees:
        for section, values in tree.items():
            result[section] = {**result.get(section, {}), **values}
    return result


def common(out: Path, shards: Path) -> Tree:
    """32x32 images of ten parts, networks of width 12, 36,000 images: half a minute on a core."""
    network = {"width": 12, "learning_rate": 1e-3}
    return {
        "data": {"shards": str(shards), "size": 32, "cache_dir": str(out / "scratch")},
        "generator": {**network, "latent_size": 32},
        # Without BatchNorm in D, which cannot see how bright a whole batch is.
        "discriminator": {**network, "norm": "none", "bias": True},
        "training": {"total_kimg": 36, "batch_size": 32, "device": "cpu"},
        "ema": {"half_life_kimg": 1},
        "metrics": {"every_kimg": 4, "samples": 400},
        "output": {
            "log_every_kimg": 1,
            "sample_every_kimg": 12,
            "checkpoint_every_kimg": 1000,
            "grid": [6, 10],
        },
    }


def rates(of_g: float, of_d: float) -> Tree:
    """Learning rates."""
    return {"generator": {"learning_rate": of_g}, "discriminator": {"learning_rate": of_d}}


WGAN: Tree = {
    "objective": {"kind": "wgan-gp", "n_critic": 3},
    "generator": {"betas": [0.0, 0.9]},
    "discriminator": {"betas": [0.0, 0.9]},
}
STRONG: Tree = {"generator": {"learning_rate": 5e-5}}
COLLAPSE: Tree = rates(2e-3, 5e-5)
FINE: Tree = {"metrics": {"every_kimg": 2}}
WIDE: Tree = {"training": {"batch_size": 64, "total_kimg": 48}, "generator": {"width": 16}}
LONG: Tree = {"training": {"total_kimg": 60}}


def strong_arms() -> dict[str, Tree]:
    """A discriminator that learns twenty times as fast, and what the book says to do."""
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
    """A generator that learns forty times as fast, and what the literature says to do."""
    return {
        "none": {},
        "more-d-steps": {"objective": {"n_critic": 5}},
        "slower-g": {"generator": {"learning_rate": 4e-4}},
        "batch-norm": {"discriminator": {"norm": "batch", "bias": False}},
        "wgan-gp": WGAN,
        "auto": {"health": {"remedy": "auto"}},
    }


def faults() -> dict[str, tuple[str, Tree]]:
    """What is wrong with each of the faulty runs, and its right name."""
    return {
        "strong-a": ("discriminator too strong", rates(7e-5, 1e-3)),
        "strong-b": ("discriminator too strong", merged(WIDE, rates(4e-5, 1.5e-3))),
        "strong-c": (
            "discriminator too strong",
            merged(LONG, rates(6e-5, 1e-3), {"objective": {"n_critic": 2}}),
        ),
        "collapse-a": ("mode collapse", rates(3e-3, 3e-5)),
        "collapse-b": ("mode collapse", merged(WIDE, rates(2e-3, 4e-5))),
        "collapse-c": (
            "mode collapse",
            merged(rates(1.5e-3, 4e-5), {"discriminator": {"width": 8}}),
        ),
        "diverging-a": (
            "diverging",
            merged(LONG, WGAN, {"objective": {"penalty_weight": 1e-6}}),
        ),
        "diverging-b": ("diverging", rates(0.06, 0.06)),
        "diverging-c": ("diverging", merged(LONG, WGAN, rates(1e-3, 0.04))),
        "stalled-a": ("stalled", rates(1e-6, 1e-6)),
        "stalled-b": ("stalled", merged(LONG, WGAN, rates(1e-7, 1e-7))),
        "memorising-a": ("memorising", merged(LONG, {"data": {"limit": 8}})),
        "memorising-b": (
            "memorising",
            merged(LONG, {"data": {"limit": 10}, "generator": {"width": 16}}),
        ),
    }


def healthy() -> dict[str, Tree]:
    """Settings that train well, of which none may raise an alarm."""
    return {
        "healthy-a": {},
        "healthy-b": WIDE,
        "healthy-c": {"discriminator": {"dropout": 0.2}},
        "healthy-d": {"discriminator": {"init": "glorot"}, "generator": {"learning_rate": 7e-4}},
        "healthy-e": merged(LONG, WGAN),
        "healthy-f": merged(LONG, WGAN, {"discriminator": {"width": 16}}),
    }


def validation() -> list[Planned]:
    """Runs of other parts, seeds and strengths of fault than the thresholds were chosen on.

    Diagnoses hang on the generator's steps: those that take several batches a step see more images.
    """
    ill = [
        Planned("diagnoses", arm, 300 + i, changes, truth)
        for i, (arm, (truth, changes)) in enumerate(faults().items())
    ]
    well = [
        Planned("diagnoses", arm, 400 + i, changes, "healthy")
        for i, (arm, changes) in enumerate(healthy().items())
    ]
    return [*ill, *well]


def all_runs() -> list[Planned]:
    """Every run, the most telling first."""
    arms: list[tuple[str, str, Tree]] = [
        *(("strong", arm, merged(STRONG, changes)) for arm, changes in strong_arms().items()),
        *(("collapse", arm, merged(COLLAPSE, changes)) for arm, changes in collapse_arms().items()),
        ("kinds", "dcgan", FINE),
        ("kinds", "wgan-gp", merged(WGAN, FINE)),
        ("kinds", "dcgan-nearest", merged(FINE, {"generator": {"upsampling": "nearest"}})),
        ("kinds", "dcgan-kernel-5", merged(FINE, {"generator": {"kernel": 5}})),
    ]
    seeded = [
        Planned(group, arm, seed, changes) for seed in range(SEEDS) for group, arm, changes in arms
    ]
    first = [run for run in seeded if run.arm in ("none", "auto")]
    kinds = [run for run in seeded if run.group == "kinds"]
    rest = [run for run in seeded if run not in first and run not in kinds]
    return [*validation(), *first, *kinds, *rest]
