"""Replays the metrics of a run through the diagnosis, as if it were training."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from gantrain.health.diagnosis import Diagnosis, observe
from gantrain.health.state import Best, HealthState
from gantrain.health.trend import Trend, trend_of


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
    metric, best, last: the quality that the trend was judged by, "" and None without any.
    """

    lines: int
    changes: list[Change] = field(default_factory=list)
    metric: str = ""
    best: Best | None = None
    last: float | None = None

    @property
    def final(self) -> str:
        """The diagnosis at the end."""
        return self.changes[-1].diagnosis.name if self.changes else "starting"

    @property
    def problems(self) -> list[str]:
        """The names of all problems, each once, in the order of their first diagnosis."""
        names = [change.diagnosis.name for change in self.changes]
        return [name for name in dict.fromkeys(names) if name != "healthy"]


def replay(kind: str, lines: Iterable[tuple[int, int | None, Mapping[str, float]]]) -> Replay:
    """Replay lines of metrics: generator steps, images seen, metrics; oldest first.

    kind: as for `observe`.
    """
    state, changes, count = HealthState(), [], 0
    trend: Trend | None = None
    for g_steps, images_seen, metrics in lines:
        count += 1
        found = observe(state, kind, g_steps, metrics, images_seen=images_seen)
        if found is not None:
            changes.append(Change(g_steps, images_seen, found))
        trend = trend_of(state)
    if trend is None:
        return Replay(count, changes)
    return Replay(count, changes, trend.metric, trend.best, trend.values[-1])
