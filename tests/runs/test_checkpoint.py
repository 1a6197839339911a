"""Checkpoints on disk: complete or absent, verified, pruned and safe to read."""

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gantrain.common.files
import gantrain.common.tensors
import gantrain.runs.checkpoint
from gantrain.common.errors import UserError
from gantrain.config import OutputConfig
from gantrain.runs.checkpoint import (
    Progress,
    Snapshot,
    State,
    read_checkpoint,
    read_newest,
    write_checkpoint,
)
from gantrain.runs.generator_file import Measured
from gantrain.runs.paths import list_checkpoints
from gantrain.runs.saver import Saver, prune


def snapshot(images: int, value: float = 0.0, *, kept: bool = False) -> Snapshot:
    progress = Progress(
        images_seen=images,
        g_steps=images // 16,
        logged_at=0,
        tracker_step=0,
        meter=[],
    )
    state = State(progress=progress, scaler={}, kept=kept, config={"seed": 0})
    tensors = {name: {"weight": torch.full((50, 50), value)} for name in ("generator", "ema")}
    return Snapshot(tensors, state)


def names(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").iterdir())


def test_a_checkpoint_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    folder = write_checkpoint(snapshot(100, 0.25), tmp_path)
    assert names(tmp_path) == ["images-000000100", "latest"]
    loaded = read_checkpoint(folder)
    assert loaded.state == snapshot(100).state
    assert torch.equal(loaded.tensors["ema"]["weight"], torch.full((50, 50), 0.25))


def die_at_write(point: int, folder: Path, work: Callable[[], object]) -> int:
    """Do the work in a child that SIGKILLs itself before its point-th change of the folder.

    Return the signal that ended it, 0 if it made fewer changes than that.
    """
    child = os.fork()
    if child == 0:
        left = [point]

        def count(event: str, arguments: tuple[Any, ...]) -> None:
            changes = event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree")
            writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & 0o1103
            if (changes or writes) and str(folder) in str(arguments):
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        def save_half(tensors: object, path: Path, metadata: object) -> None:
            save(tensors, path, metadata=metadata)
            half = path.read_bytes()[:700]
            left[0] -= 1
            if left[0] == 0:  # the library's own write, truncated
                os.truncate(path, len(half))
                os.kill(os.getpid(), signal.SIGKILL)

        def sync_or_die(path: Path) -> None:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            sync(path)

        written_by, files = vars(gantrain.common.tensors), vars(gantrain.common.files)
        save, sync = written_by["save_file"], files["sync"]
        written_by["save_file"], files["sync"] = save_half, sync_or_die
        sys.addaudithook(count)
        try:
            work()
        finally:
            os._exit(0)
    return os.WTERMSIG(os.waitpid(child, 0)[1])


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_kill_at_any_write_leaves_an_intact_checkpoint_and_the_next_write_works(
    tmp_path: Path,
) -> None:
    points = 0
    while True:
        run = tmp_path / str(points)
        output = OutputConfig(run_dir=run, keep_checkpoints=1)
        write_checkpoint(snapshot(100, 1.0), run)

        def write(run: Path = run, output: OutputConfig = output) -> None:
            write_checkpoint(snapshot(200, 2.0), run)
            prune(output, None)

        killed = die_at_write(points + 1, run / "checkpoints", write)
        loaded, skipped = read_newest(run)
        assert loaded is not None
        assert skipped == []
        assert loaded.tensors["ema"]["weight"].eq(loaded.images_seen / 100).all()
        write_checkpoint(snapshot(300, 3.0), run)
        prune(output, None)
        assert names(run) == ["images-000000300", "latest"]
        if not killed:
            break
        assert killed == signal.SIGKILL
        points += 1
    assert points >= 20


def cut_short(folder: Path) -> None:
    path = folder / "ema.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def flip_a_byte(folder: Path) -> None:
    path = folder / "generator.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def remove_a_file(folder: Path) -> None:
    (folder / "generator.safetensors").unlink()


def remove_the_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def empty_the_state(folder: Path) -> None:
    (folder / "state.json").write_text("")


@pytest.mark.parametrize(
    "harm", [cut_short, flip_a_byte, remove_a_file, remove_the_manifest, empty_the_state]
)
def test_the_loader_falls_back_to_the_newest_intact_checkpoint_and_reports_why(
    harm: Callable[[Path], None], tmp_path: Path
) -> None:
    for images in (100, 200, 300):
        write_checkpoint(snapshot(images), tmp_path)
    for _, folder in list_checkpoints(tmp_path)[:2]:
        harm(folder)
    loaded, skipped = read_newest(tmp_path)
    assert loaded is not None
    assert loaded.images_seen == 100
    assert len(skipped) == 2
    assert "images-000000300" in skipped[0]


def test_files_outside_a_checkpoint_are_never_read_as_part_of_it(tmp_path: Path) -> None:
    folder = write_checkpoint(snapshot(100), tmp_path / "run")
    secret = tmp_path / "secret.safetensors"
    shutil.copy(folder / "ema.safetensors", secret)
    hashes = json.loads((folder / "manifest.json").read_text())
    for name in (str(secret), "../../../secret.safetensors", "linked.safetensors"):
        (folder / "linked.safetensors").unlink(missing_ok=True)
        (folder / "linked.safetensors").symlink_to(secret)
        changed = {**hashes, name: hashes["ema.safetensors"]}
        (folder / "manifest.json").write_text(json.dumps(changed))
        with pytest.raises(UserError, match="not a file of the checkpoint"):
            read_checkpoint(folder)


def test_pruning_keeps_the_newest_the_periodic_and_the_best(tmp_path: Path) -> None:
    output = OutputConfig(run_dir=tmp_path, keep_checkpoints=2)
    for images in (100, 200, 300, 400, 500, 600):
        write_checkpoint(snapshot(images, kept=images == 300), tmp_path)
        prune(output, Measured("quality/fid", 3.0, 100 if images < 200 else 200))
    kept_images = [images for images, _ in list_checkpoints(tmp_path)]
    assert kept_images == [600, 500, 300, 200]


def test_the_saver_writes_in_the_background_and_raises_its_errors_later(tmp_path: Path) -> None:
    run = tmp_path / "run"
    saver = Saver(OutputConfig(run_dir=run))
    saver.save(snapshot(100), None)
    saver.save(snapshot(200), None)
    saver.finish()
    assert saver.take_written() == [100, 200]
    assert saver.take_written() == []
    shutil.rmtree(run)
    run.write_text("in the way")
    saver.save(snapshot(300), None)
    with pytest.raises(UserError, match=r"images-000000300.*cannot be written"):
        saver.finish()
    saver.finish()


FILES = ["manifest.json", "state.json", "ema.safetensors", "generator.safetensors"]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    file=st.sampled_from(FILES),
    start=st.integers(0, 500),
    content=st.binary(max_size=40),
    rehash=st.booleans(),
)
def test_any_corruption_of_a_checkpoint_is_a_user_error_or_harmless(
    tmp_path: Path, file: str, start: int, content: bytes, rehash: bool
) -> None:
    shutil.rmtree(tmp_path / "run", ignore_errors=True)
    folder = write_checkpoint(snapshot(100), tmp_path / "run")
    path = folder / file
    before = path.read_bytes()
    path.write_bytes(before[:start] + content + before[start + len(content) :])
    if rehash and file != "manifest.json":  # a hostile hand would
        hashes = json.loads((folder / "manifest.json").read_text())
        hashes[file] = gantrain.runs.checkpoint._hash(path)
        (folder / "manifest.json").write_text(json.dumps(hashes))
    with suppress(UserError):
        assert isinstance(read_checkpoint(folder), Snapshot)
