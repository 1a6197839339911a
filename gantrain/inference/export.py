"""Saves a generator as one safetensors file with its config, and loads it from file or run."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from gantrain.common.errors import UserError
from gantrain.common.set_identity import DataSet
from gantrain.config import Config, OutputConfig, parse_config
from gantrain.inference.sources import find_checkpoint_at, find_source
from gantrain.models.conditioning import make_conditioning
from gantrain.models.networks import Generator
from gantrain.runs.best import find_best
from gantrain.runs.checkpoint import Snapshot, read_checkpoint, read_newest, read_state
from gantrain.runs.generator_file import Measured, read_generator, write_generator
from gantrain.runs.paths import GENERATOR, checkpoint_dir, list_checkpoints

_EMA = ("ema",)
_ATTEMPTS = 3  # to read the newest checkpoint while the run removes old ones


def export_generator(
    generator: Generator, config: Config, images_seen: int, measured: Measured | None = None
) -> Path:
    """Write the (EMA) generator into the run directory and return the path.

    The header of the file contains the run's config, so that the file can be loaded on its own, and
    what was measured, if that was at `images_seen`.
    """
    path = config.output.run_dir / GENERATOR
    tree = config.model_dump(mode="json")
    classes = generator.conditioning.class_counts
    write_generator(path, generator.state_dict(), tree, classes, images_seen, measured)
    return path


@dataclass(frozen=True)
class Loaded:
    """A generator with what is known of it.

    config: of its run. images_seen: None if its file does not say it.
    measured: of exactly these weights; None if they were not measured, or it is not known.
    path: the file or the checkpoint that it comes from. run_dir: see `Source`.
    data: the set that it was trained on; None if that is not known.
    """

    generator: Generator
    config: Config
    images_seen: int | None
    measured: Measured | None
    path: Path
    run_dir: Path | None
    data: DataSet | None = None

    @property
    def folder(self) -> Path:
        """Where files about the generator belong: the run directory, or next to the file."""
        return self.run_dir or self.path.parent

    @property
    def name(self) -> str:
        """The name of the run, or of the file that is in none, and images seen, for display."""
        name = self.run_dir.resolve().name if self.run_dir is not None else self.path.stem
        return name if self.images_seen is None else f"{name} at {self.images_seen / 1000:g} kimg"


def load_generator(source: Path | str, *, at: float | None = None, best: bool = False) -> Generator:
    """Load an EMA generator of a run directory (its newest checkpoint), a checkpoint or a file.

    It is in evaluation mode, on the CPU, without gradients, and maps latents (N, latent_size) to
    images (N, C, S, S) in [-1, 1]. With conditioning, it also takes classes, int64 (N,) or weights
    (N, K); `generator.conditioning.class_names` are their keys, in the order of the indices.

    at: of a run directory, load the checkpoint at this many kimg instead.
    best: of a run directory, load the generator that was measured best instead.

    Raises UserError if there is no such generator or it is unreadable.
    """
    return open_generator(source, at=at, best=best).generator


def open_generator(path: Path | str, *, at: float | None = None, best: bool = False) -> Loaded:
    """Return the generator as `load_generator` does, with what is known of it."""
    source = find_source(Path(path))
    if at is not None and best:
        raise UserError("--at and --best: expected one of them.")
    if (at is not None or best) and not source.is_run:
        option = "--best" if best else f"--at {at:g}"
        raise UserError(f"{option}: {path} is one generator; expected a run directory.")
    if not source.is_run:
        return _load(source.path, source.run_dir)
    if best:
        return _load(find_best(source.path, _output_config(source.path)), source.path)
    if at is not None:
        return _load(find_checkpoint_at(source.path, at), source.path)
    return _load_newest(source.path)


def _load(path: Path, run_dir: Path | None) -> Loaded:
    if path.is_dir():
        return _from_snapshot(read_checkpoint(path, only=_EMA), path, run_dir)
    file = read_generator(path)
    generator, config = _build(file.tensors, file.config, file.class_counts, str(path))
    return Loaded(generator, config, file.images_seen, file.measured, path, run_dir)


def _load_newest(run_dir: Path) -> Loaded:
    for _ in range(_ATTEMPTS):
        before = list_checkpoints(run_dir)
        snapshot, skipped = read_newest(run_dir, only=_EMA)
        if snapshot is not None:
            folder = checkpoint_dir(run_dir, snapshot.images_seen)
            return _from_snapshot(snapshot, folder, run_dir)
        if list_checkpoints(run_dir) == before:
            break  # else the run has replaced its checkpoints meanwhile
    if not skipped and (run_dir / GENERATOR).exists():
        return _load(run_dir / GENERATOR, run_dir)
    problem = "no checkpoint is intact" if skipped else "no checkpoint yet"
    raise UserError("\n  ".join([f"{run_dir}: {problem}; expected a run directory.", *skipped]))


def _from_snapshot(snapshot: Snapshot, folder: Path, run_dir: Path | None) -> Loaded:
    state = snapshot.state
    generator, config = _build(
        snapshot.tensors["ema"], state.config, state.class_counts, str(folder)
    )
    return Loaded(generator, config, snapshot.images_seen, None, folder, run_dir, state.data)


def _output_config(run_dir: Path) -> OutputConfig:
    """Return the section `output` of a run's newest checkpoint; the defaults without any."""
    for _, folder in list_checkpoints(run_dir):
        with suppress(UserError):
            return parse_config(read_state(folder).config, str(folder)).output
    return OutputConfig(run_dir=run_dir)


def _build(
    tensors: Mapping[str, Tensor], tree: object, class_counts: Mapping[str, int], source: str
) -> tuple[Generator, Config]:
    config = parse_config(tree, source)
    conditioning = make_conditioning(config.conditioning, class_counts)
    generator = Generator(config.generator, config.data.size, config.data.channels, conditioning)
    try:
        generator.load_state_dict(tensors)
    except RuntimeError as error:
        raise UserError(f"{source}: the weights do not match the config ({error}).") from None
    return generator.eval().requires_grad_(False), config
