"""How a run came about, as rows of text: for `gantrain show` and the page of a run."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from gantrain.common.command_line import as_typed
from gantrain.common.text import describe_seconds
from gantrain.runs.records import Record

UNKNOWN_ORIGIN = (
    "not recorded: command, code, versions, hardware and times (no run.json, as of version 0.2 "
    "and earlier)"
)
START_COLUMNS = ("started (UTC)", "took", "state", "images seen", "ranks", "host", "job")


def origin_rows(attempts: Sequence[Record]) -> list[tuple[str, str]]:
    """Return names and descriptions of what the newest start of a run says, without what it lacks.

    attempts: of run.json, oldest first.
    """
    if not attempts:
        return [("origin", UNKNOWN_ORIGIN)]
    start = attempts[-1]
    rows = {
        "command": as_typed(start.get("launcher") or start.get("command") or []),
        "folder": start.get("folder", ""),
        "code": _code(start),
        "project": _work_tree(start.get("project") or {}),
        "versions": ", ".join(f"{k} {v}" for k, v in (start.get("versions") or {}).items()),
        "hardware": _hardware(start),
        "ranks": machine_words(start, threads=True),
        "Slurm": ", ".join(f"{k} {v}" for k, v in (start.get("slurm") or {}).items()),
    }
    return [(name, text) for name, text in rows.items() if text]


def start_rows(attempts: Sequence[Record], last_sign: float | None) -> list[tuple[str, ...]]:
    """Return a row of START_COLUMNS for each start of a run, oldest first.

    last_sign: when the run was last heard of, for a newest start without an end.
    """
    rows: list[tuple[str, ...]] = []
    for attempt in attempts:
        newest = attempt is attempts[-1]
        state, end = attempt.get("state", "?"), attempt.get("end")
        if end is None:
            state = state if newest else "ended without a record"
            end = attempt.get("last_heartbeat") or (last_sign if newest else None)
        seconds = "?" if end is None else describe_seconds(max(0.0, end - attempt["start"]))
        first, last = (attempt.get(f"images_seen{x}") for x in ("_at_start", ""))
        images = " to ".join(f"{n:,}" for n in (first, last) if n is not None)
        job, host = (attempt.get("slurm") or {}).get("job", ""), _host(attempt)
        ranks = str(attempt.get("ranks", "?"))
        rows.append((utc(attempt["start"]), seconds, state, images, ranks, host, str(job)))
    return rows


def machine_words(start: Record, *, threads: bool = False) -> str:
    """Return ranks, device and precision, such as `2 ranks on cpu, bf16`; "" if not recorded.

    threads: also name the threads of each rank.
    """
    ranks, device = start.get("ranks"), start.get("device")
    if not ranks or not device:
        return ""
    where = (start.get("gpus") or [device])[0]
    parts = [
        f"{'1 rank' if ranks == 1 else f'{ranks} ranks'} on {where}",
        precision_name(start.get("precision", "no")),
    ]
    if threads and (count := start.get("threads")):
        parts.append("1 thread each" if count == 1 else f"{count} threads each")
    return ", ".join(parts)


def precision_name(precision: str) -> str:
    """Return the precision that a run computes in, such as `float32` for Accelerate's `no`."""
    return "float32" if precision == "no" else precision


def utc(moment: float) -> str:
    """Return a Unix time as date and minute in UTC."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M")


def _code(start: Record) -> str:
    code = start.get("code") or {}
    digest = f"digest {code['digest']}" if code.get("digest") else ""
    return ", ".join(filter(None, [_work_tree(code), digest]))


def _work_tree(tree: Mapping[str, Any]) -> str:
    if not tree.get("commit"):
        return f"{tree['folder']}, no git commit known" if tree.get("folder") else ""
    changes = {True: ", with changes", False: "", None: ", changes not known"}
    return f"{tree.get('folder')} at {str(tree['commit'])[:12]}{changes.get(tree.get('changed'))}"


def _host(start: Record) -> str:
    return str((start.get("hardware") or {}).get("host", ""))


def _hardware(start: Record) -> str:
    found = start.get("hardware") or {}
    cores, usable = found.get("cores"), found.get("usable_cores")
    parts = [
        found.get("host"),
        found.get("processor"),
        f"{usable} of {cores} cores" if cores else None,
        f"{found['memory_gib']:g} GiB" if "memory_gib" in found else None,
        ", ".join(start.get("gpus") or []),
        found.get("system"),
    ]
    return ", ".join(str(part) for part in parts if part)
