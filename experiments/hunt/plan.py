"""The runs of the hunt: ways to ruin a GAN, and settings that train well."""

from dataclasses import dataclass, field
from itertools import product

from experiments.hunt import faults
from experiments.hunt.faults import Fault
from experiments.remedies.plan import learning_rates
from experiments.training import Tree, merge
from gantrain.health.problems import NO_FAULT, Name

DATA = ("bricks", "fashion", "shapes")

WGAN: Tree = {
    "objective": {"kind": "wgan-gp", "n_critic": 2},
    "generator": {"betas": [0.0, 0.9]},
    "discriminator": {"betas": [0.0, 0.9]},
}
HINGE: Tree = {
    "objective": {"kind": "hinge"},
    "discriminator": {"spectral_norm": True},
}
RPGAN: Tree = {
    "objective": {"kind": "rpgan"},
    "generator": {"betas": [0.0, 0.99]},
    "discriminator": {"betas": [0.0, 0.99]},
}
OBJECTIVES: dict[str, Tree] = {"dcgan": {}, "wgan-gp": WGAN, "hinge": HINGE, "rpgan": RPGAN}
# What people change in a DCGAN.
DCGAN_SETTINGS: dict[str, Tree] = {
    "plain": {},
    "dropout": {"discriminator": {"dropout": 0.2}},
    "smooth": {"objective": {"label_smoothing": 0.1, "label_flips": 0.05}},
    "slower": learning_rates(2e-4, 2e-4),
    "nearest": {"generator": {"upsampling": "nearest"}},
}
PROJECTION: Tree = {"conditioning": {"kind": "projection"}}
DEAD_G: Tree = {"generator": {"learning_rate": 1e-12}}
DEAD_D: Tree = {"discriminator": {"learning_rate": 1e-12}}
FLIPS: Tree = {"objective": {"label_flips": 0.49}}

# Diagnoses that say nearly the same of a run.
NEIGHBOURS: dict[Name, tuple[Name, ...]] = {
    "dead player": ("never learnt", "stalled"),
    "never learnt": ("dead player", "stalled", "mode collapse", "discriminator too strong"),
    "stalled": ("never learnt", "dead player"),
    "discriminator too strong": ("mode collapse", "never learnt"),
    "mode collapse": ("discriminator too strong", "never learnt", "memorising"),
    "penalty off": ("diverging",),
    "diverging": ("mode collapse", "saturated output", "penalty off"),
    "uninformative labels": ("stalled", "never learnt"),
    "saturated output": ("never learnt",),
    "memorising": ("mode collapse", "unsuitable data"),  # that has too few images
    "quality falling": ("diverging", "mode collapse", "discriminator too strong"),
    "unsuitable data": (),
}


@dataclass(frozen=True)
class Draw:
    """What all runs of a draw have in common.

    g_steps: of each run, so that the 1,000 of some rules are over in good time.
    width: of both networks. grids: of 64 samples each, during a run.
    """

    seed: int
    batch: int
    g_steps: int
    width: int = 8
    grids: int = 2


FIRST = Draw(seed=0, batch=32, g_steps=1300)
SECOND = Draw(seed=1, batch=16, g_steps=1500)
# Runs that train well by themselves: a rate of 1e-3, that of the others, is too high for that.
STEADY: Tree = merge(learning_rates(4e-4, 4e-4), {"ema": {"half_life_kimg": 2}})
SLOWER_G: Tree = merge(learning_rates(2e-4, 8e-4), {"ema": {"half_life_kimg": 2}})
# Faults that settings make for certain. Whether the others do so, a run's last FID says.
_CERTAIN: tuple[Name, ...] = (
    "dead player",
    "penalty off",
    "uninformative labels",
    "unsuitable data",
    "memorising",
    "saturated output",
)


@dataclass(frozen=True)
class HuntedRun:
    """A run of the hunt.

    data: name of its set, see experiments/hunt/data.py.
    truth: the right diagnosis, which may be that there is no fault.
    fault: what is done to it besides its settings. begins: fraction of the run before that.
    half_batch: whether its batches are half as large as those of the other runs.
    """

    name: str
    data: str
    kind: str
    truth: Name
    changes: Tree = field(default_factory=dict)
    fault: Fault = faults.no_fault
    begins: float = 0.0
    half_batch: bool = False
    draw: Draw = FIRST

    @property
    def tree(self) -> Tree:
        """The changes to the base config."""
        return merge(OBJECTIVES[self.kind], self.changes)

    @property
    def images_per_g_step(self) -> int:
        """Real images that D sees for each step of G."""
        return self.batch * int(self.tree.get("objective", {}).get("n_critic", 1))

    @property
    def batch(self) -> int:
        """Real images of a step of D."""
        return self.draw.batch // (2 if self.half_batch else 1)

    @property
    def total_kimg(self) -> float:
        """The length of the run."""
        return self.draw.g_steps * self.images_per_g_step / 1000

    @property
    def certain(self) -> bool:
        """Whether the run has its fault whatever becomes of its quality."""
        made = self.fault is not faults.no_fault and not self.begins
        return made or self.truth in _CERTAIN

    def is_right(self, name: str) -> bool:
        """Return whether a diagnosis is the right one or its neighbour."""
        return name in (self.truth, *NEIGHBOURS.get(self.truth, ()))


def sick(
    name: str,
    truth: Name,
    data: str,
    kind: str,
    changes: Tree | None = None,
    fault: Fault = faults.no_fault,
    begins: float = 0.0,
) -> HuntedRun:
    """Return a run with a fault; its name gets those of its data and objective."""
    return HuntedRun(f"{name}-{kind}-{data}", data, kind, truth, changes or {}, fault, begins)


def sick_runs() -> list[HuntedRun]:
    """Return the runs that are ill, in no particular order."""
    few: Tree = {"data": {"limit": 8}}
    return [
        *(sick("dead-g", "dead player", data, kind, DEAD_G) for data, kind in _pairs()),
        *(sick("dead-d", "dead player", data, kind, DEAD_D) for data, kind in _pairs()),
        sick("slow-d", "never learnt", "bricks", "wgan-gp", learning_rates(1e-3, 2.5e-6)),
        sick("slow-d", "never learnt", "fashion", "dcgan", learning_rates(1e-3, 2.5e-6)),
        sick("slow-d", "never learnt", "shapes", "hinge", learning_rates(1e-3, 2.5e-6)),
        sick("slow-g", "never learnt", "shapes", "wgan-gp", learning_rates(1e-6, 1e-3)),
        sick("slow-both", "stalled", "bricks", "dcgan", learning_rates(1e-6, 1e-6)),
        sick("slow-both", "stalled", "fashion", "wgan-gp", learning_rates(1e-6, 1e-6)),
        *(
            sick("strong-d", "discriminator too strong", data, "dcgan", learning_rates(5e-5, 1e-3))
            for data in DATA
        ),
        sick("alike", "mode collapse", "bricks", "dcgan", learning_rates(3e-3, 3e-5)),
        sick("alike", "mode collapse", "fashion", "dcgan", learning_rates(3e-3, 3e-5)),
        sick("alike", "mode collapse", "shapes", "hinge", learning_rates(1e-2, 3e-5)),
        sick("one-each", "mode collapse", "bricks", "dcgan", fault=faults.few_images),
        sick("one-each", "mode collapse", "fashion", "wgan-gp", fault=faults.few_images),
        sick("classes", "mode collapse", "bricks", "dcgan", fault=faults.missing_classes),
        sick("classes", "mode collapse", "fashion", "dcgan", fault=faults.missing_classes),
        sick("no-penalty", "penalty off", "bricks", "wgan-gp", _penalty(0)),
        sick("no-penalty", "penalty off", "shapes", "wgan-gp", _penalty(1e-6)),
        sick("no-penalty", "penalty off", "fashion", "wgan-gp", _penalty(1e-4)),
        sick("diverging", "diverging", "bricks", "dcgan", learning_rates(0.06, 0.06)),
        sick("diverging", "diverging", "fashion", "wgan-gp", learning_rates(1e-3, 0.05)),
        sick("diverging", "diverging", "shapes", "dcgan", learning_rates(0.1, 0.1)),
        *(sick("flips", "uninformative labels", data, "dcgan", FLIPS) for data in DATA),
        sick("constant", "unsuitable data", "constant", "dcgan"),
        sick("constant", "unsuitable data", "constant", "wgan-gp"),
        sick("dark", "unsuitable data", "dark", "dcgan"),
        sick("dark", "unsuitable data", "dark", "hinge"),
        sick("few", "memorising", "bricks", "dcgan", few),
        sick("few", "memorising", "fashion", "dcgan", few),
        sick("half-range", "saturated output", "fashion", "dcgan", fault=faults.half_range),
        sick("half-range", "saturated output", "shapes", "wgan-gp", fault=faults.half_range),
        sick("saturated", "saturated output", "bricks", "dcgan", fault=faults.saturated),
        sick("saturated", "saturated output", "fashion", "hinge", fault=faults.saturated),
        sick("late-noise", "quality falling", "bricks", "dcgan", {}, faults.late_noise, 0.5),
        sick("late-noise", "quality falling", "fashion", "wgan-gp", {}, faults.late_noise, 0.5),
        sick("late-steps", "quality falling", "shapes", "dcgan", {}, faults.late_steps, 0.5),
        sick("late-steps", "quality falling", "bricks", "hinge", {}, faults.late_steps, 0.5),
        sick("late-stop", "dead player", "fashion", "dcgan", {}, faults.late_stop_of_d, 0.5),
        sick("late-stop", "dead player", "bricks", "wgan-gp", {}, faults.late_stop_of_d, 0.5),
    ]


def healthy_runs() -> list[HuntedRun]:
    """Return as many settings that train well: those of each objective on each set.

    At 1e-3, the rate of the others, WGAN-GP loses its quality again on the bricks (FID 25, later
    49), and the FID of DCGAN changes by a factor of 1.5 from one measurement to the next. With two
    critic steps, WGAN-GP also needs a slower G: with equal rates of 4e-4 the FID on the bricks rose
    from 121 to 433, and fell to 59 then.
    """
    wgan: dict[str, Tree] = {
        "plain": {},
        "dropout": {"discriminator": {"dropout": 0.2}},
        "slower": learning_rates(1e-4, 4e-4),
    }
    hinge: dict[str, Tree] = {
        "plain": {},
        "half-batch": {},
        "glorot": {"discriminator": {"init": "glorot"}},
    }
    settings = {
        "dcgan": (STEADY, DCGAN_SETTINGS),
        "wgan-gp": (SLOWER_G, wgan),
        "hinge": (STEADY, hinge),
    }
    return [
        HuntedRun(
            f"healthy-{name}-{kind}-{data}",
            data,
            kind,
            NO_FAULT,
            merge(base, changes),
            half_batch=name == "half-batch",
        )
        for kind, (base, each) in settings.items()
        for (name, changes), data in product(each.items(), DATA)
    ]


def _pairs() -> list[tuple[str, str]]:
    return list(zip(DATA, ("dcgan", "wgan-gp", "hinge"), strict=True))


def _penalty(weight: float) -> Tree:
    return {"objective": {"penalty_weight": weight}}
