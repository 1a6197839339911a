"""`run.json`: how a run came about, one record for each start of it, oldest first.

The trainer writes it beside the training, which neither waits for it nor fails by it. What the
launcher writes into `attempts.jsonl` is the fate of the job around it: why the job ended, and what
became of a trainer that was killed and could write nothing itself. Needs no torch.
"""

import os
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gantrain.common.code_state import (
    digest_files,
    git_state,
    git_state_of_package,
    package_files,
)
from gantrain.common.command_line import launcher_command, own_command
from gantrain.common.errors import UserError
from gantrain.common.files import write_json
from gantrain.common.machine import describe_hardware, installed_versions, slurm_job
from gantrain.common.records import is_count, read_object
from gantrain.runs.failures import Failures
from gantrain.runs.liveness import last_heartbeat
from gantrain.runs.paths import PROVENANCE
from gantrain.runs.records import Kinds, Record, is_text, is_time, keep_valid, read_json

_VERSION = 1
_PACKAGE = Path(__file__).parents[1]
_JOIN_SECONDS = 10.0  # what git, on a slow file system, may still keep the end of a run waiting


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(map(is_text, value))


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


_KINDS: Kinds = {
    "start": is_time,
    "end": is_time,
    "last_heartbeat": is_time,
    "state": is_text,
    "reason": is_text,
    "images_seen_at_start": is_count,
    "images_seen": is_count,
    "command": _is_texts,
    "launcher": _is_texts,
    "folder": is_text,
    "run_dir": is_text,
    "pid": is_count,
    "ranks": is_count,
    "ranks_here": is_count,
    "device": is_text,
    "gpus": _is_texts,
    "precision": is_text,
    "threads": is_count,
    **dict.fromkeys(("hardware", "versions", "code", "project", "slurm"), _is_object),
}


@dataclass(frozen=True)
class Setting:
    """How the ranks of this start train, which only the trainer knows.

    ranks_here: those on the machine of the first rank. gpus: names of the first rank's devices.
    threads: of a rank, on the CPU. versions: of what torch was built with.
    """

    ranks: int
    ranks_here: int
    device: str
    precision: str
    threads: int
    gpus: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)


class AttemptRecord:
    """Records this start of a run in run.json, and how it ends. Only the first rank has one.

    Facts are collected in a thread, since git and the digest of the code may take long on a slow
    file system. What fails is recorded in `failures`.
    """

    def __init__(
        self, run_dir: Path, images_seen: int, setting: Setting, failures: Failures
    ) -> None:
        """Note the time; it must come before this start's first heartbeat."""
        self._run_dir = run_dir
        self._failures = failures
        self._record: Record = {
            "start": time.time(),
            "end": None,
            "state": "running",
            "images_seen_at_start": images_seen,
        }
        with suppress(OSError):  # it may be gone
            self._record["folder"] = str(Path.cwd())
        self._setting = setting
        self._heartbeat_before = last_heartbeat(run_dir)
        self._all: list[Record] = []  # with those of earlier starts, once they are read
        self._sent = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._start, name="provenance", daemon=True)
        self._thread.start()

    def take_facts(self) -> Record | None:
        """Return the record once, when it is complete, for W&B."""
        if self._sent or self._thread.is_alive():
            return None
        self._sent = True
        return {k: v for k, v in self._record.items() if k not in ("end", "state")}

    def end(self, state: str, images_seen: int, reason: str) -> None:
        """Record how this start of the run ended. Raises OSError if it cannot be written."""
        self._thread.join(_JOIN_SECONDS)
        with self._lock:
            self._record |= {
                "end": time.time(), "state": state, "reason": reason, "images_seen": images_seen,
            }  # fmt: skip
            if self._all:
                self._write()

    def summary(self) -> dict[str, Any]:
        """Return how this start ended and how long all of them took, for W&B's summary."""
        seconds = wall_seconds(self._all or [self._record])
        return {"state": self._record["state"], "wall_hours": round(seconds / 3600, 4)}

    def _start(self) -> None:
        with self._failures.contain(PROVENANCE):
            earlier = _read_to_extend(self._run_dir)
            if earlier and earlier[-1].get("end") is None:  # it was killed
                earlier[-1]["last_heartbeat"] = self._heartbeat_before
            folder = Path(self._record.get("folder", "/"))
            facts = collect_facts(folder, folder / self._run_dir, self._setting)
            with self._lock:
                self._record |= facts
                self._all = [*earlier, self._record]
                self._write()

    def _write(self) -> None:
        write_json(
            self._run_dir / PROVENANCE,
            {"version": _VERSION, "attempts": self._all},
            durable=self._record["end"] is not None,
        )


def collect_facts(folder: Path, run_dir: Path, setting: Setting) -> Record:
    """Return what is known of this process, its machine and its code, as plain values.

    folder: the working directory.
    Secrets on command lines are masked; of the environment, only Slurm's description of the job is
    kept.
    """
    code = git_state_of_package(_PACKAGE)
    project = git_state(folder)
    if project is not None and code is not None and project.folder == code.folder:
        project = None
    hardware = describe_hardware()
    values = asdict(setting)
    versions = {**installed_versions(), **values.pop("versions")}
    return {
        "command": own_command(),
        "launcher": launcher_command(),
        "run_dir": str(run_dir),
        "pid": os.getpid(),
        **values,
        "hardware": hardware,
        "versions": versions,
        "code": {
            "digest": digest_files(package_files(_PACKAGE)),
            "commit": code.commit if code else None,
            "changed": code.changed if code else None,
            "folder": str(_PACKAGE.parent),
        },
        "project": project.to_record() if project else None,
        "slurm": slurm_job() or None,
    }


def _read_to_extend(run_dir: Path) -> list[Record]:
    """Return the records to which another one is to be added, as they are.

    Raises UserError if the file is not one of this version: it is not overwritten.
    """
    path = run_dir / PROVENANCE
    if not path.exists():
        return []
    content = read_object(path)
    attempts = content.get("attempts")
    if content.get("version") != _VERSION or not isinstance(attempts, list):
        raise UserError(f"{path}: not of this version, and left as it is.")
    return [attempt for attempt in attempts if isinstance(attempt, dict)]


def read_attempts(run_dir: Path, problems: list[str] | None = None) -> list[Record]:
    """Return the starts of a run with their valid values, oldest first; empty without a run.json.

    Each has at least the Unix time `start`. problems: gets a sentence for what is not valid.
    """
    path = run_dir / PROVENANCE
    content: Mapping[str, Any] = read_json(path, problems) or {}
    attempts = content.get("attempts")
    if not isinstance(attempts, list):
        return []
    found = []
    for index, attempt in enumerate(attempts):
        if isinstance(attempt, dict):
            source = f"{path}: attempts.{index}"
            present = {key: value for key, value in attempt.items() if value is not None}
            found.append(keep_valid(present, _KINDS, source, problems))
    return [attempt for attempt in found if "start" in attempt]


def wall_seconds(attempts: Sequence[Record], last_sign: float | None = None) -> float:
    """Return the seconds that the starts of a run took together.

    last_sign: when the run was last heard of; that is the end of a newest start without an end. An
    earlier one was killed, and ended with its last heartbeat.
    """
    total = 0.0
    for attempt in attempts:
        newest = attempt is attempts[-1]
        end = attempt.get("end") or attempt.get("last_heartbeat") or (last_sign if newest else None)
        total += max(0.0, (end or attempt["start"]) - attempt["start"])
    return total
