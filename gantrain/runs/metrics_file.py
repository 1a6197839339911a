"""metrics.jsonl: the lines of metrics of a run. Needs no torch.

Damaged lines are skipped and named as in `gantrain.runs.records`.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from gantrain.common.files import replacing
from gantrain.common.records import is_number
from gantrain.config.quality import OF_ONE_CLASS
from gantrain.runs.paths import METRICS
from gantrain.runs.records import (
    Problems,
    Record,
    keep_valid,
    note,
    numbered_records,
    parse_object,
)

_MEASURED = ("quality/", "interval/", OF_ONE_CLASS, "speed/seconds_of_metrics")


def read_metrics(run_dir: str | Path, problems: Problems = None) -> list[Record]:
    """Return the lines of metrics.jsonl that have `images_seen`, oldest first.

    `images_seen` is a finite number; all other values are numbers or None. Empty if the file is
    missing or unreadable. A table of it is `pandas.DataFrame(read_metrics(run_dir))`.
    """
    path = Path(run_dir) / METRICS
    lines = []
    for number, line in numbered_records(path, problems):
        source = f"{path}:{number}"
        if not is_number(line.get("images_seen")):
            note(problems, f"{source}: has no valid images_seen")
            continue
        kinds = dict.fromkeys(line, _is_metric)
        lines.append(keep_valid(line, kinds, source, problems))
    return lines


def drop_metrics_after(run_dir: Path, images_seen: int, measured_at: int | None) -> None:
    """Remove the metrics after `images_seen`; a run that resumes there writes them again.

    Earlier lines stay as they are, also those that are no metrics.

    measured_at: images seen at the last scheduled measurement of the quality. A line after it loses
    what was measured because the run ended there, since it is made longer now. None: not known.

    Raises OSError if the file cannot be read or written.
    """
    kept = []
    dropping = False
    for line in _metrics_lines(run_dir):
        seen = _images_seen(line)
        # What follows the first removed line and is no metric is of the same time.
        dropping = dropping if seen is None else seen > images_seen
        if not dropping:
            kept.append(line)
    last = _last_metrics(kept)
    if measured_at is not None and last is not None:
        row, record = last
        if record["images_seen"] > measured_at:
            kept[row] = _encode({k: v for k, v in record.items() if not k.startswith(_MEASURED)})
    _write_metrics(run_dir, kept)


def extend_last_metrics(run_dir: Path, line: Record) -> bool:
    """Add to the last line of metrics what it lacks, if it is at as many images seen as `line`.

    Return whether it is. Raises OSError if the file cannot be read or written.
    """
    lines = _metrics_lines(run_dir)
    last = _last_metrics(lines)
    if last is None or last[1]["images_seen"] != line["images_seen"]:
        return False
    row, record = last
    lines[row] = _encode({**line, **record})
    _write_metrics(run_dir, lines)
    return True


def _metrics_lines(run_dir: Path) -> list[bytes]:
    """Return the lines of metrics.jsonl, without a last one that was cut short."""
    path = run_dir / METRICS
    *lines, cut_short = path.read_bytes().split(b"\n") if path.exists() else [b""]
    return [*lines, cut_short] if _images_seen(cut_short) is not None else lines


def _last_metrics(lines: Sequence[bytes]) -> tuple[int, Record] | None:
    """Return the row and the content of the last line that is metrics."""
    for row in reversed(range(len(lines))):
        record = parse_object(lines[row])
        if not isinstance(record, str) and is_number(record.get("images_seen")):
            return row, record
    return None


def _encode(record: Record) -> bytes:
    return json.dumps(record).encode()


def _write_metrics(run_dir: Path, lines: Sequence[bytes]) -> None:
    with replacing(run_dir / METRICS) as temporary:
        temporary.write_bytes(b"".join(line + b"\n" for line in lines))


def _images_seen(line: bytes) -> float | None:
    content = parse_object(line)
    seen = None if isinstance(content, str) else content.get("images_seen")
    return seen if is_number(seen) else None


def _is_metric(value: object) -> bool:
    # NaN and infinity are values that a diverged run may have logged.
    return value is None or isinstance(value, float) or is_number(value)
