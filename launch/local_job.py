"""A job on this machine: one process that starts the ranks, as Slurm does it elsewhere.

    … launch.local_job FOLDER RANKS SECONDS SIGNAL_SECONDS COMMAND…

Its process id is the job's number. The ranks write to FOLDER/PID_RANK_log.out and .err. Before the
time is over they get SIGUSR2, as under Slurm, and at its end they are killed.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from launch import bootstrap
from launch.environment import without_other_ranks

JOB, RANK, RANKS = "GANTRAIN_JOB", "GANTRAIN_JOB_RANK", "GANTRAIN_JOB_RANKS"
_MODULE = "launch.local_job"
_POLL = 0.05  # seconds


def start(
    folder: Path,
    command: Sequence[str],
    *,
    code: Path,
    ranks: int,
    devices: int,
    minutes: int,
    signal_seconds: int,
) -> str:
    """Start the ranks of a job, each of which runs `command`; return the id of its process.

    The job keeps running when the launcher and its terminal end.

    folder: where the output goes. code: the snapshot whose launcher runs the job. devices: GPUs
    that the ranks see, of those that this process sees. minutes: how long the job may take.
    signal_seconds: how long before that it gets SIGUSR2.
    """
    numbers = (str(ranks), str(60 * minutes), str(signal_seconds))
    with _detached(folder / "controller.log") as log:
        process = subprocess.Popen(
            bootstrap.command(code, _MODULE, str(folder), *numbers, *command),
            env={
                **without_other_ranks(os.environ),
                "CUDA_VISIBLE_DEVICES": ",".join(_devices(devices, os.environ)),
            },
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    return str(process.pid)


def is_job(command: Sequence[str], token: str) -> bool:
    """Return whether the words of a process's command are those of the job of a submission.

    token: the last part of the folder that `start` was given. Version 0.2.0 and earlier started
    such jobs by submitit.
    """
    own = any(_MODULE in word or "submitit" in word for word in command)
    return own and any(token in word for word in command)


def _devices(count: int, environment: Mapping[str, str]) -> list[str]:
    visible = environment.get("CUDA_VISIBLE_DEVICES", "")
    return (visible.split(",") if visible else list(map(str, range(count))))[:count]


@contextmanager
def _detached(log: Path) -> Iterator[int]:
    # Processes started in this block outlive the terminal, ignore a Ctrl-C meant for the launcher,
    # and do not keep open a pipe from which somebody reads the launcher's output.
    ignored = (signal.SIGINT, signal.SIGHUP)
    handlers = [signal.signal(number, signal.SIG_IGN) for number in ignored]
    try:
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            yield file
        finally:
            os.close(file)
    finally:
        for number, handler in zip(ignored, handlers, strict=True):
            signal.signal(number, handler)


def main(arguments: Sequence[str]) -> None:
    """Start the ranks, and wait until all have ended or the time is over."""
    folder, ranks, seconds, signal_seconds = arguments[:4]
    processes: list[subprocess.Popen[bytes]] = []

    def pass_on(number: int, _: object = None) -> None:
        for process in processes:
            with suppress(ProcessLookupError):
                process.send_signal(number)

    signal.signal(signal.SIGTERM, pass_on)
    with ExitStack() as files:
        for rank in range(int(ranks)):
            stem = Path(folder) / f"{os.getpid()}_{rank}_log"
            out, errors = (
                files.enter_context(Path(f"{stem}.{kind}").open("ab")) for kind in ("out", "err")
            )
            place = {JOB: str(os.getpid()), RANK: str(rank), RANKS: ranks}
            processes.append(
                subprocess.Popen(
                    arguments[4:], env={**os.environ, **place}, stdout=out, stderr=errors
                )
            )
    end = time.monotonic() + int(seconds)
    if _wait(processes, end - int(signal_seconds)):
        return
    pass_on(signal.SIGUSR2)
    if not _wait(processes, end):
        pass_on(signal.SIGKILL)
        _wait(processes, end + int(signal_seconds))


def _wait(processes: Sequence[subprocess.Popen[bytes]], deadline: float) -> bool:
    """Wait until all processes have ended, at most until `deadline`; return whether they have."""
    while any(process.poll() is None for process in processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL)
    return True


if __name__ == "__main__":
    main(sys.argv[1:])
