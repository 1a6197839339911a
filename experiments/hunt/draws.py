"""The draws of the hunt's runs: which settings, which images, and what is decided by them.

The runs of the first one were looked at while the rules were written. Those of the second have
other images, another seed, smaller batches and more steps; half of them were trained once the rules
were final, and four rules were changed by them. The third is for the report: its settings were
drawn, its images made and its runs trained after that. By it, one rule that raised false alarms was
changed, so that the fourth, for the report on those, has runs without a fault alone; and so has
the fifth (see `shipped`).
"""

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from experiments.hunt import faults
from experiments.hunt.plan import (
    PROJECTION,
    SECOND,
    SLOWER_G,
    STEADY,
    Draw,
    HuntedRun,
    healthy_runs,
    sick,
    sick_runs,
)
from experiments.hunt.shipped import FIFTH, fifth_draw
from experiments.remedies.plan import learning_rates
from experiments.training import Tree, merge
from gantrain.health.problems import NO_FAULT

Half = Literal["tuning", "report", "well", "judged"]

# A quarter of its runs is 400 steps, of which the signs that young GANs show need 300.
THIRD = Draw(seed=2, batch=20, g_steps=1600)
FOURTH = Draw(seed=3, batch=24, g_steps=1600)
_DRAW_SEED = 3031
_SETS = {"bricks": "bricks3", "fashion": "digits", "shapes": "shapes3"}
_FOURTH_SETS = {"bricks": "bricks4", "fashion": "mnist", "shapes": "shapes4"}
_CONCAT: Tree = {"conditioning": {"kind": "concat"}}
_RESNET: Tree = {
    "generator": {"backbone": "resnet", "width": 2},
    "discriminator": {"backbone": "resnet", "width": 2},
}


def all_runs() -> list[HuntedRun]:
    """Return the runs of all draws; the second names its sets, and so its runs, `…2`."""
    first = [*sick_runs(), *healthy_runs()]
    second = [replace(run, name=f"{run.name}2", data=f"{run.data}2", draw=SECOND) for run in first]
    return [*first, *second, *third_draw(), *fourth_draw(), *fifth_draw()]


def half_of(run: HuntedRun) -> Half:
    """Return whether a run is for tuning the rules, for the report on them, or, of runs without a
    fault, for that on false alarms, whose images are judged in the fifth draw.
    """
    if run.draw == FIFTH:
        return "judged"
    return "report" if run.draw == THIRD else "well" if run.draw == FOURTH else "tuning"


def third_draw() -> list[HuntedRun]:
    """Return the runs of the third draw, in a random order that a fixed seed gives.

    Of the sick runs of `plan`, half of each right diagnosis (of an odd number, the smaller half),
    and half of the healthy ones of each objective (the larger half), drawn by the same seed; and
    some of relativistic pairing, of residual and of conditional networks, which no rule has seen.
    """
    runs = [*_drawn(sick_runs()), *_new_sick(), *_drawn(healthy_runs()), *_new_healthy()]
    random.Random(_DRAW_SEED).shuffle(runs)
    return [_of_third(run) for run in runs]


def fourth_draw() -> list[HuntedRun]:
    """Return all settings without a fault, with the images of the fourth draw, in random order."""
    runs = [
        replace(
            run,
            name=f"{run.name.removesuffix(run.data)}{_FOURTH_SETS[run.data]}",
            data=_FOURTH_SETS[run.data],
            draw=FOURTH,
        )
        for run in [*healthy_runs(), *_new_healthy()]
    ]
    random.Random(_DRAW_SEED).shuffle(runs)
    return runs


def _drawn(runs: Sequence[HuntedRun]) -> list[HuntedRun]:
    groups: dict[str, list[HuntedRun]] = {}
    for run in sorted(runs, key=lambda run: run.name):
        name = f"{run.truth} {run.kind}" if run.truth == NO_FAULT else run.truth
        groups.setdefault(name, []).append(run)
    drawn: list[HuntedRun] = []
    for name, group in groups.items():
        count = math.ceil(len(group) / 2) if name.startswith(NO_FAULT) else len(group) // 2
        drawn += random.Random(f"{_DRAW_SEED} {name}").sample(group, count)
    return drawn


def _new_sick() -> list[HuntedRun]:
    slow_d = learning_rates(1e-3, 2.5e-6)
    return [
        sick("slow-d", "never learnt", "fashion", "rpgan", slow_d),
        sick("saturated", "saturated output", "bricks", "hinge", PROJECTION, faults.saturated),
    ]


def _new_healthy() -> list[HuntedRun]:
    settings: list[tuple[str, str, str, Tree]] = [
        ("plain", "shapes", "rpgan", {}),
        ("plain", "fashion", "rpgan", {}),
        ("projection", "fashion", "hinge", PROJECTION),
        ("concat", "bricks", "dcgan", _CONCAT),
        ("resnet", "shapes", "hinge", _RESNET),
    ]
    return [
        HuntedRun(f"healthy-{name}-{kind}-{data}", data, kind, NO_FAULT, merge(STEADY, changes))
        for name, data, kind, changes in settings
    ]


def _of_third(run: HuntedRun) -> HuntedRun:
    """Return a run with the images of the third draw.

    A fault that comes late ends a run that trains well until then.
    """
    data = _SETS.get(run.data, f"{run.data}3")
    base = {} if not run.begins else SLOWER_G if run.kind == "wgan-gp" else STEADY
    return replace(
        run,
        name=f"{run.name.removesuffix(run.data)}{data}",
        data=data,
        changes=merge(base, run.changes),
        draw=THIRD,
    )
