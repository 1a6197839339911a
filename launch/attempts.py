"""What happened to a run inside its jobs, as the worker saw it: RUN_DIR/attempts.jsonl.

It is what makes the launcher independent of Slurm's accounts. Markers that stop a run are files
beside it: `cancel.json` asks for it, `early_stop.json` says that halving did it and why.
"""

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from gantrain.common.files import append_json, write_json

ATTEMPTS = "attempts.jsonl"
CANCEL = "cancel.json"
EARLY_STOP = "early_stop.json"

Outcome = Literal[
    "finished", "failed", "diverged", "hung", "killed", "preempted", "cancelled", "stopped",
    "no-progress",
]  # fmt: skip


@dataclass(frozen=True)
class Attempt:
    """One start of a run in one job, and its end if the worker lived to see it."""

    job: str
    token: str
    time: float
    images: int = 0
    restart: int = 0
    host: str = ""
    outcome: Outcome | None = None
    exit: int | None = None
    end: float | None = None
    signals: list[str] = field(default_factory=list)
    slurm_state: str = ""


def write_start(run_dir: Path, attempt: Attempt) -> None:
    """An attempt begins."""
    run_dir.mkdir(parents=True, exist_ok=True)
    line = {"event": "start", "job": attempt.job, "token": attempt.token, "time": attempt.time}
    line |= {"images": attempt.images, "restart": attempt.restart, "host": attempt.host}
    append_json(run_dir / ATTEMPTS, line)


def write_end(run_dir: Path, outcome: Outcome, exit_status: int, **details: Any) -> None:
    """The newest attempt ended."""
    line = {"event": "end", "time": time.time(), "outcome": outcome, "exit": exit_status}
    append_json(run_dir / ATTEMPTS, {**line, **details})


def read_attempts(run_dir: Path) -> list[Attempt]:
    """All attempts, oldest first."""
    path = run_dir / ATTEMPTS
    if not path.exists():
        return []
    attempts: list[Attempt] = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        event = line.pop("event", "")
        if event == "start":
            attempts.append(Attempt(**line))
        elif event == "end" and attempts:
            end = {**line, "end": line.pop("time")}
            end.pop("time", None)
            attempts[-1] = Attempt(**{**attempts[-1].__dict__, **end})
    return attempts


def read_mark(run_dir: Path, name: str) -> dict[str, Any] | None:
    """A marker's content, if the run has it."""
    try:
        content = json.loads((run_dir / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def write_mark(run_dir: Path, name: str, **content: Any) -> None:
    """Put a marker beside the run."""
    write_json(run_dir / name, {"time": time.time(), **content})


def read_status(run_dir: Path) -> dict[str, Any]:
    """The trainer's own status file; empty if there is none."""
    return read_mark(run_dir, "status.json") or {}


def heartbeat(run_dir: Path) -> float | None:
    """When the run's first rank last gave a sign of life."""
    beat = (read_mark(run_dir / "ranks", "rank-0000.json") or {}).get("time")
    times = [moment for moment in (beat, read_status(run_dir).get("time")) if moment]
    return max(times, default=None)


def newest_checkpoint(run_dir: Path) -> int:
    """Images seen at the newest checkpoint, 0 without one; from the names alone."""
    names = [path.name for path in (run_dir / "checkpoints").glob("images-*")]
    counts = [int(n.removeprefix("images-")) for n in names if n.removeprefix("images-").isdigit()]
    return max(counts, default=0)
