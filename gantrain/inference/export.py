"""The generator alone, for use elsewhere: one safetensors file with its config in the header."""

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from gantrain.common.errors import UserError
from gantrain.common.files import replacing
from gantrain.config import Config, parse_config
from gantrain.models.networks import Generator
from gantrain.runs.checkpoint import read_newest
from gantrain.runs.paths import list_checkpoints

GENERATOR = "generator.safetensors"


def export_generator(generator: Generator, config: Config, images_seen: int) -> Path:
    """Write the (EMA) generator into the run directory; gives the path."""
    path = config.output.run_dir / GENERATOR
    tensors = {k: t.detach().cpu().contiguous() for k, t in generator.state_dict().items()}
    header = {
        "format": "pt",
        "images_seen": str(images_seen),
        "config": json.dumps(config.model_dump(mode="json")),
    }
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata=header)
    return path


def load_generator(source: Path | str) -> Generator:
    """The EMA generator of a run directory's newest checkpoint, or of an exported file.

    In evaluation mode, on the CPU: latents (N, latent_size) to images (N, C, S, S) in [-1, 1].
    Raises UserError if there is none, or it cannot be read.
    """
    return load_run(source)[0]


def load_run(source: Path | str) -> tuple[Generator, Config]:
    """`load_generator`, and the config that the run had."""
    source = Path(source)
    if source.is_dir():
        return _from_run(source)
    try:
        with safe_open(source, "pt") as file:
            header = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - it is no dict
    except (OSError, SafetensorError) as error:
        raise UserError(f"{source}: no generator can be read from it ({error}).") from None
    if "config" not in header:
        raise UserError(f"{source}: no config in its header; expected a run's {GENERATOR}.")
    return _build(tensors, json.loads(header["config"]), str(source))


def _from_run(run_dir: Path) -> tuple[Generator, Config]:
    taken, skipped = read_newest(run_dir)
    if taken is None:
        found = "none of its checkpoints is whole" if skipped else "it has no checkpoint yet"
        raise UserError("\n  ".join([f"{run_dir}: {found}; expected a run directory.", *skipped]))
    return _build(taken.tensors["ema"], taken.state.config, str(list_checkpoints(run_dir)[0][1]))


def _build(tensors: Mapping[str, Tensor], tree: object, source: str) -> tuple[Generator, Config]:
    config = parse_config(tree, source)
    generator = Generator(config.generator, config.data.size, config.data.channels)
    try:
        generator.load_state_dict(tensors)
    except RuntimeError as error:
        raise UserError(f"{source}: does not fit its own config ({error}).") from None
    return generator.eval().requires_grad_(False), config
