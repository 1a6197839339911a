"""What is said of a run in words, in two places: of its training, and of its quality."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True)
class Standing:
    """The words at the newest line of metrics; "" before the first.

    training: the diagnosis, such as `no fault seen`. faulty: whether it is a problem.
    quality: the verdict, such as `near the data, improving`. evidence: the numbers behind it.
    floor: what real images score by the metric of the verdict; None if it is not known.
    """

    training: str = ""
    faulty: bool = False
    quality: str = ""
    evidence: str = ""
    floor: float | None = None

    @property
    def lines(self) -> list[str]:
        """One line for the training and one for the quality, with its evidence; those known."""
        evidence = f" ({self.evidence})" if self.evidence else ""
        lines = {"training": self.training, "quality": self.quality + evidence}
        return [f"{name}: {text}" for name, text in lines.items() if getattr(self, name)]

    @property
    def words(self) -> dict[str, str]:
        """Both in a few words, those known, by `training` and `quality`; a problem in capitals."""
        training = self.training.upper() if self.faulty else self.training
        words = {"training": training, "quality": self.quality}
        return {name: f"{name}: {text}" for name, text in words.items() if text}

    @classmethod
    def from_record(cls, status: Mapping[str, Any]) -> Self:
        """Return what status.json says, nothing if an older version wrote it."""
        return cls(
            training=status.get("training", ""),
            quality=status.get("quality", ""),
            evidence=status.get("quality_evidence", ""),
            floor=status.get("quality_floor"),
        )

    def to_record(self) -> dict[str, Any]:
        """Return the keys of status.json, those known."""
        record = {
            "training": self.training,
            "quality": self.quality,
            "quality_evidence": self.evidence,
            "quality_floor": self.floor,
        }
        return {key: value for key, value in record.items() if value not in ("", None)}


UNKNOWN = Standing()
