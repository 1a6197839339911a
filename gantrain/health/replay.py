"""Replays the metrics of a run through the diagnosis, as if it were training."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from gantrain.common.records import is_number
from gantrain.health.diagnosis import Diagnosis, observe
from gantrain.health.known import UNKNOWN, Known
from gantrain.health.problems import NO_FAULT
from gantrain.health.state import HealthState

# Generator steps, images seen and metrics of a line.
Line = tuple[int, int | None, Mapping[str, float]]


@dataclass(frozen=True)
class Change:
    """A diagnosis, and where it was made. images_seen: None if the log does not say it."""

    g_steps: int
    images_seen: int | None
    diagnosis: Diagnosis


@dataclass(frozen=True)
class Replay:
    """The diagnoses of a run, in their order.

    lines: number of lines of metrics.
    """

    lines: int
    changes: list[Change] = field(default_factory=list)

    @property
    def final(self) -> str:
        """The diagnosis at the end."""
        return self.changes[-1].diagnosis.name if self.changes else "starting"

    @property
    def problems(self) -> list[str]:
        """The names of all problems, each once, in the order of their first diagnosis."""
        names = [change.diagnosis.name for change in self.changes]
        return [name for name in dict.fromkeys(names) if name != NO_FAULT]


def lines_of(metrics: Iterable[Mapping[str, Any]], images_per_g_step: int) -> Iterator[Line]:
    """Yield lines of metrics.jsonl as `replay` takes them, without values that are no numbers."""
    for line in metrics:
        images_seen = int(line["images_seen"])
        numbers = {name: float(value) for name, value in line.items() if is_number(value)}
        yield images_seen // images_per_g_step, images_seen, numbers


def replay(kind: str, lines: Iterable[Line], *, known: Known = UNKNOWN) -> Replay:
    """Replay lines of metrics, oldest first.

    kind, known: as for `observe`.
    """
    state, changes, count = HealthState(), [], 0
    for g_steps, images_seen, metrics in lines:
        count += 1
        found = observe(state, kind, g_steps, metrics, images_seen=images_seen, known=known)
        if found is not None:
            changes.append(Change(g_steps, images_seen, found))
    return Replay(count, changes)
