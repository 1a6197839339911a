"""What a run directory holds, read so that nothing half-written stops it."""

import json
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from gantrain.common.errors import UserError
from gantrain.common.records import flatten
from gantrain.config import Config

# As in gantrain.runs.tracking, which takes the second that torch does to import.
METRICS, EVENTS, STATUS, SAMPLES = "metrics.jsonl", "events.jsonl", "status.json", "samples"
_MOST_POINTS = 10_000  # of a curve; longer ones are put into means of neighbours
_MOST_EVENTS = 2_000


@dataclass(frozen=True)
class RunData:
    """A run as its files tell it.

    config: dotted keys to values; changed: those that differ from the defaults, to the default.
    images: images seen at each point of the curves. curves: values, None where there is none.
    grids: images seen to the PNG of the fixed latents' samples. real: the real images' PNG.
    notes: what could not be read, for people.
    """

    folder: Path
    config: dict[str, Any]
    changed: dict[str, Any]
    status: dict[str, Any]
    images: list[int]
    curves: dict[str, list[float | None]]
    events: list[dict[str, Any]]
    grids: list[tuple[int, Path]]
    real: Path | None
    config_text: str = ""
    notes: list[str] = field(default_factory=list)


def read_run(folder: Path) -> RunData:
    """Read a run directory. Raises UserError if it is none."""
    known = [folder / name for name in ("config.yaml", METRICS, STATUS, EVENTS)]
    if not folder.is_dir() or not any(path.exists() for path in known):
        raise UserError(
            f"{folder}: no run directory; expected a folder with config.yaml and {METRICS}, as "
            "output.run_dir of a training names it."
        )
    notes: list[str] = []
    text = _read_text(folder / "config.yaml", notes)
    config, changed = _config_of(text, notes)
    lines = _json_lines(folder / METRICS, notes)
    images, curves = _curves_of(lines)
    events = _json_lines(folder / EVENTS, notes)
    if len(events) > _MOST_EVENTS:
        notes.append(f"{len(events):,} events; the newest {_MOST_EVENTS:,} are shown")
    samples = folder / SAMPLES
    real = samples / "real.png"
    return RunData(
        folder,
        config,
        changed,
        _status_of(folder / STATUS, notes),
        images,
        curves,
        events[-_MOST_EVENTS:],
        list_grids(folder),
        real if real.exists() else None,
        text,
        notes,
    )


def list_grids(folder: Path) -> list[tuple[int, Path]]:
    """Images seen and the file of each grid of the fixed latents' samples, in order."""
    found = []
    for path in (folder / SAMPLES).glob("fake-*.png"):
        with suppress(ValueError):
            found.append((int(path.stem.removeprefix("fake-")), path))
    return sorted(found)


def _config_of(text: str, notes: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        tree = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError):
        notes.append("config.yaml is not valid YAML")
        return {}, {}
    if not isinstance(tree, dict):
        return {}, {}
    # What has no default must be named, so it is no difference.
    default = flatten(
        Config.model_validate(
            {
                "data": {"shards": "?"},
                "training": {"total_kimg": 1},
                "output": {"run_dir": "?"},
                "objective": {"kind": _kind(tree)},
                **({"discriminator": {"norm": "none"}} if _kind(tree) == "wgan-gp" else {}),
            }
        ).model_dump(mode="json")
    )
    default["discriminator.norm"] = "batch"
    for key in ("data.shards", "training.total_kimg", "output.run_dir", "objective.kind"):
        default.pop(key)
    config = flatten(tree)
    changed = {k: default[k] for k, v in config.items() if k in default and default[k] != v}
    return config, changed


def _kind(tree: dict[str, Any]) -> str:
    objective = tree.get("objective")
    kind = objective.get("kind") if isinstance(objective, dict) else None
    return kind if kind == "wgan-gp" else "dcgan"


def _curves_of(
    lines: Sequence[dict[str, Any]],
) -> tuple[list[int], dict[str, list[float | None]]]:
    lines = [line for line in lines if isinstance(line.get("images_seen"), int | float)]
    names = dict.fromkeys(name for line in lines for name in line if name != "images_seen")
    step = -(-len(lines) // _MOST_POINTS) or 1
    groups = [lines[i : i + step] for i in range(0, len(lines), step)]
    images = [int(group[-1]["images_seen"]) for group in groups]
    return images, {name: [_mean(name, group) for group in groups] for name in names}


def _mean(name: str, lines: Sequence[dict[str, Any]]) -> float | None:
    values = [
        float(line[name])
        for line in lines
        if isinstance(line.get(name), int | float) and math.isfinite(line[name])
    ]
    # Five digits are more than a screen shows, and half the page's size.
    return float(f"{math.fsum(values) / len(values):.5g}") if values else None


def _json_lines(path: Path, notes: list[str]) -> list[dict[str, Any]]:
    found, broken = [], 0
    for text in _read_text(path, notes).splitlines():
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            broken += 1
            continue
        if isinstance(line, dict):
            found.append(line)
        else:
            broken += 1
    if broken:
        notes.append(f"{path.name}: {broken} line(s) cut short or broken were left out")
    return found


def _status_of(path: Path, notes: list[str]) -> dict[str, Any]:
    text = _read_text(path, notes)
    try:
        status = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        status = None
    if not isinstance(status, dict):
        notes.append(f"{path.name} is broken")
        return {}
    return status


def _read_text(path: Path, notes: list[str]) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        notes.append(f"{path.name} is not there (yet)")
    except OSError as error:
        notes.append(f"{path.name} cannot be read ({error.strerror})")
    return ""
