"""The decoded file of a node: made once, shared, and never half there."""

import logging
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from gantrain.common.errors import UserError
from gantrain.data.loading import cache as cache_module
from gantrain.data.loading.datasets import CachedImageDataset, open_dataset
from gantrain.data.shards.writer import write_shards
from tests.conftest import draw_squares
from tests.numbered import data_config, numbered_set, opened, sequence

pytestmark = pytest.mark.timeout(60)

# Opens a set in a process of its own, which can be told to pause in the middle of decoding.
OPEN = """
import sys, time
from pathlib import Path
from gantrain.data.loading import cache, decode
from tests.numbered import opened, sequence

shards, scratch, pause, patience = Path(sys.argv[1]), Path(sys.argv[2]), *map(float, sys.argv[3:])
whole = decode.decode_section

def slowly(store, size, channels, target, section):
    found = whole(store, size, channels, target, section)
    print("decoded", flush=True)
    time.sleep(pause)
    return found

cache.decode_section = slowly
images = opened(shards, scratch, mode="cache", timeout_s=patience)
print("sum", sum(sequence(images, steps=images.total)), flush=True)
sys.stdin.readline()
"""


def start(shards: Path, scratch: Path, pause: float = 0) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", OPEN, str(shards), str(scratch), str(pause), "20"],
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


def test_the_file_holds_each_image_at_its_row(numbered: Path, tmp_path: Path) -> None:
    before = sorted(path.name for path in numbered.iterdir())
    dataset = opened(numbered, tmp_path / "scratch", mode="cache")
    (file,) = (tmp_path / "scratch").rglob("images.u8")
    pixels = np.fromfile(file, np.uint8).reshape(23, 1, 32, 32)
    assert (pixels == np.arange(1, 24).reshape(-1, 1, 1, 1)).all()
    assert isinstance(dataset, CachedImageDataset)
    assert (dataset.cache.images.numpy() == pixels).all()
    assert sorted(path.name for path in numbered.iterdir()) == before


def test_it_is_decoded_once_and_by_one_process_of_two(numbered: Path, tmp_path: Path) -> None:
    both = [start(numbered, tmp_path / "scratch", pause=0.3) for _ in range(2)]
    printed = [process.communicate("\n", timeout=30)[0].split("\n") for process in both]
    assert sorted(lines.count("decoded") for lines in printed) == [0, 3]
    assert all("sum 253" in lines for lines in printed)


def test_another_set_in_the_same_place_is_another_file(tmp_path: Path) -> None:
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
        assert opened(tmp_path / "set", scratch, mode="cache").total == count
    assert len(list(scratch.rglob("images.u8"))) == 2


def test_what_a_killed_process_left_is_made_anew(numbered: Path, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    process = start(numbered, scratch, pause=30)
    assert first_line(process) == "decoded\n"
    process.kill()
    process.communicate()
    assert [name for name in files_in(scratch) if "partial" in name]
    began = time.monotonic()
    assert sorted(sequence(opened(numbered, scratch, mode="cache"), steps=23)) == list(range(23))
    assert time.monotonic() - began < 2
    assert not [name for name in files_in(scratch) if "partial" in name]


def test_a_waiter_takes_over_when_the_process_that_decodes_dies(
    numbered: Path, tmp_path: Path
) -> None:
    dies = start(numbered, tmp_path / "scratch", pause=30)
    assert first_line(dies) == "decoded\n"
    waits = start(numbered, tmp_path / "scratch")
    with pytest.raises(subprocess.TimeoutExpired):
        waits.wait(3)
    dies.kill()
    dies.communicate()
    printed = waits.communicate("\n", timeout=30)[0].split("\n")
    assert printed.count("decoded") == 3
    assert "sum 253" in printed


def test_a_wait_for_a_process_that_stands_still_ends(
    numbered: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    process = start(numbered, tmp_path / "scratch", pause=30)
    assert first_line(process) == "decoded\n"
    process.send_signal(signal.SIGSTOP)
    caplog.set_level(logging.INFO, "gantrain")
    config = data_config(numbered, tmp_path / "scratch", mode="cache", timeout_s=3)
    stuck = r"\.lock: another process .* no progress for 3 seconds"
    try:
        began = time.monotonic()
        with pytest.raises(UserError, match=stuck):
            open_dataset(config)
        assert 3 <= time.monotonic() - began < 6
        assert "waiting for another process to decode the images" in caplog.messages[0]
    finally:
        process.kill()
        process.communicate()


def cut_images(folder: Path) -> None:
    os.truncate(folder / "images.u8", 1000)


def break_rows(folder: Path) -> None:
    (folder / "rows.json").write_text('{"names": [')


def lose_rows(folder: Path) -> None:
    (folder / "rows.json").unlink()


@pytest.mark.parametrize("harm", [cut_images, break_rows, lose_rows])
def test_a_damaged_file_is_made_anew(
    harm: Callable[[Path], None], numbered: Path, tmp_path: Path
) -> None:
    before = sequence(opened(numbered, tmp_path / "scratch", mode="cache"), steps=23)
    (file,) = (tmp_path / "scratch").rglob("images.u8")
    harm(file.parent)
    assert sequence(opened(numbered, tmp_path / "scratch", mode="cache"), steps=23) == before


def test_a_full_disk_is_one_error_and_leaves_nothing(numbered: Path, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16_384, hard))
    try:
        with pytest.raises(
            UserError, match=r"scratch.* images 0 MB cannot be written .*data\.cache_dir"
        ):
            opened(numbered, scratch, mode="cache", on_error="skip")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list((scratch / "decoded").glob("*/*"))
    assert opened(numbered, scratch, mode="cache").total == 23


def test_a_scratch_inside_the_set_is_refused(numbered: Path) -> None:
    with pytest.raises(UserError, match="inside the set"):
        opened(numbered, numbered / "scratch", mode="cache")
    assert not (numbered / "scratch").exists()


def test_a_scratch_that_cannot_be_made_is_one_error(numbered: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"data\.cache_dir: .* cannot be made"):
        opened(numbered, tmp_path / "file" / "scratch", mode="cache")


def test_readers_go_on_while_the_file_is_replaced(numbered: Path, tmp_path: Path) -> None:
    dataset = opened(numbered, tmp_path / "scratch", mode="cache")
    before = sequence(dataset, steps=23)
    (file,) = (tmp_path / "scratch").rglob("images.u8")
    cut = file.with_name("cut")
    cut.write_bytes(b"")
    cut.replace(file)
    opened(numbered, tmp_path / "scratch", mode="cache")
    assert sequence(dataset, steps=23) == before


def proportional_memory(pid: int, file: str) -> int:
    """Bytes of a mapped file that a process is charged with: shared pages count in parts."""
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
        'print("sum", sum(sequence(images, steps=images.total)), flush=True)',
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


def test_fewer_shards_than_workers_are_decoded_by_all_of_them(tmp_path: Path) -> None:
    place = numbered_set(tmp_path / "set", shards=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache_module, "_WORTH_PROCESSES", 0)
        dataset = opened(place, tmp_path / "scratch", mode="cache", workers=3)
    assert sorted(sequence(dataset, steps=23)) == list(range(23))
    assert isinstance(dataset, CachedImageDataset)
    assert torch.equal(dataset.cache.images[:, 0, 0, 0], torch.arange(1, 24, dtype=torch.uint8))


def test_threads_that_open_one_set_at_once_all_get_it(numbered: Path, tmp_path: Path) -> None:
    found: list[list[int]] = []

    def open_it() -> None:
        found.append(sequence(opened(numbered, tmp_path / "scratch", mode="cache"), steps=23))

    threads = [threading.Thread(target=open_it) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert all(each == found[0] for each in found)
