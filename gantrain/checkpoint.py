"""Checkpoints that are whole or not there, verified when read, named by images seen.

A checkpoint is a folder of safetensors and JSON with a manifest of hashes. It is written beside its
place and renamed into it, so that a run killed at any moment finds the one before. No pickles.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from gantrain.config import Config
from gantrain.errors import UserError
from gantrain.files import sync, write_text
from gantrain.gan import Gan

FOLDER = "checkpoints"
LATEST = "latest"
_MANIFEST = "manifest.json"
_STATE = "state.json"
_NAME = re.compile(r"images-(\d{9,})")
_VERSION = 1
# What may differ between a checkpoint and the config that goes on from it.
_TUNABLE = ("learning_rate", "betas", "adam_epsilon")


@dataclass(frozen=True)
class Snapshot:
    """A run's whole state in host memory: tensors by file and name, and plain values."""

    images_seen: int
    tensors: dict[str, dict[str, Tensor]]
    state: dict[str, Any]


def snapshot(gan: Gan, config: Config, images_seen: int, progress: Mapping[str, Any]) -> Snapshot:
    """Copy what a run needs to go on; `progress` is plain values of the caller's own."""
    scaler = gan.accelerator.scaler
    networks = {
        "generator": gan.generator.state_dict(),
        "discriminator": gan.discriminator.state_dict(),
        "ema": gan.ema.generator.state_dict(),
        "generator_adam": _adam_tensors(gan.g_optimizer),
        "discriminator_adam": _adam_tensors(gan.d_optimizer),
    }
    tensors = {
        file: {name: t.detach().to("cpu", copy=True).contiguous() for name, t in content.items()}
        for file, content in networks.items()
    }
    state = {
        "version": _VERSION,
        "images_seen": images_seen,
        "progress": dict(progress),
        "scaler": scaler.state_dict() if scaler is not None else {},
        "config": config.model_dump(mode="json"),
    }
    return Snapshot(images_seen, tensors, state)


def write_checkpoint(taken: Snapshot, run_dir: Path, keep: int) -> Path:
    """Write a snapshot, then remove all but the newest `keep`. Gives the checkpoint's folder.

    Raises UserError if the disk is full or the folder cannot be written.
    """
    folder = run_dir / FOLDER
    final = folder / f"images-{taken.images_seen:09d}"
    staging = folder / f".{final.name}.partial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir()
        for name, tensors in taken.tensors.items():
            save_file(tensors, staging / f"{name}.safetensors")
        (staging / _STATE).write_text(json.dumps(taken.state, indent=1), encoding="utf-8")
        hashes = {path.name: _hash(path) for path in sorted(staging.iterdir())}
        (staging / _MANIFEST).write_text(json.dumps(hashes, indent=1), encoding="utf-8")
        for path in [*staging.iterdir(), staging]:
            sync(path)
        shutil.rmtree(final, ignore_errors=True)
        staging.rename(final)
        sync(folder)
        write_text(folder / LATEST, final.name + "\n")
    except (OSError, SafetensorError) as error:
        shutil.rmtree(staging, ignore_errors=True)
        raise UserError(f"{final}: the checkpoint cannot be written ({error}).") from None
    for old in list_checkpoints(run_dir)[keep:]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def list_checkpoints(run_dir: Path) -> list[Path]:
    """The run's checkpoints, whole or not, from the most images seen to the fewest."""
    folder = run_dir / FOLDER
    found = [p for p in folder.iterdir() if _NAME.fullmatch(p.name)] if folder.is_dir() else []
    return sorted(found, key=lambda path: int(path.name.removeprefix("images-")), reverse=True)


def read_newest(run_dir: Path) -> tuple[Snapshot | None, list[str]]:
    """The newest checkpoint that verifies, if any, and a line on each newer one that does not."""
    skipped: list[str] = []
    for folder in list_checkpoints(run_dir):
        try:
            return read_checkpoint(folder), skipped
        except UserError as error:
            skipped.append(f"skipped {error}")
    return None, skipped


def read_checkpoint(folder: Path) -> Snapshot:
    """Read a checkpoint, every file held against its hash.

    Raises UserError naming the file that is missing, broken or changed.
    """
    hashes = _read_json(folder / _MANIFEST)
    for name, expected in hashes.items():
        path = folder / name
        if Path(name).name != name or not path.is_file():
            raise UserError(f"{path}: missing from the checkpoint.")
        if _hash(path) != expected:
            raise UserError(f"{path}: cut short or changed since it was written.")
    state = _read_json(folder / _STATE)
    if _STATE not in hashes or state.get("version") != _VERSION:
        raise UserError(f"{folder / _STATE}: not of version {_VERSION} of checkpoints.")
    try:
        tensors = {
            name.removesuffix(".safetensors"): load_file(folder / name)
            for name in hashes
            if name.endswith(".safetensors")
        }
    except (OSError, SafetensorError) as error:
        raise UserError(f"{folder}: not readable as safetensors ({error}).") from None
    return Snapshot(state["images_seen"], tensors, state)


def restore(taken: Snapshot, gan: Gan, config: Config) -> list[str]:
    """Put a snapshot into the networks and optimizers; gives a line for each changed config key.

    Raises UserError if the checkpoint is of another architecture.
    """
    changes = config_changes(taken.state["config"], config.model_dump(mode="json"))
    for key, (before, now) in changes.items():
        section, _, name = key.partition(".")
        architecture = section in ("generator", "discriminator") and name not in _TUNABLE
        if architecture or key in ("data.size", "data.channels"):
            raise UserError(
                f"The checkpoint in {config.output.run_dir} is of another architecture: {key} was "
                f"{before} and is {now} now; set it back, or choose another output.run_dir."
            )
    for name, network in (
        ("generator", gan.generator),
        ("discriminator", gan.discriminator),
        ("ema", gan.ema.generator),
    ):
        network.load_state_dict(taken.tensors[name])
    _load_adam(gan.g_optimizer, taken.tensors["generator_adam"])
    _load_adam(gan.d_optimizer, taken.tensors["discriminator_adam"])
    if gan.accelerator.scaler is not None and taken.state["scaler"]:
        gan.accelerator.scaler.load_state_dict(taken.state["scaler"])
    return [f"{key}: {before} -> {now}" for key, (before, now) in changes.items()]


def config_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Dotted keys whose values differ between two config trees, with both values."""
    old, new = _flat(before), _flat(now)
    keys = dict.fromkeys([*old, *new])
    return {k: (old.get(k), new.get(k)) for k in keys if old.get(k) != new.get(k)}


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _adam_tensors(optimizer: Any) -> dict[str, Tensor]:
    moments = optimizer.state_dict()["state"]
    return {f"{i}.{name}": t for i, of_one in moments.items() for name, t in of_one.items()}


def _load_adam(optimizer: Any, tensors: Mapping[str, Tensor]) -> None:
    moments: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        index, _, name = key.partition(".")
        moments.setdefault(int(index), {})[name] = tensor
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": moments, "param_groups": groups})
    # Fused Adam walks a weight and its moments in memory order, so that they must lie alike.
    for parameter, of_one in optimizer.state.items():
        for name, moment in of_one.items():
            if moment.shape == parameter.shape:
                of_one[name] = torch.empty_like(parameter).copy_(moment)


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read ({error}).") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected a JSON object.")
    return content
