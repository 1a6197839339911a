"""The settings of one benchmark process.

Uses the standard library only, because the book's implementation runs in its own environment.
"""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

Services = Literal["on", "timed", "off"]

_CONFIGS = Path(__file__).parent.parent / "configs"
CONFIG_FILES = {
    "dcgan": _CONFIGS / "dcgan.yaml",
    "wgan-gp": _CONFIGS / "wgan_gp.yaml",
    "hinge": _CONFIGS / "sngan.yaml",
    "rpgan": _CONFIGS / "rpgan.yaml",
}
BOOK_OBJECTIVES = ("dcgan", "wgan-gp")  # which the book has; the published tables are of these

# Overrides of a config that is trained in rounds until the benchmark ends it.
ENDLESS = (
    "training.total_kimg=1.0e+9",
    "metrics.every_kimg=0",
    "guard.hang_seconds=0",  # a process that waits for its next round is not stuck
)


@dataclass(frozen=True)
class Settings:
    """One implementation in one cell of the benchmark.

    implementation: plain, book or ours.
    precision: fp32 or bf16.
    batch: global batch size, over all ranks.
    files, shards: folders with the same images, as PNG files and as shards.
    config: gantrain's complete config tree.
    warmup: iterations before the first round.
    threads: CPU threads of each rank; 0: as many as the implementation chooses.
    services: for ours only, see benchmarks/ours.py.
    device: cpu or cuda.
    """

    implementation: str
    precision: str
    ranks: int
    batch: int
    files: str
    shards: str
    config: dict[str, Any]
    warmup: int
    threads: int
    services: Services = "on"
    device: str = "cpu"

    @property
    def d_steps_per_iteration(self) -> int:
        """D steps for each G step."""
        return int(self.config["objective"]["n_critic"])

    @property
    def images_per_iteration(self) -> int:
        """Real images that D sees on one rank in an iteration."""
        return self.batch // self.ranks * self.d_steps_per_iteration

    def with_config(self, **sections: dict[str, Any]) -> "Settings":
        """Return a copy with these keys replaced in these sections of the config."""
        merged = {name: {**self.config[name], **keys} for name, keys in sections.items()}
        return replace(self, config=self.config | merged)

    def to_json(self) -> str:
        """Return the settings as JSON text."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> "Settings":
        """Read what `to_json` returned."""
        return Settings(**json.loads(text))
