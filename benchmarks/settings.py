"""What a contender of the training benchmark is told, in plain Python that any environment has."""

import json
from dataclasses import asdict, dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Settings:
    """One contender in one cell.

    contender: plain, book or ours. precision: fp32 or bf16. batch: over all ranks.
    files, shards: the same images as PNG files and as shards.
    config: gantrain's whole config tree: networks, objective, rates, data, batch size.
    warmup: iterations before the first round. threads: of each rank.
    rooms: of ours alone, see benchmarks/ours.py.
    """

    contender: str
    precision: str
    ranks: int
    batch: int
    files: str
    shards: str
    config: dict[str, Any]
    warmup: int
    threads: int
    rooms: str = "usual"

    @property
    def critic_steps(self) -> int:
        """D steps to one G step."""
        return int(self.config["objective"]["n_critic"])

    @property
    def images_per_iteration(self) -> int:
        """Real images that one rank's D sees in its steps up to the next G step."""
        return self.batch // self.ranks * self.critic_steps

    def changed(self, *, rooms: str | None = None, **sections: dict[str, Any]) -> "Settings":
        """The same with these keys in these sections of the config."""
        merged = {name: {**self.config[name], **keys} for name, keys in sections.items()}
        return replace(self, config=self.config | merged, rooms=rooms or self.rooms)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> "Settings":
        return Settings(**json.loads(text))
