"""Writes safetensors files."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file

from gantrain.common.access import apply_umask


def save_tensors(
    tensors: Mapping[str, torch.Tensor], path: Path, metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors by name to a safetensors file.

    It gets the permissions of any other new file; `save_file` makes files that only their owner can
    read.

    Raises OSError if the file cannot be written.
    """
    save_file(dict(tensors), path, metadata=dict(metadata) if metadata else None)
    apply_umask(path)
