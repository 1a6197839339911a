"""The heartbeat of each rank, and the watchdog that ends a job without progress."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from gantrain.common.errors import HUNG_STATUS
from gantrain.common.files import write_json
from gantrain.runs.failures import Failures
from gantrain.runs.liveness import beats_since
from gantrain.runs.paths import heartbeat_file

Phase = Literal[
    "start",
    "data",
    "D",
    "G",
    "D and G",
    "log",
    "metrics",
    "samples",
    "checkpoint",
    "threads",
    "end",
]
_BEAT_SECONDS = 5.0
_SUSPENDED_SECONDS = 10.0  # longer than this between two beats, the process was suspended


class Heartbeat:
    """Writes `ranks/rank-N.json` every few seconds from a thread, whatever the rank is doing.

    hang_seconds: a phase longer than this ends the process with HUNG_STATUS; 0: never.
    on_hang: called with the reason before that, to record it.
    failures: records that the file cannot be written.
    """

    def __init__(
        self,
        run_dir: Path,
        rank: int,
        hang_seconds: float,
        on_hang: Callable[[str], None],
        failures: Failures,
    ) -> None:
        self._run_dir = run_dir
        self._rank = rank
        self._hang_seconds = hang_seconds
        self._on_hang = on_hang
        self._failures = failures
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._phase: Phase = "start"
        self._since = time.monotonic()
        self._phases_begun = 0
        self.images_seen = 0

    def __enter__(self) -> "Heartbeat":
        self._write()
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()
        with self._failures.contain("heartbeat"):
            self._write()

    @contextmanager
    def phase(self, name: Phase) -> Iterator[None]:
        """Report this phase while the block runs."""
        before, self._phase, self._since = self._phase, name, time.monotonic()
        self._phases_begun += 1
        try:
            yield
        finally:
            self._phase, self._since = before, time.monotonic()

    def _beat(self) -> None:
        interval = _BEAT_SECONDS
        if self._hang_seconds:
            interval = min(interval, self._hang_seconds / 4)
        last = time.monotonic()
        while not self._stop.wait(interval):
            # A process that was suspended (Ctrl-Z, Slurm's SIGSTOP) has not hung meanwhile.
            now = time.monotonic()
            if now - last > interval + _SUSPENDED_SECONDS:
                self._since += now - last
            last = now
            with self._failures.contain("heartbeat"):
                self._write()
            if self._hang_seconds and time.monotonic() - self._since > self._hang_seconds:
                self._end_process()

    def _write(self) -> None:
        write_json(heartbeat_file(self._run_dir, self._rank), self._state(), durable=False)

    def _state(self) -> dict[str, Any]:
        return {
            "rank": self._rank,
            "phase": self._phase,
            "seconds_in_phase": round(max(time.monotonic() - self._since, 0.0), 1),
            "phases_begun": self._phases_begun,
            "images_seen": self.images_seen,
            "time": time.time(),
            "host": socket.gethostname(),
            "pid": os.getpid(),
        }

    def _end_process(self) -> None:
        culprit = _furthest_behind(self._run_dir, self._state())
        reason = (
            f"No progress for {self._hang_seconds:g} s: rank {culprit['rank']} on "
            f"{culprit['host']} is stuck in phase {culprit['phase']} at "
            f"{culprit['images_seen']:,} images."
        )
        with suppress(Exception):
            self._on_hang(reason)
        os._exit(HUNG_STATUS)  # the main thread cannot be woken: it is inside a library's call


def _furthest_behind(run_dir: Path, own: dict[str, Any]) -> dict[str, Any]:
    # The rank that has begun the fewest phases keeps the others waiting.
    now = _written_at(run_dir, own)
    others = [
        s for s in beats_since(run_dir, now - 4 * _BEAT_SECONDS) if s.get("rank") != own["rank"]
    ]
    return min([own, *others], key=lambda state: state.get("phases_begun", 0))


def _written_at(run_dir: Path, state: dict[str, Any]) -> float:
    # By the file system's clock, since the ranks' machines may disagree about the time.
    with suppress(OSError):
        return heartbeat_file(run_dir, state.get("rank", 0)).stat().st_mtime
    return 0.0
