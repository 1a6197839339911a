"""Keep the tasks of a sweep that run at the same time below its throttle, over all its arrays.

Slurm limits the running tasks of one array only. Arrays therefore form lanes: those of a lane run
one after another, and the limits of all lanes together are at most the throttle.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class ActiveArray:
    """A job or array that runs or will run.

    tasks: those that have not ended. limit: tasks that run at the same time. after: the job for
    whose end it waits, empty if it waits for none.
    """

    job: str
    tasks: int
    limit: int
    after: str = ""


@dataclass(frozen=True)
class Place:
    """Where the next array goes: how many tasks, how many at a time, after which job if any."""

    count: int
    limit: int
    after: str = ""


@dataclass(frozen=True)
class _Lane:
    last: str
    width: int
    tasks: int


def next_place(active: Sequence[ActiveArray], count: int, throttle: int) -> Place:
    """Return the place of the next array for `count` waiting tasks, of which it may take fewer.

    active: the sweep's arrays, oldest first.
    """
    lanes = _lanes(active)
    if not lanes:
        return Place(count, min(count, throttle))
    free = throttle - sum(lane.width for lane in lanes)
    if free > 0:
        # Only as many as run at once. More would have to be content with these few places.
        return Place(min(count, free), min(count, free))
    soonest = min(lanes, key=lambda lane: (lane.tasks + count) / lane.width)
    # Fewer than before if the throttle has been lowered.
    return Place(count, max(1, min(count, soonest.width + free)), soonest.last)


def _lanes(active: Sequence[ActiveArray]) -> list[_Lane]:
    lanes: list[_Lane] = []
    for array in active:
        width = max(1, min(array.limit, array.tasks))
        before = next((lane for lane in lanes if array.after == lane.last), None)
        if before is None:
            lanes.append(_Lane(array.job, width, array.tasks))
        else:
            lanes[lanes.index(before)] = replace(
                before,
                last=array.job,
                width=max(before.width, width),
                tasks=before.tasks + array.tasks,
            )
    return lanes
