"""The records of a run directory: events, status, heartbeats. Needs no torch.

Other processes write these files, perhaps of another version, and disks damage them. A reader skips
what it does not understand. It adds a sentence to `problems` for it, with the file and the line, if
its caller passes a list. A last line without an end is no problem: it is being written, or its
writer was killed.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from gantrain.common.errors import os_reason
from gantrain.common.files import append_text
from gantrain.common.records import is_count, is_number
from gantrain.runs.paths import EVENTS, STATUS, list_heartbeats

Record = dict[str, Any]
Problems = list[str] | None
Kinds = Mapping[str, Callable[[object], bool]]  # key to whether a value of it is valid

_MAX_LINE = 16_000_000  # bytes; a longer line is no record
_MAX_QUOTE = 40  # characters of an odd value that a problem quotes


def is_text(value: object) -> bool:
    """Return whether a value is a string."""
    return isinstance(value, str)


def is_time(value: object) -> bool:
    """Return whether a value is a Unix time in seconds that can be a date."""
    return is_number(value) and 0 <= value < 1e11


_STATUS_KINDS: Kinds = {
    "state": is_text,
    "reason": is_text,
    "training": is_text,
    "training_evidence": is_text,
    "classes": is_text,
    "quality": is_text,
    "quality_evidence": is_text,
    "quality_floor": is_number,
    "images_seen": is_count,
    "total_images": is_count,
    "images_per_second": is_number,
    "log_seconds": is_number,
    "time": is_time,
    "host": is_text,
    "pid": is_count,
    "cpu_threads": is_count,
}
_HEARTBEAT_KINDS: Kinds = {
    "rank": is_count,
    "phase": is_text,
    "phases_begun": is_count,
    "images_seen": is_count,
    "seconds_in_phase": is_number,
    "time": is_time,
    "host": is_text,
    "pid": is_count,
}
_EVENT_KINDS: Kinds = {"event": is_text, "images_seen": is_number, "time": is_time}


def parse_object(text: bytes) -> Record | str:
    """Return the JSON object in a text, or what it is instead, to follow `is`."""
    try:
        content = json.loads(text.decode())
        if b"\\u" in text:  # an escape may be half of a character, which no output can encode
            json.dumps(content, ensure_ascii=False).encode()
    except UnicodeError:
        return "not UTF-8"
    except (ValueError, RecursionError):
        return "not JSON"
    return content if isinstance(content, dict) else "no JSON object"


def read_json(path: Path, problems: Problems = None) -> Record | None:
    """Return the JSON object in a file, or None if it is missing, unreadable or no object."""
    try:
        content = parse_object(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        note(problems, f"{path}: cannot be read ({os_reason(error)})")
        return None
    if isinstance(content, str):
        note(problems, f"{path}: cannot be read ({content})")
        return None
    return content


def numbered_records(path: Path, problems: Problems = None) -> Iterator[tuple[int, Record]]:
    """Yield the JSON objects in a file, one per line, with the numbers of their lines from 1."""
    try:
        with path.open("rb") as file:
            number = 0
            while line := file.readline(_MAX_LINE):
                number += 1
                if len(line) == _MAX_LINE and not line.endswith(b"\n"):
                    while (line := file.readline(_MAX_LINE)) and not line.endswith(b"\n"):
                        pass
                    note(problems, f"{path}:{number}: is longer than {_MAX_LINE:,} bytes")
                    continue
                if not line.strip():
                    continue
                content = parse_object(line)
                if not isinstance(content, str):
                    yield number, content
                elif line.endswith(b"\n"):
                    note(problems, f"{path}:{number}: is {content}")
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        note(problems, f"{path}: cannot be read ({os_reason(error)})")


def keep_valid(record: Record, kinds: Kinds, source: str, problems: Problems = None) -> Record:
    """Return a record without the values that are not valid; keys without a kind are kept.

    source: the file, and the line if it has several, for problems.
    """
    valid = {}
    for key, value in record.items():
        if key in kinds and not kinds[key](value):
            note(problems, f"{source}: {key}: {_quote(value)} is no valid value")
        else:
            valid[key] = value
    return valid


def read_events(run_dir: Path, problems: Problems = None) -> list[Record]:
    """Return the lines of events.jsonl, oldest first; each has the text `event`."""
    path = run_dir / EVENTS
    events = []
    for number, line in numbered_records(path, problems):
        event = keep_valid(line, _EVENT_KINDS, f"{path}:{number}", problems)
        events.append({"event": "?", **event})
    return events


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


def read_status(run_dir: Path, problems: Problems = None) -> Record:
    """Return the valid values of the trainer's status file; empty if it is missing or broken."""
    path = run_dir / STATUS
    return keep_valid(read_json(path, problems) or {}, _STATUS_KINDS, str(path), problems)


def read_heartbeats(run_dir: Path, problems: Problems = None) -> list[Record]:
    """Return the newest heartbeat of each rank, by rank, without unreadable ones."""
    found = ((path, read_json(path, problems)) for path in list_heartbeats(run_dir))
    return [
        keep_valid(beat, _HEARTBEAT_KINDS, str(path), problems)
        for path, beat in found
        if beat is not None
    ]


def _quote(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_QUOTE else text[: _MAX_QUOTE - 3] + "..."


def note(problems: Problems, text: str) -> None:
    """Add a sentence to the problems, if the caller of a reader wants them."""
    if problems is not None:
        problems.append(text)
