"""The ledger of submissions: an append-only file, written before and after each submission.

An `intent` with a unique token, which ends the job's name, is written before sbatch is called; the
job's id follows afterwards. A launcher that finds an intent without an id asks the cluster for
a job of that name. A launcher that is killed at any point therefore neither loses a job nor submits
one twice.
"""

import json
import os
import pwd
import re
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from gantrain.common.access import follow_group_access
from gantrain.common.errors import UserError
from gantrain.common.locks import file_lock
from gantrain.runs.records import numbered_records

LEDGER = "ledger.jsonl"
_LOCK = "ledger.lock"
_MAX_SWEEP = 40  # characters of a sweep's name in a job's
# Of an intent, with their types; version 0.1 has the user only.
_TEXTS = dict.fromkeys(("user", "cluster", "controller", "after", "name"), str)
_DETAILS: dict[str, type] = {**_TEXTS, "array": bool, "limit": int}

# The packs of one array task, trained one after another; runs of a pack train side by side.
ArrayTask = list[list[str]]
SubmissionStatus = Literal["intent", "submitted", "abandoned"]


@dataclass(frozen=True)
class Submission:
    """One job or job array, and the runs that each of its tasks trains.

    token: unique, the end of the job's name. job: the array's id, empty before it is known.
    name: of the job in Slurm; in ledgers of version 0.2.0 and earlier it is the token.
    cluster: Slurm's name for the cluster, without Slurm the host; empty in ledgers of version 0.1.
    controller: Slurm's, see ClusterLimits. array: False for a job that is no array.
    limit: tasks of the array that run at the same time, 0 if not recorded.
    after: the job whose end it waits for. time: Unix time of the intent.
    """

    token: str
    executor: str
    tasks: tuple[ArrayTask, ...]
    status: SubmissionStatus
    job: str = ""
    user: str = ""
    cluster: str = ""
    controller: str = ""
    array: bool = True
    limit: int = 0
    after: str = ""
    name: str = ""
    time: float = 0.0

    @property
    def job_name(self) -> str:
        """The name of its job in Slurm."""
        return self.name or self.token


@dataclass(frozen=True)
class TaskRef:
    """One task of a job array."""

    submission: Submission
    index: int

    @property
    def job(self) -> str:
        """The task's id, as in 12_3; 12 for a job that is no array."""
        return self._of(self.submission.job)

    @property
    def name(self) -> str:
        """The job's name in place of its number, which other jobs may have."""
        return self._of(self.submission.job_name)

    def _of(self, job: str) -> str:
        return f"{job}_{self.index}" if self.submission.array else job


def new_token() -> str:
    """Return a random name that no other submission has."""
    return secrets.token_hex(5)


def job_name(sweep: str, token: str) -> str:
    """Return the name of a submission's job in Slurm: `gantrain-SWEEP-TOKEN`.

    It has no underscore, which separates the name from a task's index.
    """
    name = re.sub("[^A-Za-z0-9.-]+", "-", sweep)[:_MAX_SWEEP].strip("-")
    return "-".join(filter(None, ("gantrain", name, token)))


def user_name() -> str:
    """Return the name of this process's user."""
    # Not from the environment, where LOGNAME may be somebody else's.
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


@contextmanager
def locked(sweep_dir: Path) -> Iterator[int]:
    """Hold the sweep's lock while the block runs; yield the lock's descriptor.

    A child process that inherits the descriptor keeps the lock. sbatch inherits it, so that a
    second launcher cannot look for the job before the first one's sbatch has ended.

    Raises UserError if the file system does not support locks.
    """
    follow_group_access(sweep_dir)
    with file_lock(sweep_dir / _LOCK, wait=True, mode=0o666) as lock:
        if lock is None:
            raise UserError(
                f"{sweep_dir}: this file system does not support locks, so two launchers could "
                "submit the same run; choose another `dir:`."
            )
        yield lock


def write_intent(sweep_dir: Path, intent: Submission) -> None:
    """Record a submission that is about to be made."""
    line = {"token": intent.token, "executor": intent.executor, "elements": list(intent.tasks)}
    line |= {name: getattr(intent, name) for name in _DETAILS}
    _append(sweep_dir, {"event": "intent", **line})


def write_submitted(sweep_dir: Path, token: str, job: str) -> None:
    """Record that the cluster accepted a submission, and its job id."""
    _append(sweep_dir, {"event": "submitted", "token": token, "job": job})


def write_abandoned(sweep_dir: Path, token: str, reason: str) -> None:
    """Record that the cluster does not have a submission and never will."""
    _append(sweep_dir, {"event": "abandoned", "token": token, "reason": reason})


def read_ledger(sweep_dir: Path, problems: list[str] | None = None) -> list[Submission]:
    """Return all submissions, oldest first; lines that a crash cut short are skipped.

    problems: gets a sentence for each line that is not a line of a ledger, which is skipped then.

    Raises UserError naming the first such line if there is no such list: what is submitted without
    knowing all submissions may be submitted twice.
    """
    path = sweep_dir / LEDGER
    submissions: dict[str, Submission] = {}
    found: list[str] = []
    for number, line in numbered_records(path, found):
        try:
            _replay(line, submissions)
        except (KeyError, TypeError, ValueError):
            found.append(f"{path}:{number}: is not a line of the ledger")
    # A line that a crash cut short is complete for the reader, since the next one ends it.
    found = [problem for problem in found if not problem.endswith(": is not JSON")]
    if problems is not None:
        problems += found
    elif found:
        raise UserError(f"{found[0]}; fix or remove it.")
    return list(submissions.values())


def latest_tasks(submissions: Sequence[Submission]) -> dict[str, TaskRef]:
    """Return for each run its newest task that the cluster has, or may have."""
    latest: dict[str, TaskRef] = {}
    for submission in submissions:
        if submission.status == "abandoned":
            continue
        for index, task in enumerate(submission.tasks):
            for pack in task:
                for run in pack:
                    latest[run] = TaskRef(submission, index)
    return latest


def _replay(line: Mapping[str, Any], submissions: dict[str, Submission]) -> None:
    token = _text(line["token"])
    match line["event"]:
        case "intent":
            submissions[token] = Submission(
                token,
                _text(line["executor"]),
                tuple(_tasks(line["elements"])),
                "intent",
                time=float(line["time"]),
                **_details(line),
            )
        case "submitted":
            job = _text(line["job"])
            if submissions[token].executor == "slurm" and not job.isdigit():
                raise ValueError
            submissions[token] = replace(submissions[token], status="submitted", job=job)
        case "abandoned":
            submissions[token] = replace(submissions[token], status="abandoned")


def _details(line: Mapping[str, Any]) -> dict[str, Any]:
    details = {name: line[name] for name in _DETAILS if name in line}
    if not all(isinstance(details[name], kind) for name, kind in _DETAILS.items() if name in line):
        raise TypeError
    return details


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _tasks(value: object) -> list[ArrayTask]:
    if not isinstance(value, list):
        raise TypeError
    for task in value:
        for pack in task:
            if not isinstance(pack, list) or not all(isinstance(run, str) for run in pack):
                raise TypeError
    return value


def _append(sweep_dir: Path, line: Mapping[str, Any]) -> None:
    # The leading newline ends a line that a crash cut short; readers skip empty lines.
    text = "\n" + json.dumps({**line, "time": time.time()}) + "\n"
    descriptor = os.open(sweep_dir / LEDGER, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(descriptor, text.encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
