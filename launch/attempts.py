"""The worker's record of each start of a run, and the marker files that stop a run.

RUN_DIR/attempts.jsonl has one line for the start and one for the end of each attempt. With it the
launcher knows the fate of a run even where Slurm keeps no accounting. RUN_DIR/cancel.json requests
the end of a run; RUN_DIR/early_stop.json records that halving stopped it, and why.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from gantrain.common.files import append_json, write_json
from gantrain.common.records import is_count
from gantrain.runs.records import (
    Kinds,
    Record,
    is_text,
    is_time,
    keep_valid,
    numbered_records,
    read_json,
)

ATTEMPTS = "attempts.jsonl"
CANCEL = "cancel.json"
EARLY_STOP = "early_stop.json"

Outcome = Literal[
    "finished", "failed", "diverged", "hung", "killed", "preempted", "cancelled", "stopped",
    "no-progress",
]  # fmt: skip

_IDENTITY = ("token", "job", "restart")  # of one start among those of a run


def _is_status(value: object) -> bool:
    return value is None or (isinstance(value, int) and abs(value) < 2**31)


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(map(is_text, value))


_START_KINDS: Kinds = {
    "event": is_text,
    "job": is_text,
    "token": is_text,
    "time": is_time,
    "images": is_count,
    "restart": is_count,
    "host": is_text,
}
_END_KINDS: Kinds = {
    "event": is_text,
    "time": is_time,
    "outcome": is_text,
    "exit": _is_status,
    "signals": _is_texts,
    "slurm_state": is_text,
}


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


def write_end(
    run_dir: Path,
    outcome: Outcome,
    exit_status: int,
    started: Attempt | None = None,
    **details: Any,
) -> None:
    """Append the end of an attempt; `details` are further fields of Attempt.

    started: which one, None for the newest. A worker that Slurm has lost may outlive a later start.
    """
    line = {"event": "end", "time": time.time(), "outcome": outcome, "exit": exit_status}
    if started is not None:
        line |= {"of": {name: getattr(started, name) for name in _IDENTITY}}
    append_json(run_dir / ATTEMPTS, {**line, **details})


def read_attempts(run_dir: Path, problems: list[str] | None = None) -> list[Attempt]:
    """Return all attempts, oldest first.

    Lines and values that are not valid are skipped, and so are keys and events of later versions.
    problems: gets a sentence for each line and value that is not valid.
    """
    attempts: list[Attempt] = []
    path = run_dir / ATTEMPTS
    for number, raw in numbered_records(path, problems):
        kinds = _START_KINDS if raw.get("event") == "start" else _END_KINDS
        line = keep_valid(raw, kinds, f"{path}:{number}", problems)
        known = {key: value for key, value in line.items() if key in kinds and key != "event"}
        match line.get("event"):
            case "start" if "job" in known and "time" in known:
                attempts.append(Attempt(**{"token": "", **known}))
            case "end" if attempts:
                index = _index_of(attempts, raw.get("of"))
                known["end"] = known.pop("time", attempts[index].time)
                attempts[index] = replace(attempts[index], **known)
            case "start" | "end" | None if problems is not None:
                problems.append(f"{path}:{number}: is no start or end of an attempt")
    return attempts


def _index_of(attempts: Sequence[Attempt], identity: object) -> int:
    # The newest one if the line does not say, as in version 0.1.
    for index in reversed(range(len(attempts))):
        if identity == {name: getattr(attempts[index], name) for name in _IDENTITY}:
            return index
    return len(attempts) - 1


def read_marker(run_dir: Path, name: str, problems: list[str] | None = None) -> Record | None:
    """Return the content of a marker file; None without one, empty if it cannot be read."""
    marker = read_json(run_dir / name, problems)
    if marker is None:
        return {} if os.path.lexists(run_dir / name) else None
    return keep_valid(marker, {"reason": is_text}, str(run_dir / name), problems)


def write_marker(run_dir: Path, name: str, **content: Any) -> None:
    """Write a marker file, CANCEL or EARLY_STOP, with the present time."""
    write_json(run_dir / name, {"time": time.time(), **content})
