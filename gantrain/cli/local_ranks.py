"""Training on several ranks of this machine: their start, the signals to them, and their end."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import FrameType

from gantrain.common.errors import REQUEUE_STATUS
from gantrain.common.ports import free_port
from gantrain.common.stopping import INTERRUPTING, PREEMPTING, handling

_POLL_SECONDS = 0.1
# How long ranks may take to notice that another one is gone, and to save; then they are killed.
_GRACE_SECONDS = 60.0


def train_on_ranks(arguments: Sequence[str], ranks: int) -> int:
    """Run the trainer with these arguments on so many ranks; return the exit status.

    It is that of the rank that ended the training, as docs/reliability.md lists them. Signals to
    this process reach all ranks.
    """
    port = free_port(f"gantrain train {os.getpid()}")
    command = [sys.executable, "-m", "gantrain.train", *arguments]
    processes: list[subprocess.Popen[bytes]] = []
    with _passing_signals_on(processes):
        for rank in range(ranks):
            # Ctrl-C would reach a rank of this process group twice, and a second one stops at once.
            process = subprocess.Popen(
                command, env=_environment(rank, ranks, port), process_group=0
            )
            processes.append(process)
        return _status_of(processes)


def _environment(rank: int, ranks: int, port: int) -> Mapping[str, str]:
    return {
        # Else torch's warnings that a rank is gone would follow the line that says why it is.
        "TORCH_CPP_LOG_LEVEL": "ERROR",
        **os.environ,
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(ranks),
        "LOCAL_WORLD_SIZE": str(ranks),
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": str(port),
    }


@contextmanager
def _passing_signals_on(processes: Sequence[subprocess.Popen[bytes]]) -> Iterator[None]:
    def pass_on(number: int, frame: FrameType | None) -> None:
        for process in processes:
            with suppress(ProcessLookupError):
                process.send_signal(number)

    try:
        with handling(pass_on, *PREEMPTING, *INTERRUPTING):
            yield
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.wait()


def _status_of(processes: Sequence[subprocess.Popen[bytes]]) -> int:
    """Wait for the ranks to end; return the status that tells most about why."""
    failed_at: float | None = None
    while any(process.poll() is None for process in processes):
        if failed_at is None and any(process.poll() for process in processes):
            failed_at = time.monotonic()
        if failed_at is not None and (
            processes[0].poll()  # has said why; the others could only add that it is gone
            or time.monotonic() - failed_at > _GRACE_SECONDS
        ):
            for process in processes:
                process.kill()
        time.sleep(_POLL_SECONDS)
    statuses = [process.returncode for process in processes]
    ended = [status for status in statuses if status > 0]
    killed = [128 - status for status in statuses if status < 0]
    # A rank that misses another one asks for a new start; the cause is in the other's status.
    return next((s for s in ended if s != REQUEUE_STATUS), (ended or killed or [0])[0])
