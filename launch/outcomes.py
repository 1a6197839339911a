"""What the trainer's exit statuses mean."""

import signal
from collections.abc import Collection

from launch.attempts import Outcome

REQUEUE = 75  # EX_TEMPFAIL: a checkpoint is written, start again to go on
_BY_STATUS: dict[int, Outcome] = {0: "finished", REQUEUE: "preempted", 3: "diverged", 76: "hung"}


def outcome_of(status: int, received: Collection[str]) -> Outcome:
    """How a trainer ended, from its exit status and the signals that its worker has got.

    A trainer that dies of a signal before it is ready for one was interrupted, too.
    """
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status < 0:
        name = signal.Signals(-status).name
        interrupted = name in received or bool({"SIGTERM", "SIGUSR1", "SIGUSR2"} & set(received))
        return "preempted" if interrupted else "killed"
    return "failed"
