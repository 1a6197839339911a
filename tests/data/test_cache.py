"""The decoded file of a machine: written once, shared, and never seen incomplete."""

import logging
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from gantrain.common.errors import UserError
from gantrain.data.loading import cache as cache_module
from gantrain.data.loading.datasets import CachedImageDataset
from gantrain.data.loading.opening import open_dataset
from gantrain.data.shards.writer import write_shards
from tests.conftest import draw_squares
from tests.numbered import data_config, numbered_set, open_numbered, read_numbers

# Opens a set in a separate process, which pauses after each decoded section.
OPEN = """
import sys, time
from pathlib import Path
from gantrain.data.loading import cache, decode
from tests.numbered import open_numbered, read_numbers

shards, scratch, pause, timeout = Path(sys.argv[1]), Path(sys.argv[2]), *map(float, sys.argv[3:])
original = decode.decode_section

def decode_and_pause(store, conversion, target, section):
    result = original(store, conversion, target, section)
    print("decoded", flush=True)
    time.sleep(pause)
    return result

cache.decode_section = decode_and_pause
images = open_numbered(shards, scratch, mode="cache", timeout_s=timeout)
print("sum", sum(read_numbers(images, steps=images.total)), flush=True)
sys.stdin.readline()
"""


def start(shards: Path, scratch: Path, pause: float = 0) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", OPEN, str(shards), str(scratch), str(pause), "60"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def first_line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def files_in(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.suffix != ".lock")


@pytest.fixture
def numbered(tmp_path: Path) -> Path:
    return numbered_set(tmp_path / "set")


def test_each_image_is_at_its_row_of_the_file(numbered: Path, tmp_path: Path) -> None:
    before = sorted(path.name for path in numbered.iterdir())
    dataset = open_numbered(numbered, tmp_path / "scratch", mode="cache")
    (file,) = (tmp_path / "scratch").rglob("images.u8")
    pixels = np.fromfile(file, np.uint8).reshape(23, 1, 32, 32)
    assert (pixels == np.arange(1, 24).reshape(-1, 1, 1, 1)).all()
    assert isinstance(dataset, CachedImageDataset)
    assert (dataset.cache.images.numpy() == pixels).all()
    assert sorted(path.name for path in numbered.iterdir()) == before


def test_of_two_processes_only_one_decodes_and_each_image_once(
    numbered: Path, tmp_path: Path
) -> None:
    processes = [start(numbered, tmp_path / "scratch", pause=0.3) for _ in range(2)]
    outputs = [process.communicate("\n", timeout=300)[0].split("\n") for process in processes]
    assert sorted(lines.count("decoded") for lines in outputs) == [0, 3]
    assert all("sum 253" in lines for lines in outputs)


def test_another_set_at_the_same_path_gets_another_file(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    for count in (23, 20):
        write_shards(
            tmp_path / "set",
            draw_squares(count),
            size=32,
            channels=1,
            source="",
            images_per_shard=10,
            overwrite=True,
        )
        assert open_numbered(tmp_path / "set", scratch, mode="cache").total == count
    assert len(list(scratch.rglob("images.u8"))) == 2


def test_leftovers_of_a_killed_process_are_replaced_without_waiting(
    numbered: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scratch = tmp_path / "scratch"
    process = start(numbered, scratch, pause=600)
    assert first_line(process) == "decoded\n"
    process.kill()
    process.communicate()
    assert [name for name in files_in(scratch) if "partial" in name]
    caplog.set_level(logging.INFO, "gantrain")
    assert sorted(read_numbers(open_numbered(numbered, scratch, mode="cache"), steps=23)) == list(
        range(23)
    )
    assert not [message for message in caplog.messages if "waiting" in message]
    assert not [name for name in files_in(scratch) if "partial" in name]


def test_a_waiting_process_takes_over_when_the_decoding_one_dies(
    numbered: Path, tmp_path: Path
) -> None:
    decoding = start(numbered, tmp_path / "scratch", pause=600)
    assert first_line(decoding) == "decoded\n"
    waiting = start(numbered, tmp_path / "scratch")
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(3)
    decoding.kill()
    decoding.communicate()
    lines = waiting.communicate("\n", timeout=300)[0].split("\n")
    assert lines.count("decoded") == 3
    assert "sum 253" in lines


def test_waiting_for_a_stopped_process_times_out(
    numbered: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    process = start(numbered, tmp_path / "scratch", pause=600)
    assert first_line(process) == "decoded\n"
    process.send_signal(signal.SIGSTOP)
    caplog.set_level(logging.INFO, "gantrain")
    config = data_config(numbered, tmp_path / "scratch", mode="cache", timeout_s=3)
    expected = r"\.lock: another process .* no progress for 3 seconds"
    try:
        with pytest.raises(UserError, match=expected):
            open_dataset(config)
        assert "waiting for another process to decode the images" in caplog.messages[0]
    finally:
        process.kill()
        process.communicate()


def truncate_images(folder: Path) -> None:
    os.truncate(folder / "images.u8", 1000)


def truncate_table(folder: Path) -> None:
    (folder / "table.json").write_text('{"class_names": [')


def remove_table(folder: Path) -> None:
    (folder / "table.json").unlink()


@pytest.mark.parametrize("damage", [truncate_images, truncate_table, remove_table])
def test_a_damaged_cache_is_rebuilt(
    damage: Callable[[Path], None], numbered: Path, tmp_path: Path
) -> None:
    before = read_numbers(open_numbered(numbered, tmp_path / "scratch", mode="cache"), steps=23)
    (file,) = (tmp_path / "scratch").rglob("images.u8")
    damage(file.parent)
    assert (
        read_numbers(open_numbered(numbered, tmp_path / "scratch", mode="cache"), steps=23)
        == before
    )


def test_a_full_disk_is_one_error_and_leaves_no_files(numbered: Path, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16_384, hard))
    try:
        with pytest.raises(
            UserError,
            match=r"scratch.*: cannot write the decoded images \(0 MB\): .*data\.cache_dir",
        ):
            open_numbered(numbered, scratch, mode="cache", on_error="skip")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list((scratch / "decoded").glob("*/*"))
    assert open_numbered(numbered, scratch, mode="cache").total == 23


def test_a_scratch_folder_inside_the_set_is_rejected(numbered: Path) -> None:
    with pytest.raises(UserError, match="inside the set"):
        open_numbered(numbered, numbered / "scratch", mode="cache")
    assert not (numbered / "scratch").exists()


def test_a_scratch_folder_that_cannot_be_created_is_replaced_with_a_warning(
    numbered: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "local").mkdir()
    monkeypatch.setenv("SLURM_TMPDIR", str(tmp_path / "local"))
    dataset = open_numbered(numbered, tmp_path / "file" / "scratch", mode="cache")
    assert dataset.total > 0
    assert (tmp_path / "local" / f"gantrain-{os.getuid()}" / "decoded").is_dir()
    assert f"data.cache_dir: {tmp_path}/file/scratch cannot be used on this machine" in caplog.text
    monkeypatch.setenv("SLURM_TMPDIR", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"cannot be created .*set data\.cache_dir to a folder"):
        open_numbered(numbered, tmp_path / "file" / "scratch", mode="cache")


def test_open_datasets_stay_readable_while_the_file_is_replaced(
    numbered: Path, tmp_path: Path
) -> None:
    dataset = open_numbered(numbered, tmp_path / "scratch", mode="cache")
    before = read_numbers(dataset, steps=23)
    (file,) = (tmp_path / "scratch").rglob("images.u8")
    empty = file.with_name("empty")
    empty.write_bytes(b"")
    empty.replace(file)
    open_numbered(numbered, tmp_path / "scratch", mode="cache")
    assert read_numbers(dataset, steps=23) == before


def proportional_memory(pid: int, file: str) -> int:
    """Return the bytes of a mapped file in a process's PSS: shared pages count in proportion."""
    total, inside = 0, False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if "-" in line.split()[0] and ":" not in line.split()[0]:
            inside = line.endswith(file)
        elif inside and line.startswith("Pss:"):
            total += int(line.split()[1]) * 1024
    return total


def test_two_ranks_share_one_copy_in_memory(tmp_path: Path) -> None:
    write_shards(tmp_path / "set", draw_squares(1500), size=32, channels=1, source="")
    size = 1500 * 32 * 32
    script = OPEN.replace(
        'print("sum", sum(read_numbers(images, steps=images.total)), flush=True)',
        'int(images.cache.images.sum()); print("sum", flush=True)',
    )
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path / "set"), str(tmp_path / "s"), "0", "20"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for rank in ranks:
        while first_line(rank) != "sum\n":
            assert rank.poll() is None
    used = [proportional_memory(rank.pid, "images.u8") for rank in ranks]
    for rank in ranks:
        rank.communicate("\n")
    assert 0.9 * size < sum(used) < 1.1 * size
    assert all(0.4 * size < each < 0.6 * size for each in used)


def test_all_workers_decode_even_if_there_are_fewer_shards(tmp_path: Path) -> None:
    shards = numbered_set(tmp_path / "set", shards=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache_module, "_MIN_BYTES_FOR_PROCESSES", 0)
        dataset = open_numbered(shards, tmp_path / "scratch", mode="cache", workers=3)
    assert sorted(read_numbers(dataset, steps=23)) == list(range(23))
    assert isinstance(dataset, CachedImageDataset)
    assert torch.equal(dataset.cache.images[:, 0, 0, 0], torch.arange(1, 24, dtype=torch.uint8))


def test_threads_can_open_the_same_set_at_once(numbered: Path, tmp_path: Path) -> None:
    results: list[list[int]] = []

    def open_and_read() -> None:
        results.append(
            read_numbers(open_numbered(numbered, tmp_path / "scratch", mode="cache"), steps=23)
        )

    threads = [threading.Thread(target=open_and_read) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 6
    assert all(result == results[0] for result in results)
