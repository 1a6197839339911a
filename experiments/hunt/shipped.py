"""The fifth draw: the networks of the shipped configs, narrower, and variations that people try.

Those of the other draws have no normalisation in D, so that faults show; a DCGAN without it makes
nearly one image for a part of many runs. This draw is for the report on false alarms, by a judge of
the images (see `images`). What counts was fixed before it was trained: of the runs that train well
(see `report`), those whose first alarm the images do not confirm. Beside it, of the runs whose
images are well at every look but the first, those that raise an alarm at all.
"""

import random
from itertools import product

from experiments.hunt.plan import (
    DCGAN_SETTINGS,
    HINGE,
    PROJECTION,
    RPGAN,
    SLOWER_G,
    STEADY,
    Draw,
    HuntedRun,
)
from experiments.training import Tree, merge
from gantrain.health.problems import NO_FAULT

FIFTH = Draw(seed=4, batch=24, g_steps=1400, width=16, grids=10)
SETS = ("bricks5", "garments", "stacks")
_SHUFFLE_SEED = 5051
_BATCH_NORM: Tree = {"discriminator": {"norm": "batch", "bias": False}}
_LAYER_NORM: Tree = {"discriminator": {"norm": "layer"}}
_JOINED: Tree = {"conditioning": {"kind": "projection", "join_latents": True}}
_RESNET: Tree = {
    "generator": {"backbone": "resnet", "width": 4},
    "discriminator": {"backbone": "resnet", "width": 4},
}
_R1: Tree = {"objective": {"r1_gamma": 0.5, "r2_gamma": 0.5}}

_DCGAN_SETTINGS: dict[str, Tree] = {
    **DCGAN_SETTINGS,
    "dropout": {"discriminator": {"dropout": 0.3}},
    "projection": PROJECTION,
}
_WGAN_SETTINGS: dict[str, Tree] = {"plain": {}, "dropout": {"discriminator": {"dropout": 0.2}}}
_HINGE_SETTINGS: dict[str, Tree] = {
    "plain": {},
    "glorot": {"discriminator": {"init": "glorot"}},
    "resnet": _RESNET,
    "projection": PROJECTION,
}
_RPGAN_SETTINGS: dict[str, Tree] = {"plain": {}, "joined": _JOINED}
# Of each objective: what all its settings change, and the settings.
_SETTINGS: dict[str, tuple[Tree, dict[str, Tree]]] = {
    "dcgan": (merge(STEADY, _BATCH_NORM), _DCGAN_SETTINGS),
    "wgan-gp": (merge(SLOWER_G, _LAYER_NORM), _WGAN_SETTINGS),
    "hinge": (merge(STEADY, HINGE), _HINGE_SETTINGS),
    "rpgan": (merge(STEADY, RPGAN, _R1), _RPGAN_SETTINGS),
}


def fifth_draw() -> list[HuntedRun]:
    """Return each setting on each set, in a random order that a fixed seed gives."""
    runs = [
        HuntedRun(
            f"healthy-{name}-{kind}-{data}",
            data,
            kind,
            NO_FAULT,
            merge(base, changes),
            draw=FIFTH,
        )
        for kind, (base, settings) in _SETTINGS.items()
        for (name, changes), data in product(settings.items(), SETS)
    ]
    random.Random(_SHUFFLE_SEED).shuffle(runs)
    return runs
