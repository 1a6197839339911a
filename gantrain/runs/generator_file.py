"""A generator as one safetensors file: its weights, and a header with the config of its run."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from gantrain.common.errors import UserError
from gantrain.common.files import replacing
from gantrain.common.tensors import save_tensors
from gantrain.runs.paths import GENERATOR


@dataclass(frozen=True)
class Measured:
    """A value of a metric, and images seen by the generator that it was measured on."""

    metric: str
    value: float
    images_seen: int


@dataclass(frozen=True)
class GeneratorFile:
    """The content of a generator file.

    tensors: empty if only the header was read. config: the tree of the run. class_counts: see
    `Conditioning`; empty without. images_seen: None if the file does not say it. measured: of
    exactly these weights; None if the file has none.
    """

    tensors: dict[str, Tensor]
    config: Any
    class_counts: dict[str, int]
    images_seen: int | None
    measured: Measured | None


def write_generator(
    path: Path,
    tensors: Mapping[str, Tensor],
    config: Mapping[str, Any],
    class_counts: Mapping[str, int],
    images_seen: int,
    measured: Measured | None,
) -> None:
    """Write a generator file in one step.

    class_counts: see `Conditioning`; empty without.
    measured: goes into the header if it was measured at `images_seen`, else nowhere.
    """
    header = {
        "format": "pt",
        "images_seen": str(images_seen),
        "config": json.dumps(config),
    }
    if class_counts:
        header["class_counts"] = json.dumps(dict(class_counts))
    if measured is not None and measured.images_seen == images_seen:
        header |= {"metric": measured.metric, "value": repr(measured.value)}
    on_host = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replacing(path) as temporary:
        save_tensors(on_host, temporary, metadata=header)


def read_generator(path: Path, *, header_only: bool = False) -> GeneratorFile:
    """Read a generator file. Raises UserError if it is unreadable or has no config."""
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
            names = [] if header_only else file.keys()
            tensors = {name: file.get_tensor(name) for name in names}
        config = json.loads(header["config"]) if "config" in header else None
        class_counts = json.loads(header.get("class_counts", "{}"))
    except (OSError, SafetensorError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not readable as a generator ({error}).") from None
    if config is None:
        raise UserError(f"{path}: no config in its header; expected the {GENERATOR} of a run.")
    if not _are_counts(class_counts):
        raise UserError(f"{path}: the classes in its header are not a count of each class.")
    return GeneratorFile(tensors, config, class_counts, _images_seen(header), _measured(header))


def read_measured(path: Path) -> Measured | None:
    """Return what the weights in a generator file were measured to be; None without such a file."""
    try:
        with safe_open(path, "pt") as file:
            return _measured(file.metadata() or {})
    except (OSError, SafetensorError):
        return None


def _are_counts(value: object) -> bool:
    return isinstance(value, dict) and all(type(count) is int for count in value.values())


def _images_seen(header: Mapping[str, str]) -> int | None:
    digits = header.get("images_seen", "")
    return int(digits) if digits.isascii() and digits.isdigit() else None


def _measured(header: Mapping[str, str]) -> Measured | None:
    images_seen = _images_seen(header)
    if images_seen is None or "metric" not in header:
        return None
    try:
        return Measured(header["metric"], float(header["value"]), images_seen)
    except (KeyError, ValueError):
        return None
