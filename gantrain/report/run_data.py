"""Reads a run directory for display; missing, incomplete or broken files become notes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gantrain.common.errors import UserError
from gantrain.common.records import flatten
from gantrain.common.yaml_core import load_yaml
from gantrain.config import Config
from gantrain.config.objectives import sections_by_kind
from gantrain.config.quality import has_quality
from gantrain.health.problems import NO_FAULT, words_for
from gantrain.health.verdict import Floor, Verdict, judge, recorded_floor
from gantrain.runs.metrics_file import read_metrics
from gantrain.runs.overview import Overview, read_overview
from gantrain.runs.paths import (
    CONFIG,
    EVENTS,
    METRICS,
    REAL_SAMPLES,
    SAMPLES,
    STATUS,
    list_grids,
)
from gantrain.runs.progress import describe_classes, meaningful_metrics
from gantrain.runs.records import Record, read_events, read_status
from gantrain.runs.standing import Standing

_MAX_POINTS = 10_000  # of a curve; neighbouring points of a longer one are averaged
_MAX_EVENTS = 2_000
# The names in runs of version 0.1, and today's.
_RENAMED_KINDS = {"goes_on": "resumes"}
_RENAMED_DETAILS = {"knob": "setting"}


@dataclass(frozen=True)
class RunData:
    """The content of a run directory.

    config: values by dotted key. changed: the defaults of those that differ from their defaults.
    config_text: config.yaml as it is.
    status: content of status.json.
    images: images seen at each point of the curves. curves: values by metric; None where a metric
        was not logged. Without metrics that mean nothing, such as the accuracy of a critic.
    seconds: of training until each point, without pauses; empty if the speed was not logged.
    events: oldest first, under today's names.
    grids: images seen and file of each sample grid. real: file of the grid of real images.
    overview: its state, what is said of it, and how it came about.
    verdict: on the quality. floor: what real images score against other real images.
    diagnosis: the newest, as people read it, with its evidence; None before the first.
    notes: files and lines that could not be read, for display.
    """

    run_dir: Path
    config: dict[str, Any]
    changed: dict[str, Any]
    config_text: str
    status: Record
    images: list[int]
    curves: dict[str, list[float | None]]
    seconds: list[float]
    events: list[Record]
    grids: list[tuple[int, Path]]
    real: Path | None
    overview: Overview
    verdict: Verdict
    floor: Floor
    diagnosis: Record | None
    notes: list[str]


def read_run(run_dir: Path) -> RunData:
    """Read a run directory. Raises UserError if the folder is not one."""
    known = [run_dir / name for name in (CONFIG, METRICS, STATUS, EVENTS)]
    if not any(path.exists() for path in known):
        raise UserError(
            f"{run_dir}: not a run directory; expected a folder with {CONFIG} and {METRICS}, such "
            "as output.run_dir of a training run."
        )
    notes: list[str] = []
    text = _read_text(run_dir / CONFIG, notes)
    config, changed = _parse_config(text, notes)
    problems: list[str] = []
    lines = read_metrics(run_dir, problems)
    images, curves = _build_curves(lines)
    events = [_with_new_names(event) for event in read_events(run_dir, problems)]
    status = read_status(run_dir, problems)
    _note_problems(run_dir, problems, notes)
    if len(events) > _MAX_EVENTS:
        notes.append(f"only the newest {_MAX_EVENTS:,} of {len(events):,} events are shown")
    real = run_dir / SAMPLES / REAL_SAMPLES
    floor = recorded_floor(events)
    verdict = judge(
        lines,
        floor,
        config.get("output.keep_best"),
        measures=config.get("metrics.every_kimg") != 0,
    )
    diagnosis = next((x for x in reversed(events) if x["event"] == "diagnosis"), None)
    return RunData(
        run_dir=run_dir,
        config=config,
        changed=changed,
        config_text=text,
        status=status,
        images=images,
        curves=curves,
        seconds=_seconds_until(lines, images),
        events=events[-_MAX_EVENTS:],
        grids=list_grids(run_dir),
        real=real if real.exists() else None,
        overview=read_overview(run_dir, _standing(lines, verdict, diagnosis)),
        verdict=verdict,
        floor=floor,
        diagnosis=diagnosis,
        notes=notes,
    )


def _standing(lines: Sequence[Record], verdict: Verdict, diagnosis: Record | None) -> Standing:
    """Return what is said of a run; status.json of version 0.2 and earlier does not say it."""
    measured = next((line for line in reversed(lines) if has_quality(line)), {})
    name = str(diagnosis.get("diagnosis", "")) if diagnosis else ""
    faulty = name not in ("", NO_FAULT)
    return Standing(
        training=name or words_for("starting"),
        faulty=faulty,
        training_evidence=str(diagnosis.get("evidence", "")) if diagnosis and faulty else "",
        quality=verdict.words,
        evidence=verdict.evidence,
        floor=verdict.floor,
        classes=describe_classes(measured),
    )


def _with_new_names(event: Record) -> Record:
    renamed = {_RENAMED_DETAILS.get(key, key): value for key, value in event.items()}
    renamed["event"] = _RENAMED_KINDS.get(event["event"], event["event"])
    found, words = event.get("diagnosis"), words_for(str(event.get("diagnosis")))
    if found is not None and words != found:
        reason = str(event.get("reason", "")).removeprefix(f"{found}: ").removeprefix(f"{words}: ")
        renamed |= {"diagnosis": words, "reason": f"{words}: {reason}"}
    return renamed


def _parse_config(text: str, notes: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the values by dotted key, and the defaults of those that differ from them."""
    try:
        tree = load_yaml(text)
        config = flatten(tree, levels=2) if isinstance(tree, dict) else {}
    except (ValueError, RecursionError):  # an alias may contain itself
        notes.append(f"{CONFIG} is not valid YAML")
        return {}, {}
    if not config:
        return {}, {}
    defaults = _defaults(tree)
    changed = {k: defaults[k] for k, v in config.items() if k in defaults and defaults[k] != v}
    return config, changed


def _defaults(tree: dict[str, Any]) -> dict[str, Any]:
    """Return the defaults of a config's objective by dotted key, without required keys."""
    objective = tree.get("objective")
    kind = objective.get("kind") if isinstance(objective, dict) else None
    required: dict[str, Any] = {
        "data": {"shards": "?"},
        "training": {"total_kimg": 1},
        "output": {"run_dir": "?"},
        "objective": {"kind": "dcgan"},
    }
    if kind in sections_by_kind():
        required["objective"] = {"kind": kind}
    for network in ("generator", "discriminator"):
        section = tree.get(network)
        if isinstance(section, dict) and section.get("backbone") == "resnet":
            required[network] = {"backbone": "resnet"}
    # The default norm of the backbone dcgan is not valid with every objective.
    required["discriminator"] = {"norm": "none", **required.get("discriminator", {})}
    config = Config.model_validate(required)
    defaults = flatten(config.model_dump(mode="json"), levels=2)
    defaults["discriminator.norm"] = type(config.discriminator).model_fields["norm"].default
    for network in ("generator", "discriminator"):
        defaults[f"{network}.backbone"] = "dcgan"
    for key in ("data.shards", "training.total_kimg", "output.run_dir", "objective.kind"):
        defaults.pop(key)
    return defaults


def _build_curves(lines: Sequence[Record]) -> tuple[list[int], dict[str, list[float | None]]]:
    logged = dict.fromkeys(name for line in lines for name in line if name != "images_seen")
    names = meaningful_metrics(logged)
    step = -(-len(lines) // _MAX_POINTS) or 1
    groups = [lines[i : i + step] for i in range(0, len(lines), step)]
    images = [int(group[-1]["images_seen"]) for group in groups]
    return images, {name: [_mean(name, group) for group in groups] for name in names}


def _seconds_until(lines: Sequence[Record], images: Sequence[int]) -> list[float]:
    """Return the seconds of training until each of `images`, from the logged speeds."""
    until: dict[int, float] = {}
    seen, seconds = 0.0, 0.0
    for line in lines:
        speed = line.get("speed/images_per_second")
        if speed is None or not speed > 0:
            return []
        seconds += max(line["images_seen"] - seen, 0) / speed
        seen = line["images_seen"]
        until[int(seen)] = round(seconds, 1)
    return [until[point] for point in images]


def _mean(name: str, lines: Sequence[Record]) -> float | None:
    values = [
        float(line[name])
        for line in lines
        if line.get(name) is not None and math.isfinite(line[name])
    ]
    # Five digits are more than a screen shows, and halve the size of the page.
    return float(f"{math.fsum(values) / len(values):.5g}") if values else None


def _note_problems(run_dir: Path, problems: Sequence[str], notes: list[str]) -> None:
    """Add one note for each file with problems; those of single lines are counted."""
    for name in (METRICS, EVENTS, STATUS):
        path = run_dir / name
        if not path.exists():
            notes.append(f"{name} does not exist (yet)")
            continue
        found = [text.removeprefix(str(path)) for text in problems if text.startswith(f"{path}:")]
        lines = [text for text in found if text[1:2].isdigit()]
        notes += [name + text.removeprefix(":") for text in found if text not in lines]
        if name != STATUS and _is_cut_short(path):
            lines.append(":last: is cut short")
        if lines:
            number, _, problem = lines[0][1:].partition(": ")
            notes.append(f"{name}: {len(lines)} line(s) skipped (line {number} {problem})")


def _is_cut_short(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return bool(file.seek(0, 2)) and file.seek(-1, 2) >= 0 and file.read() != b"\n"
    except OSError:
        return False


def _read_text(path: Path, notes: list[str]) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        notes.append(f"{path.name} does not exist (yet)")
    except OSError as error:
        notes.append(f"{path.name} cannot be read ({error.strerror})")
    return ""
