"""Which generator is meant by a path: of a run, of one of its checkpoints, or an exported file."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gantrain.common.errors import UserError
from gantrain.runs.checkpoint import LATEST, is_checkpoint, read_state
from gantrain.runs.generator_file import read_generator
from gantrain.runs.paths import (
    CHECKPOINTS,
    CONFIG,
    GENERATOR,
    GENERATOR_BEST,
    METRICS,
    list_checkpoints,
)


@dataclass(frozen=True)
class Source:
    """One generator, or a run directory, of which the newest checkpoint is meant.

    path: an exported file, a checkpoint or a run directory.
    run_dir: the run directory that it is in; None if it is in none, like a copy elsewhere.
    """

    path: Path
    run_dir: Path | None

    @property
    def is_run(self) -> bool:
        """Whether `path` is the run directory."""
        return self.path == self.run_dir


def find_source(path: Path) -> Source:
    """Return what a path means: a run directory, its folder of checkpoints, one of them, or a file.

    Raises UserError if it does not exist.
    """
    if path.name == LATEST and path.parent.name == CHECKPOINTS and path.is_file():
        path = path.parent
    in_checkpoints = path.parent.name == CHECKPOINTS
    if not path.exists():
        found = list_checkpoints(path.parent.parent) if in_checkpoints else []
        names = ", ".join(folder.name for _, folder in reversed(found))
        expected = "a run directory, a checkpoint in it, or an exported generator"
        raise UserError(f"{path}: does not exist; expected {names or expected}.")
    if path.is_dir() and path.name == CHECKPOINTS:
        return Source(path.parent, path.parent)
    if path.is_dir() and not is_checkpoint(path) and not in_checkpoints:
        return Source(path, path)
    if is_checkpoint(path.parent):
        raise UserError(f"{path}: a part of a checkpoint; expected its folder, {path.parent}.")
    run_dir = path.parent.parent if in_checkpoints else path.parent
    return Source(path, run_dir if _is_run(run_dir) else None)


def find_checkpoint_at(run_dir: Path, at: float) -> Path:
    """Return the checkpoint of a run at a number of kimg, or a file exported there.

    A checkpoint is saved in the first iteration that reaches its time, and so may have seen up to
    one iteration more.

    Raises UserError that names the nearest ones if there is none.
    """
    sources = dict(list_checkpoints(run_dir))
    for name in (GENERATOR, GENERATOR_BEST):
        path = run_dir / name
        if not path.exists():
            continue
        images_seen = read_generator(path, header_only=True).images_seen
        if images_seen is not None:
            sources.setdefault(images_seen, path)
    wanted = at * 1000
    if not sources:
        raise UserError(f"--at {at:g}: {run_dir} has no checkpoint yet.")
    nearest = min(sources, key=lambda images_seen: abs(images_seen - wanted))
    distance = abs(nearest - wanted)
    if distance >= 1 and distance >= _images_per_iteration(sources[nearest]):
        below = max((n for n in sources if n < wanted), default=None)
        above = min((n for n in sources if n > wanted), default=None)
        names = " and ".join(f"{n / 1000:g}" for n in (below, above) if n is not None)
        are = "checkpoints are" if " and " in names else "checkpoint is"
        raise UserError(f"--at {at:g}: nearest {are} {names} kimg, in {run_dir}.")
    return sources[nearest]


def _is_run(folder: Path) -> bool:
    return any((folder / name).exists() for name in (CHECKPOINTS, CONFIG, METRICS))


def _images_per_iteration(source: Path) -> int:
    content = read_state(source) if source.is_dir() else read_generator(source, header_only=True)
    training, objective = (_section(content.config, name) for name in ("training", "objective"))
    return int(training.get("batch_size", 1)) * int(objective.get("n_critic", 1))


def _section(config: object, name: str) -> Mapping[str, Any]:
    section = config.get(name) if isinstance(config, Mapping) else None
    return section if isinstance(section, Mapping) else {}
