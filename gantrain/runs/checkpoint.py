"""Checkpoints on disk: complete or absent, verified when read, named by images seen.

A checkpoint is a folder of safetensors and JSON files with a manifest of their hashes. It is
written next to its final location and renamed into it, so that a run that is killed at any moment
finds the previous one. Nothing is pickled: a checkpoint cannot run code.
"""

import hashlib
import json
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from gantrain.common.errors import UserError
from gantrain.common.files import replacing_folder, write_text
from gantrain.common.records import read_object, read_record
from gantrain.common.set_identity import DataSet
from gantrain.common.tensors import save_tensors
from gantrain.runs.paths import CHECKPOINTS, checkpoint_dir, list_checkpoints

LATEST = "latest"
_MANIFEST = "manifest.json"
_STATE = "state.json"
_TENSORS = ".safetensors"


class MeterGroup(BaseModel):
    """Sums and counts of metrics that are added together; one row per rank."""

    names: list[str]
    sums: list[list[float]]
    counts: list[list[float]]


class AdaState(BaseModel):
    """The probability of augmentation that ADA has reached, and what D said since its last move.

    signs: sum of the signs of D's scores of real images, over all ranks. images: their number.
    """

    p: float = Field(0.0, ge=0, le=1)
    signs: int = 0
    images: int = Field(0, ge=0)


class CpuThreads(BaseModel):
    """The numbers of CPU threads of each rank that a run has used, on `world_size` ranks.

    changes: images seen at each change, and the number from then on; oldest first.
    """

    world_size: int = Field(ge=1)
    changes: list[tuple[int, int]] = Field(min_length=1)

    @property
    def number(self) -> int:
        """The present number."""
        return self.changes[-1][1]

    def changed_to(self, number: int, images_seen: int, world_size: int) -> "CpuThreads":
        """Return the record with another number from `images_seen` on, or the same one."""
        before = [change for change in self.changes if change[0] < images_seen]
        if not before or before[-1][1] != number:
            before.append((images_seen, number))
        return CpuThreads(world_size=world_size, changes=before)


class Progress(BaseModel):
    """How far the run had come. `health` and `remedies` are opaque here."""

    images_seen: int = Field(ge=0)
    g_steps: int = Field(ge=0)
    logged_at: int = Field(ge=0)
    tracker_step: int = Field(ge=0)
    measured_at: int | None = None
    meter: list[MeterGroup]
    health: dict[str, Any] = Field(default_factory=dict)
    remedies: dict[str, Any] = Field(default_factory=dict)
    ada: AdaState | None = None  # only with augment.diffaugment_probability=ada
    cpu_threads: CpuThreads | None = None  # not on GPUs, and not before version 0.3


class State(BaseModel):
    """The content of `state.json`.

    class_counts: what networks with conditioning know of classes; see `Conditioning`.
    """

    model_config = ConfigDict(extra="forbid")
    version: Literal[1] = 1
    progress: Progress
    scaler: dict[str, float | int]
    kept: bool
    config: dict[str, Any]
    data: DataSet | None = None  # not in checkpoints of version 0.1
    class_counts: dict[str, int] = Field(default_factory=dict)


@dataclass(frozen=True)
class Snapshot:
    """The complete state of a run in host memory: tensors by file and name, and plain values."""

    tensors: dict[str, dict[str, Tensor]]
    state: State

    @property
    def images_seen(self) -> int:
        """Real images that D had seen."""
        return self.state.progress.images_seen


def write_checkpoint(snapshot: Snapshot, run_dir: Path) -> Path:
    """Write a snapshot and return the checkpoint's folder.

    Raises UserError if the disk is full or the folder is not writable; nothing is left then.
    """
    folder = run_dir / CHECKPOINTS
    final = checkpoint_dir(run_dir, snapshot.images_seen)
    try:
        for leftover in folder.glob(".images-*"):  # of a process that was killed
            shutil.rmtree(leftover, ignore_errors=True)
        if not _is_intact(final):
            with replacing_folder(final) as staging:
                _write_files(snapshot, staging)
        write_text(folder / LATEST, final.name + "\n")
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"{final}: the checkpoint cannot be written ({error}); free some space or fix the "
            "permissions, and start again: the run resumes from the previous checkpoint."
        ) from None
    return final


def _write_files(snapshot: Snapshot, staging: Path) -> None:
    for name, tensors in snapshot.tensors.items():
        save_tensors(tensors, staging / f"{name}{_TENSORS}")
    (staging / _STATE).write_text(snapshot.state.model_dump_json(indent=1), encoding="utf-8")
    hashes = {path.name: _hash(path) for path in sorted(staging.iterdir())}
    (staging / _MANIFEST).write_text(json.dumps(hashes, indent=1), encoding="utf-8")


def remove_checkpoint(folder: Path) -> None:
    """Remove a checkpoint, such that what is left of it at any moment cannot be taken for one."""
    if folder.exists():
        aside = folder.with_name(f".{folder.name}.removed")
        folder.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)


def is_checkpoint(folder: Path) -> bool:
    """Return whether a folder is a checkpoint, perhaps a broken one."""
    return (folder / _STATE).is_file()


def read_newest(run_dir: Path, only: Collection[str] = ()) -> tuple[Snapshot | None, list[str]]:
    """Return the newest checkpoint that verifies, if any, and why each newer one was skipped.

    only: as for `read_checkpoint`.
    """
    skipped: list[str] = []
    for _, folder in list_checkpoints(run_dir):
        try:
            return read_checkpoint(folder, only), skipped
        except UserError as error:
            skipped.append(f"skipped a checkpoint: {error}")
    return None, skipped


def read_checkpoint(folder: Path, only: Collection[str] = ()) -> Snapshot:
    """Read a checkpoint and verify every file that is read against its hash.

    only: names of the tensors to read, such as ("ema",); empty: all.

    Raises UserError naming the file that is missing, broken or changed.
    """
    hashes = read_object(folder / _MANIFEST)
    if only:
        wanted = {_STATE, *(f"{name}{_TENSORS}" for name in only)}
        missing = sorted(wanted - set(hashes))
        if missing:
            raise UserError(f"{folder / _MANIFEST}: does not list {missing[0]}.")
        hashes = {name: hashes[name] for name in wanted}
    for name, expected in hashes.items():
        path = folder / name
        if path.parent != folder or not path.is_file() or path.is_symlink():
            raise UserError(f"{path}: not a file of the checkpoint.")
        if _hash(path) != expected:
            raise UserError(f"{path}: truncated or changed since it was written.")
    if _STATE not in hashes:
        raise UserError(f"{folder / _MANIFEST}: does not list {_STATE}.")
    state = read_state(folder)
    try:
        tensors = {
            name.removesuffix(_TENSORS): load_file(folder / name)
            for name in hashes
            if name.endswith(_TENSORS)
        }
    except (OSError, SafetensorError) as error:
        raise UserError(f"{folder}: not readable as safetensors ({error}).") from None
    return Snapshot(tensors, state)


def read_state(folder: Path) -> State:
    """Return the plain values of a checkpoint without verifying it. Raises UserError."""
    return read_record(folder / _STATE, State)


def _is_intact(folder: Path) -> bool:
    try:
        read_checkpoint(folder)
    except UserError:
        return False
    return True


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
