"""What is said of a run in words, in two places: of its training, and of its quality."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True)
class Standing:
    """The words at the newest line of metrics; "" before the first.

    training: the diagnosis, such as `no fault seen`. faulty: whether it is a problem.
    training_evidence: the numbers behind a problem.
    quality: the verdict, such as `near the data, improving`. evidence: the numbers behind it.
    floor: what real images score by the metric of the verdict; None if it is not known.
    classes: how many classes the images show, such as `9 of 10`; "" if that is not measured.
    """

    training: str = ""
    faulty: bool = False
    training_evidence: str = ""
    quality: str = ""
    evidence: str = ""
    floor: float | None = None
    classes: str = ""

    @property
    def lines(self) -> list[str]:
        """Lines on the training, the quality and the classes, with the evidence; those known."""
        lines = {
            "training": _with_evidence(self.training, self.training_evidence),
            "quality": _with_evidence(self.quality, self.evidence),
            "classes": self.classes,
        }
        return [f"{name}: {text}" for name, text in lines.items() if text]

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
            training_evidence=status.get("training_evidence", ""),
            quality=status.get("quality", ""),
            evidence=status.get("quality_evidence", ""),
            floor=status.get("quality_floor"),
            classes=status.get("classes", ""),
        )

    def to_record(self) -> dict[str, Any]:
        """Return the keys of status.json, those known."""
        record = {
            "training": self.training,
            "training_evidence": self.training_evidence,
            "quality": self.quality,
            "quality_evidence": self.evidence,
            "quality_floor": self.floor,
            "classes": self.classes,
        }
        return {key: value for key, value in record.items() if value not in ("", None)}


def _with_evidence(words: str, evidence: str) -> str:
    return f"{words} ({evidence})" if words and evidence else words


UNKNOWN = Standing()
