"""What was submitted: a file that only grows, written before and after each submission.

An `intent` with a token that is also the job's name goes to disk before sbatch is called, the job's
id after. Whoever finds an intent without an id asks the cluster for the name: so a launcher that is
killed at any point neither forgets a job nor submits one twice.
"""

import fcntl
import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from gantrain.common.errors import UserError

LEDGER = "ledger.jsonl"
_LOCK = "ledger.lock"

# Packs of one job, one after the other; the runs of a pack train side by side.
Element = list[list[str]]
Fate = Literal["intent", "submitted", "abandoned"]


@dataclass(frozen=True)
class Submission:
    """One array of jobs: which runs its elements train, and what became of it."""

    token: str
    executor: str
    elements: tuple[Element, ...]
    fate: Fate
    job: str = ""
    user: str = ""
    time: float = 0.0

    def job_of(self, index: int) -> str:
        """The id of one array task."""
        return f"{self.job}_{index}"


@dataclass(frozen=True)
class Place:
    """Where a run was last submitted."""

    submission: Submission
    index: int

    @property
    def job(self) -> str:
        """The array task's id."""
        return self.submission.job_of(self.index)


def new_token() -> str:
    """A name that no other submission has."""
    return secrets.token_hex(5)


@contextmanager
def locked(sweep_dir: Path) -> Iterator[int]:
    """Hold the sweep's lock; gives its descriptor.

    A process that inherits the descriptor holds the lock as well: sbatch does, so that a second
    launcher cannot ask for the job before the first one's sbatch has ended.
    """
    sweep_dir.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(sweep_dir / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def write_intent(
    sweep_dir: Path, token: str, executor: str, elements: Sequence[Element], user: str
) -> Submission:
    """Say on disk what is about to be submitted."""
    line = {"token": token, "executor": executor, "elements": list(elements), "user": user}
    _append(sweep_dir, {"event": "intent", **line})
    return Submission(token, executor, tuple(elements), "intent", user=user)


def write_submitted(sweep_dir: Path, token: str, job: str) -> None:
    """The cluster took it, under this id."""
    _append(sweep_dir, {"event": "submitted", "token": token, "job": job})


def write_abandoned(sweep_dir: Path, token: str, reason: str) -> None:
    """The cluster does not have it, and never will."""
    _append(sweep_dir, {"event": "abandoned", "token": token, "reason": reason})


def read_ledger(sweep_dir: Path) -> list[Submission]:
    """All submissions, oldest first. A line that was cut short by a crash does not count."""
    path = sweep_dir / LEDGER
    if not path.exists():
        return []
    found: dict[str, Submission] = {}
    for number, text in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        line = _line(text)
        if line is None:
            continue
        try:
            _replay(line, found)
        except (KeyError, TypeError, ValueError):
            raise UserError(
                f"{path}:{number}: not a line of the ledger; mend or remove it."
            ) from None
    return list(found.values())


def latest_places(submissions: Sequence[Submission]) -> dict[str, Place]:
    """Each run's newest submission that the cluster has, or may have."""
    places: dict[str, Place] = {}
    for submission in submissions:
        if submission.fate == "abandoned":
            continue
        for index, element in enumerate(submission.elements):
            for pack in element:
                for run in pack:
                    places[run] = Place(submission, index)
    return places


def _replay(line: Mapping[str, Any], found: dict[str, Submission]) -> None:
    token = line["token"]
    match line["event"]:
        case "intent":
            found[token] = Submission(
                token,
                line["executor"],
                tuple(line["elements"]),
                "intent",
                user=line["user"],
                time=line["time"],
            )
        case "submitted":
            found[token] = replace(found[token], fate="submitted", job=line["job"])
        case "abandoned":
            found[token] = replace(found[token], fate="abandoned")


def _line(text: str) -> dict[str, Any] | None:
    try:
        line = json.loads(text)
    except ValueError:
        return None
    return line if isinstance(line, dict) else None


def _append(sweep_dir: Path, line: Mapping[str, Any]) -> None:
    # The newline in front ends a line that a crash cut short; readers skip empty ones.
    text = "\n" + json.dumps({**line, "time": time.time()}) + "\n"
    descriptor = os.open(sweep_dir / LEDGER, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(descriptor, text.encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
