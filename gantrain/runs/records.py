"""The records of a run directory: metrics, events, status, heartbeats. Needs no torch.

A record may be truncated by a full disk or a killed process, or be written while it is read.
Readers skip incomplete records without an error.
"""

import json
import time
from pathlib import Path
from typing import Any

from gantrain.common.files import append_text, write_text
from gantrain.runs.paths import METRICS, STATUS, list_heartbeats

Record = dict[str, Any]


def read_json(path: Path) -> Record | None:
    """Return the JSON object in a file, or None if it is missing, unreadable or no object."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def read_json_lines(path: Path) -> tuple[list[Record], int]:
    """Return the JSON objects in a file, one per line, and the number of lines that are not one.

    A missing file has no lines. Raises OSError if the file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return [], 0
    records: list[Record] = []
    skipped = 0
    for line in text.splitlines():
        try:
            content = json.loads(line)
        except (ValueError, RecursionError):
            content = None
        if isinstance(content, dict):
            records.append(content)
        else:
            skipped += 1
    return records, skipped


def read_metrics(run_dir: Path) -> list[Record]:
    """Return the lines of metrics.jsonl that have `images_seen`, oldest first.

    Empty if the file is missing or unreadable.
    """
    try:
        lines, _ = read_json_lines(run_dir / METRICS)
    except OSError:
        return []
    return [line for line in lines if "images_seen" in line]


def drop_metrics_after(run_dir: Path, images_seen: int) -> None:
    """Remove the metrics after `images_seen`; a run that resumes there writes them again."""
    kept = [line for line in read_metrics(run_dir) if line["images_seen"] <= images_seen]
    write_text(run_dir / METRICS, "".join(json.dumps(line) + "\n" for line in kept))


class LineFile:
    """Appends records to a file, one per line; other processes may append to it as well.

    Records that cannot be written, as on a full disk, are kept and written with the next one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._waiting: list[str] = []

    def append(self, record: Record) -> None:
        """Append a record. Raises OSError if the file cannot be written, ValueError on NaN."""
        self._waiting.append(json.dumps(record, allow_nan=False) + "\n")
        append_text(self._path, "".join(self._waiting))
        self._waiting.clear()


def event_record(kind: str, images_seen: int, **details: object) -> Record:
    """Return a record for events.jsonl."""
    return {"time": time.time(), "images_seen": images_seen, "event": kind, **details}


def read_status(run_dir: Path) -> Record:
    """Return the trainer's status file; empty if it is missing or broken."""
    return read_json(run_dir / STATUS) or {}


def read_heartbeats(run_dir: Path) -> list[Record]:
    """Return the newest heartbeat of each rank, by rank, without unreadable ones."""
    return [beat for path in list_heartbeats(run_dir) if (beat := read_json(path)) is not None]
