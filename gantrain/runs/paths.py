"""The names of everything in a run directory. Needs no torch, so that launchers can read it."""

import os
from pathlib import Path
from tempfile import TemporaryFile

CONFIG = "config.yaml"
METRICS = "metrics.jsonl"
EVENTS = "events.jsonl"
STATUS = "status.json"
PROVENANCE = "run.json"
RECOVERY = "recovery.json"
RUN_PAGE = "report.html"
GENERATOR = "generator.safetensors"
GENERATOR_BEST = "generator-best.safetensors"
WANDB_ID = "wandb-id.txt"
LOCK = ".lock"
SAMPLES = "samples"
REAL_SAMPLES = "real.png"
CHECKPOINTS = "checkpoints"
HEARTBEATS = "ranks"

_CHECKPOINT = "images-"
_HEARTBEAT = "rank-"
_GRID_DIGITS = 9


def check_writable(run_dir: Path) -> None:
    """Raise OSError if something in a run directory stands in the way of a run's files."""
    for name in (CHECKPOINTS, SAMPLES, HEARTBEATS):
        if os.path.lexists(run_dir / name):
            try:
                with TemporaryFile(dir=run_dir / name):
                    pass
            except OSError as error:
                error.filename = str(run_dir / name)  # not that of the temporary file
                raise
    for name in (METRICS, EVENTS, STATUS, CONFIG, GENERATOR, GENERATOR_BEST):
        if os.path.lexists(run_dir / name):
            (run_dir / name).open("ab").close()


def checkpoint_dir(run_dir: Path, images_seen: int) -> Path:
    """Return the folder of the checkpoint at `images_seen`."""
    return run_dir / CHECKPOINTS / f"{_CHECKPOINT}{images_seen:0{_GRID_DIGITS}d}"


def list_checkpoints(run_dir: Path) -> list[tuple[int, Path]]:
    """Return images seen and the folder of each checkpoint, intact or not, newest first."""
    return sorted(_numbered(run_dir / CHECKPOINTS, _CHECKPOINT, ""), reverse=True)


def heartbeat_file(run_dir: Path, rank: int) -> Path:
    """Return the file that a rank writes its heartbeat to."""
    return run_dir / HEARTBEATS / f"{_HEARTBEAT}{rank:04d}.json"


def list_heartbeats(run_dir: Path) -> list[Path]:
    """Return the heartbeat files of a run, by rank."""
    return [path for _, path in sorted(_numbered(run_dir / HEARTBEATS, _HEARTBEAT, ".json"))]


def grid_file(run_dir: Path, name: str, images_seen: int) -> Path:
    """Return the file of the sample grid called `name` at `images_seen`."""
    return run_dir / SAMPLES / f"{name}-{images_seen:0{_GRID_DIGITS}d}.png"


def list_grids(run_dir: Path, name: str = "fake") -> list[tuple[int, Path]]:
    """Return images seen and the file of each sample grid called `name`, oldest first."""
    return sorted(_numbered(run_dir / SAMPLES, f"{name}-", ".png"))


def _numbered(folder: Path, prefix: str, suffix: str) -> list[tuple[int, Path]]:
    found = []
    for path in folder.iterdir() if folder.is_dir() else ():
        digits = path.name.removeprefix(prefix).removesuffix(suffix)
        if path.name == f"{prefix}{digits}{suffix}" and digits.isascii() and digits.isdigit():
            found.append((int(digits), path))
    return found
