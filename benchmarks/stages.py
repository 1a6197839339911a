"""Run commands one after the other within a limit of time, and end those that take too long."""

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_ROOT = Path(__file__).parent.parent
# From SIGINT to SIGKILL: pytest writes its report, benchmarks end their processes.
GRACE_SECONDS = 10.0


@dataclass(frozen=True)
class Stage:
    """A command of the check.

    share: of the time that is left when it starts. out: the file that it writes.
    limited: whether it takes --minutes.
    """

    name: str
    command: list[str]
    share: float
    out: Path
    limited: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of a stage. status: its exit status, None if it took too long."""

    name: str
    command: str
    seconds: float
    status: int | None
    output: str

    def describe(self) -> str:
        """Return what became of the stage in a few words."""
        if self.status == 0:
            return "done"
        if self.status is None:
            return "ended, since it took too long"
        return f"failed with status {self.status}"


def run(stage: Stage, seconds: float) -> Outcome:
    """Run a stage for so many seconds at most, and end it with all that it started.

    What it prints goes to a file, for a pipe stays open as long as any process that inherited it.
    """
    started = time.monotonic()
    # Loading and what it does between two looks at the clock take a limited command longer.
    minutes = ["--minutes", f"{0.85 * seconds / 60:.2f}"] if stage.limited else []
    command = [*stage.command, *minutes]
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command,
            cwd=_ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        status: int | None = None
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            pass
        finally:
            _end(process)
        text = _text_of(output)
    name = " ".join(["python", *command[1:]])
    return Outcome(stage.name, name, time.monotonic() - started, status, text)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process with its session and all its descendants, which may have sessions of their own.

    SIGINT first: pytest then writes what it has.
    """
    started = _descendants(process.pid)
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_SECONDS)
    started |= _descendants(process.pid)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for pid in started:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def _descendants(pid: int) -> set[int]:
    """Return the processes below a process; none where the system does not list them."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    except OSError:
        return set()
    children = {int(child) for child in text.split()}
    return children.union(*(_descendants(child) for child in children))


def _text_of(output: IO[bytes]) -> str:
    output.seek(0)
    return output.read().decode(errors="replace").replace("\r", "\n")
