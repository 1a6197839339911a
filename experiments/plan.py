"""Which runs the experiments are: a common small config, and what each differs in."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

Tree = dict[str, dict[str, Any]]

SHOWN_PARTS = "3001,3003,3004,3005,3020,3022,3039,3040,3062,3068"
OTHER_PARTS = "3002,3010,2357,3021,3023,2420,3038,3665,3941,3942"


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
    """32x32 pictures of ten parts, networks of width 12, 24,000 images seen: a minute on a core."""
    network = {"width": 12, "learning_rate": 1e-3}
    return {
        "data": {"shards": str(shards), "size": 32, "cache_dir": str(out / "scratch")},
        "generator": {**network, "latent_size": 32},
        # Without BatchNorm in D, which cannot see how bright a whole batch is.
        "discriminator": {**network, "norm": "none", "bias": True},
        "training": {"total_kimg": 24, "batch_size": 32, "device": "cpu"},
        "ema": {"half_life_kimg": 1},
        "metrics": {"every_kimg": 4, "samples": 400},
        "output": {
            "log_every_kimg": 1,
            "sample_every_kimg": 12,
            "checkpoint_every_kimg": 1000,
            "grid": [6, 10],
        },
    }


WGAN: Tree = {
    "objective": {"kind": "wgan-gp", "n_critic": 3},
    "generator": {"betas": [0.0, 0.9]},
    "discriminator": {"betas": [0.0, 0.9]},
}
STRONG: Tree = {"generator": {"learning_rate": 1e-4}}
COLLAPSE: Tree = {
    "generator": {"learning_rate": 2e-3},
    "discriminator": {"learning_rate": 2e-5},
}
FINE: Tree = {"metrics": {"every_kimg": 2}}


def strong_arms() -> dict[str, Tree]:
    """A discriminator that learns ten times as fast, and what the book says to do."""
    return {
        "none": {},
        "dropout": {"discriminator": {"dropout": 0.3}},
        "slower-d": {"discriminator": {"learning_rate": 1e-4}},
        "narrower-d": {"discriminator": {"width": 3}},
        "label-noise": {"objective": {"label_noise": 0.3}},
        "label-flips": {"objective": {"label_flips": 0.15}},
        "auto": {"health": {"remedy": "auto"}},
    }


def collapse_arms() -> dict[str, Tree]:
    """A generator that learns a hundred times as fast, and what the literature says to do."""
    return {
        "none": {},
        "more-d-steps": {"objective": {"n_critic": 5}},
        "slower-g": {"generator": {"learning_rate": 4e-4}},
        "batch-norm": {"discriminator": {"norm": "batch", "bias": False}},
        "wgan-gp": WGAN,
        "auto": {"health": {"remedy": "auto"}},
    }


def validation() -> list[Planned]:
    """Runs of other parts, sizes of batch and strengths of fault than those looked at before."""
    b64: Tree = {"training": {"batch_size": 64}, "generator": {"width": 16}}
    faults: dict[str, tuple[str, Tree]] = {
        "strong-a": ("discriminator too strong", {"generator": {"learning_rate": 3e-5}}),
        "strong-b": (
            "discriminator too strong",
            merged(b64, {"generator": {"learning_rate": 5e-5}}),
        ),
        "strong-c": (
            "discriminator too strong",
            {"generator": {"learning_rate": 1e-4}, "objective": {"n_critic": 3}},
        ),
        "collapse-a": (
            "mode collapse",
            {"generator": {"learning_rate": 3e-3}, "discriminator": {"learning_rate": 2e-5}},
        ),
        "collapse-b": (
            "mode collapse",
            merged(
                b64,
                {"generator": {"learning_rate": 2e-3}, "discriminator": {"learning_rate": 1e-5}},
            ),
        ),
        "collapse-c": ("mode collapse", merged(COLLAPSE, {"discriminator": {"width": 8}})),
        "diverging-a": (
            "diverging",
            merged(WGAN, {"objective": {"penalty_weight": 1e-3}}),
        ),
        "diverging-b": (
            "diverging",
            {"generator": {"learning_rate": 0.1}, "discriminator": {"learning_rate": 0.1}},
        ),
        "diverging-c": (
            "diverging",
            merged(WGAN, {"discriminator": {"learning_rate": 0.05}}),
        ),
        "stalled-a": (
            "stalled",
            {"generator": {"learning_rate": 1e-7}, "discriminator": {"learning_rate": 1e-7}},
        ),
        "stalled-b": ("stalled", {"discriminator": {"learning_rate": 1e-8, "width": 4}}),
        "memorising-a": ("memorising", {"data": {"limit": 8}, "discriminator": {"init": "glorot"}}),
    }
    healthy: dict[str, Tree] = {
        "healthy-a": {},
        "healthy-b": b64,
        "healthy-c": {"discriminator": {"dropout": 0.2}},
        "healthy-d": {"discriminator": {"init": "glorot"}, "generator": {"learning_rate": 7e-4}},
        "healthy-e": WGAN,
        "healthy-f": merged(WGAN, {"discriminator": {"width": 16}}),
    }
    # Diagnoses hang on the generator's steps, of which each run makes some 400 to 500.
    short: Tree = {"training": {"total_kimg": 14}}
    planned = [
        Planned("diagnoses", arm, 100 + i, changes, truth)
        for i, (arm, (truth, changes)) in enumerate(faults.items())
    ]
    planned += [
        Planned("diagnoses", arm, 200 + i, changes, "healthy")
        for i, (arm, changes) in enumerate(healthy.items())
    ]
    long: Tree = {"training": {"total_kimg": 48}}  # where a step takes three batches or double ones
    return [
        replace(run, changes=merged(long if takes_more(run) else short, run.changes))
        for run in [*planned[::3], *planned[1::3], *planned[2::3]]
    ]


def takes_more(run: Planned) -> bool:
    """Whether a step of the generator takes more than one batch of 32 real pictures."""
    several = run.changes.get("objective", {}).get("n_critic", 1) > 1
    return several or "batch_size" in run.changes.get("training", {})


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
        Planned(group, arm, seed, changes) for seed in range(3) for group, arm, changes in arms
    ]
    more = [
        Planned(group, arm, seed, changes)
        for seed in (3, 4)
        for group, arm, changes in arms
        if arm in ("dcgan", "wgan-gp") and group == "kinds"
    ]
    first = [run for run in seeded if run.arm in ("none", "auto")]
    kinds = [run for run in seeded if run.group == "kinds"]
    rest = [run for run in seeded if run not in first and run not in kinds]
    return [*first, *kinds, *validation(), *rest, *more]
