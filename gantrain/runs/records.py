"""The records of a run directory: metrics, events, status, heartbeats. Needs no torch.

A record may be cut short by a full disk or a killed process, or be written while it is read.
Readers skip what is not whole; they raise nothing for it.
"""

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gantrain.common.files import append_json, write_text
from gantrain.runs.paths import EVENTS, METRICS, STATUS, list_heartbeats

Record = dict[str, Any]


def read_json(path: Path) -> Record | None:
    """The JSON object in a file; None if the file is missing, unreadable or not an object."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def read_json_lines(path: Path) -> tuple[list[Record], int]:
    """The JSON objects in a file, one a line, and how many lines were not one.

    A missing file has none. Raises OSError if the file cannot be read.
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
    """The lines of metrics.jsonl that say at how many images seen they were written, oldest first.

    Empty if the file is missing or unreadable.
    """
    try:
        lines, _ = read_json_lines(run_dir / METRICS)
    except OSError:
        return []
    return [line for line in lines if "images_seen" in line]


def drop_metrics_after(run_dir: Path, images_seen: int) -> None:
    """Keep only the metrics up to so many images seen: a run that resumes there writes the rest."""
    kept = [line for line in read_metrics(run_dir) if line["images_seen"] <= images_seen]
    write_text(run_dir / METRICS, "".join(json.dumps(line) + "\n" for line in kept))


def read_events(run_dir: Path, kinds: Iterable[str] = ()) -> list[Record]:
    """The lines of events.jsonl, oldest first; of these kinds only, if any are given."""
    wanted = set(kinds)
    try:
        lines, _ = read_json_lines(run_dir / EVENTS)
    except OSError:
        return []
    return [line for line in lines if not wanted or line.get("event") in wanted]


def append_event(run_dir: Path, kind: str, images_seen: int, **details: object) -> None:
    """Add a line to events.jsonl; any rank may do so."""
    line = {"time": time.time(), "images_seen": images_seen, "event": kind, **details}
    append_json(run_dir / EVENTS, line)


def read_status(run_dir: Path) -> Record:
    """The trainer's status file; empty if it is missing or broken."""
    return read_json(run_dir / STATUS) or {}


def read_heartbeats(run_dir: Path) -> list[Record]:
    """The newest heartbeat of each rank, by rank; unreadable ones are left out."""
    return [beat for path in list_heartbeats(run_dir) if (beat := read_json(path)) is not None]
