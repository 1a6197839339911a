"""Submit a sweep that has more jobs than Slurm accepts at once, as places come free."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from gantrain.common.errors import INTERRUPTED_STATUS, REQUEUE_STATUS, StoppedError
from launch.launcher import LaunchResult, submit_missing
from launch.plan import PlannedRun
from launch.settings import LaunchSettings
from launch.states import active_arrays, read_sweep_status

_FIRST_POLL, _LONGEST_POLL = 5.0, 60.0  # seconds
# Seconds, after which jobs of others may have left the queue, and Slurm may have forgotten own jobs
# that have ended, which count until then.
_LONGEST_WAIT = 120.0


def submit_in_turns(
    settings: LaunchSettings, planned: Sequence[PlannedRun]
) -> Iterator[LaunchResult]:
    """Submit the missing runs until all are submitted; yield the result of each submission.

    Raises StoppedError on an interrupt: what is submitted stays so.
    """
    waiting, pause = 0, _FIRST_POLL
    try:
        while True:
            result = submit_missing(settings, planned)
            waiting = len(result.waiting)
            yield result
            if not waiting:
                return
            if result.active:
                _wait_for_an_end(settings.sweep_dir, settings.throttle, result.active)
                pause = _FIRST_POLL
            else:
                # Only trying shows when a place is free.
                time.sleep(pause)
                pause = min(pause * 1.5, _LONGEST_POLL)
    except KeyboardInterrupt:
        text = f"interrupted with {waiting} runs left; call `sweep` again to submit them."
        raise StoppedError(text, INTERRUPTED_STATUS) from None


def require_place(result: LaunchResult, verb: str) -> None:
    """Raise StoppedError if Slurm has no job of the sweep and no place for one."""
    if result.waiting and not result.active:
        raise StoppedError(describe_waiting(result, verb), REQUEUE_STATUS)


def describe_waiting(result: LaunchResult, verb: str) -> str:
    """Return how many runs found a place in the queue and how many did not, and what to do.

    verb: submitted or retried.
    """
    wait = ", or `sweep --wait` submits as places come free" if verb == "submitted" else ""
    return (
        f"{len(result.submitted)} {verb}, {len(result.waiting)} left, because Slurm accepts no "
        f"more jobs now ({result.limit}): call again{wait}"
    )


def _wait_for_an_end(sweep_dir: Path, throttle: int, active: int) -> None:
    pause, deadline = _FIRST_POLL, time.monotonic() + _LONGEST_WAIT
    while time.monotonic() < deadline:
        time.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_POLL)
        status = read_sweep_status(sweep_dir)
        arrays = active_arrays(status, throttle)
        if not status.slurm_error and sum(array.tasks for array in arrays) < active:
            return
