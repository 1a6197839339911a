"""Keeps the directions of a generator in a file, so that they are computed only once."""

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from gantrain.common.files import replacing
from gantrain.common.tensors import save_tensors
from gantrain.config import DataConfig
from gantrain.data.loading.labelled import open_labelled_dataset
from gantrain.inference.directions import Direction, find_directions
from gantrain.models.networks import Generator

logger = logging.getLogger(__name__)

DIRECTIONS = "directions.safetensors"


def open_directions(
    folder: Path,
    generator: Generator,
    data: DataConfig,
    *,
    advance: Callable[[int, int], None] | None = None,
) -> list[Direction]:
    """Return the directions of a generator; find them unless they have been saved before.

    folder: where the file is saved. advance: as for `find_directions`.

    Raises UserError if the data set or its labels are not available.
    """
    path = folder / DIRECTIONS
    source = _digest(generator, data)
    directions = load_directions(path, source)
    if directions is None:
        logger.info("finding directions; this is done once per generator")
        directions = find_directions(generator, open_labelled_dataset(data), advance=advance)
        try:
            save_directions(directions, path, source)
        except OSError as error:
            logger.warning(f"{path}: the directions cannot be saved ({error})")
    return directions


def save_directions(directions: Sequence[Direction], path: Path, source: str) -> None:
    """Write directions to a file. source: identifies the generator and data set they belong to."""
    entries = [{"name": d.name, "kind": d.kind, "score": d.score} for d in directions]
    header = {"format": "pt", "directions": json.dumps(entries), "made_with": source}
    with replacing(path) as temporary:
        vectors = torch.stack([d.vector for d in directions])
        save_tensors({"vectors": vectors}, temporary, metadata=header)


def load_directions(path: Path, source: str) -> list[Direction] | None:
    """Return the directions in a file; None if it is missing, broken or of another source."""
    try:
        with safe_open(path, "pt") as file:
            header, vectors = file.metadata() or {}, file.get_tensor("vectors")
        if header.get("made_with") != source:
            return None
        entries = json.loads(header["directions"])
        return [
            Direction(entry["name"], vector, entry["kind"], entry["score"])
            for entry, vector in zip(entries, vectors, strict=True)
        ]
    except (OSError, SafetensorError, KeyError, ValueError, TypeError):
        return None


def _digest(generator: Generator, data: DataConfig) -> str:
    digest = hashlib.sha256(f"{data.shards} {data.classes}".encode(errors="surrogateescape"))
    for tensor in generator.state_dict().values():
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()
