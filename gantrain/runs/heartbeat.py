"""Each rank's sign of life, and the watchdog that ends a job in which nothing moves."""

import json
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

Phase = Literal[
    "start", "data", "D", "G", "D and G", "log", "metrics", "samples", "checkpoint", "end"
]
FOLDER = "ranks"
_BEAT_SECONDS = 5.0


class Heartbeat:
    """Writes `ranks/rank-N.json` every few seconds from a thread, whatever the rank is doing.

    hang_seconds: a phase longer than this ends the process with HUNG_STATUS; 0 waits for ever.
    on_hang: told the reason first, for the run's records.
    """

    def __init__(
        self, run_dir: Path, rank: int, hang_seconds: float, on_hang: Callable[[str], None]
    ) -> None:
        self._path = run_dir / FOLDER / f"rank-{rank:04d}.json"
        self._rank = rank
        self._hang_seconds = hang_seconds
        self._on_hang = on_hang
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._phase: Phase = "start"
        self._since = time.monotonic()
        self._steps = 0
        self.images_seen = 0

    def __enter__(self) -> "Heartbeat":
        self._write()
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()
        with suppress(OSError):
            self._write()

    @contextmanager
    def phase(self, name: Phase) -> Iterator[None]:
        """Within it, the rank is known to be in this phase."""
        before, self._phase, self._since = self._phase, name, time.monotonic()
        self._steps += 1
        try:
            yield
        finally:
            self._phase, self._since = before, time.monotonic()

    def _beat(self) -> None:
        wait = _BEAT_SECONDS
        if self._hang_seconds:
            wait = min(wait, self._hang_seconds / 4)
        while not self._stop.wait(wait):
            with suppress(OSError):  # a full disk must not take the watchdog
                self._write()
            if self._hang_seconds and time.monotonic() - self._since > self._hang_seconds:
                self._end()

    def _write(self) -> None:
        write_json(self._path, self._state(), durable=False)

    def _state(self) -> dict[str, Any]:
        return {
            "rank": self._rank,
            "phase": self._phase,
            "seconds_in_phase": round(time.monotonic() - self._since, 1),
            "phases_begun": self._steps,
            "images_seen": self.images_seen,
            "time": time.time(),
            "host": socket.gethostname(),
            "pid": os.getpid(),
        }

    def _end(self) -> None:
        culprit = _furthest_behind(self._path.parent, self._state())
        reason = (
            f"No progress for {self._hang_seconds:g} s: rank {culprit['rank']} on "
            f"{culprit['host']} is stuck in phase {culprit['phase']} at "
            f"{culprit['images_seen']:,} images."
        )
        with suppress(Exception):
            self._on_hang(reason)
        os._exit(HUNG_STATUS)  # the main thread cannot be woken: it is inside a library's call


def read_heartbeats(run_dir: Path) -> list[dict[str, Any]]:
    """The newest sign of life of each rank of a run, by rank."""
    states = []
    for path in sorted((run_dir / FOLDER).glob("rank-*.json")):
        with suppress(OSError, ValueError):
            states.append(json.loads(path.read_text(encoding="utf-8")))
    return states


def _furthest_behind(folder: Path, mine: dict[str, Any]) -> dict[str, Any]:
    # Whoever began the fewest phases keeps the others waiting.
    others = [s for s in read_heartbeats(folder.parent) if s.get("rank") != mine["rank"]]
    alive = [s for s in others if mine["time"] - s.get("time", 0) < 4 * _BEAT_SECONDS]
    return min([mine, *alive], key=lambda state: state.get("phases_begun", 0))
