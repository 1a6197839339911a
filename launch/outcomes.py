"""The outcome of a run, from the trainer's exit status."""

import signal
from collections.abc import Collection

from gantrain.common.errors import DIVERGED_STATUS, HUNG_STATUS, REQUEUE_STATUS
from launch.attempts import Outcome

_BY_STATUS: dict[int, Outcome] = {
    0: "finished",
    REQUEUE_STATUS: "preempted",
    DIVERGED_STATUS: "diverged",
    HUNG_STATUS: "hung",
}


def outcome_of(status: int, received: Collection[str]) -> Outcome:
    """Return the outcome of a trainer that exited with `status`; negative means death by a signal.

    received: names of the signals that the worker received. A trainer that one of them killed
    before its handlers were installed counts as preempted, not as killed.
    """
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status < 0:
        name = signal.Signals(-status).name
        interrupted = name in received or bool({"SIGTERM", "SIGUSR1", "SIGUSR2"} & set(received))
        return "preempted" if interrupted else "killed"
    return "failed"
