"""The trials: what each changes in the quickstart, and for how long it trains."""

from dataclasses import dataclass, field
from pathlib import Path

from experiments.training import Tree, merge
from gantrain.config.loading import read_yaml

CONFIG = Path(__file__).parents[2] / "configs" / "quickstart.yaml"
PARTS = "3001,3003,3004,3005,3039,3062,4589"
CHECKPOINTS = 7  # of a trial, at equal distances


@dataclass(frozen=True)
class Trial:
    """Settings to try.

    name: of its run directory. what: for people, in the table. kimg: length of the training, over
    which the learning rates fall to 0. changes: to the quickstart's config. size: in pixels.
    """

    name: str
    what: str
    kimg: float
    changes: Tree = field(default_factory=dict)
    size: int = 32
    seed: int = 0

    def config(self, shards: Path) -> Tree:
        """Return its config, without the run directory. shards: with images of its size."""
        here: Tree = {
            "data": {"shards": str(shards), "size": self.size},
            "training": {"total_kimg": self.kimg, "cpu_threads": 1},
            "output": {
                "resume": "never",
                "keep_best": None,
                "keep_checkpoints": CHECKPOINTS,
                "checkpoint_every_kimg": self.kimg / CHECKPOINTS,
            },
            "metrics": {"every_kimg": 0},
        }
        return merge(_quickstart(), self.changes, here)


def _quickstart() -> Tree:
    """Return the sections of the quickstart's config, without its seed."""
    tree = read_yaml(CONFIG)
    return {name: dict(keys) for name, keys in tree.items() if isinstance(keys, dict)}


def _weights(gamma: float) -> Tree:
    return {"objective": {"r1_gamma": gamma, "r2_gamma": gamma}}


_CONSTANT: Tree = {  # as the search began: constant rates, and the penalties in every step
    "generator": {"learning_rate": 1e-3, "latent_size": 32},
    "discriminator": {"learning_rate": 1e-3},
    "objective": {"penalty_every": 1},
    "conditioning": {"kind": "none"},
}
_LATENTS: Tree = {"generator": {"latent_size": 32}}
_PLACED: Tree = {"conditioning": {"join_latents": True, "pool_features": False}}
_NEAREST: Tree = {"generator": {"upsampling": "nearest", "kernel": 3}}
_64: Tree = merge({"generator": {"width": 16}, "discriminator": {"width": 16}}, _weights(0.3))

# Longer than the quickstart, to see what ends with it.
BEST = Trial("quickstart", "the quickstart's config", 420)
TRIALS: tuple[Trial, ...] = (
    Trial("start", "no classes, constant rates of 0.001, γ 0.1", 60, _CONSTANT),
    Trial("start-1", "the same, γ 1", 60, merge(_CONSTANT, _weights(1.0))),
    Trial("classes", "classes, rates from 0.002 to 0, γ 0.1", 50),
    Trial("nearest", "the same, G repeats pixels before 3x3 convolutions", 30, _NEAREST),
    Trial("64", "64 pixels, width 16, γ 0.3", 40, merge(_64, _LATENTS), size=64),
    Trial("64-3", "the same, γ 3", 40, merge(_64, _LATENTS, _weights(3.0)), size=64),
    Trial("short", "the quickstart's config", 90),
    Trial("placed", "the same, classes beside the latents and by place", 90, _PLACED),
    BEST,
    Trial("64-long", "64 pixels, width 16, γ 0.3", 250, _64, size=64),
)
