"""Saves a generator as one safetensors file with its config, and loads it from file or run."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from gantrain.common.errors import UserError
from gantrain.config import Config, parse_config
from gantrain.models.networks import Generator
from gantrain.runs.checkpoint import read_newest
from gantrain.runs.generator_file import Measured, read_generator, write_generator
from gantrain.runs.paths import GENERATOR, checkpoint_dir


def export_generator(
    generator: Generator, config: Config, images_seen: int, measured: Measured | None = None
) -> Path:
    """Write the (EMA) generator into the run directory and return the path.

    The header of the file contains the run's config, so that the file can be loaded on its own, and
    what was measured, if that was at `images_seen`.
    """
    path = config.output.run_dir / GENERATOR
    tree = config.model_dump(mode="json")
    write_generator(path, generator.state_dict(), tree, images_seen, measured)
    return path


def load_generator(source: Path | str) -> Generator:
    """Load the EMA generator of a run directory's newest checkpoint, or of an exported file.

    It is in evaluation mode, on the CPU, without gradients, and maps latents (N, latent_size) to
    images (N, C, S, S) in [-1, 1]. Raises UserError if there is no generator or it is unreadable.
    """
    return load_run(source)[0]


def load_run(source: Path | str) -> tuple[Generator, Config]:
    """Return the generator as `load_generator` does, and the config of its run."""
    source = Path(source)
    if source.is_dir():
        return _load_from_run(source)
    file = read_generator(source)
    return _build(file.tensors, file.config, str(source))


def _load_from_run(run_dir: Path) -> tuple[Generator, Config]:
    snapshot, skipped = read_newest(run_dir)
    if snapshot is None:
        problem = "no checkpoint is intact" if skipped else "no checkpoint yet"
        raise UserError("\n  ".join([f"{run_dir}: {problem}; expected a run directory.", *skipped]))
    folder = checkpoint_dir(run_dir, snapshot.images_seen)
    return _build(snapshot.tensors["ema"], snapshot.state.config, str(folder))


def _build(tensors: Mapping[str, Tensor], tree: object, source: str) -> tuple[Generator, Config]:
    config = parse_config(tree, source)
    generator = Generator(config.generator, config.data.size, config.data.channels)
    try:
        generator.load_state_dict(tensors)
    except RuntimeError as error:
        raise UserError(f"{source}: the weights do not match the config ({error}).") from None
    return generator.eval().requires_grad_(False), config
