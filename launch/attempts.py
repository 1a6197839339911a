"""The worker's record of each start of a run, and the marker files that stop a run.

RUN_DIR/attempts.jsonl has one line for the start and one for the end of each attempt. With it the
launcher knows the fate of a run even where Slurm keeps no accounting. RUN_DIR/cancel.json requests
the end of a run; RUN_DIR/early_stop.json records that halving stopped it, and why.
"""

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from gantrain.common.files import append_json, write_json
from gantrain.runs.records import read_json_lines

ATTEMPTS = "attempts.jsonl"
CANCEL = "cancel.json"
EARLY_STOP = "early_stop.json"

Outcome = Literal[
    "finished", "failed", "diverged", "hung", "killed", "preempted", "cancelled", "stopped",
    "no-progress",
]  # fmt: skip


@dataclass(frozen=True)
class Attempt:
    """One start of a run in one job. The end is missing if the worker was killed.

    job: the array task's id. token: the submission. time, end: Unix times in seconds.
    images: images seen at the checkpoint that it started from. restart: requeues of the job so far.
    exit: the trainer's exit status. signals: names of the signals that the worker received.
    slurm_state: the job's state after the first signal, empty without one.
    """

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
    """Append the start of an attempt."""
    run_dir.mkdir(parents=True, exist_ok=True)
    line = {"event": "start", "job": attempt.job, "token": attempt.token, "time": attempt.time}
    line |= {"images": attempt.images, "restart": attempt.restart, "host": attempt.host}
    append_json(run_dir / ATTEMPTS, line)


def write_end(run_dir: Path, outcome: Outcome, exit_status: int, **details: Any) -> None:
    """Append the end of the newest attempt; `details` are further fields of Attempt."""
    line = {"event": "end", "time": time.time(), "outcome": outcome, "exit": exit_status}
    append_json(run_dir / ATTEMPTS, {**line, **details})


def read_attempts(run_dir: Path) -> list[Attempt]:
    """Return all attempts, oldest first; lines that were cut short are skipped."""
    attempts: list[Attempt] = []
    for line in read_json_lines(run_dir / ATTEMPTS)[0]:
        event = line.pop("event", "")
        if event == "start":
            attempts.append(Attempt(**line))
        elif event == "end" and attempts:
            end = line.pop("time")
            attempts[-1] = replace(attempts[-1], end=end, **line)
    return attempts


def write_marker(run_dir: Path, name: str, **content: Any) -> None:
    """Write a marker file, CANCEL or EARLY_STOP, with the present time."""
    write_json(run_dir / name, {"time": time.time(), **content})
