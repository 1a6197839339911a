"""Broken shards and images: one clear error, or skipped, counted and reported; nothing hangs."""

import collections
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gantrain.common.errors import UserError
from gantrain.common.rng import PositionalRNG
from gantrain.data.shards.faults import Fault
from gantrain.data.shards.manifest import ShardEntry, read_manifest
from gantrain.data.shards.samples import Sample
from gantrain.data.shards.tar_index import has_valid_checksums, index_shard, open_shard
from gantrain.data.shards.writer import write_shards
from tests.conftest import small_tree
from tests.launching import Train, launch, write_config
from tests.numbered import (
    CPU,
    flip_byte,
    image_numbers,
    numbered_samples,
    numbered_set,
    open_numbered,
    png_location,
    read_numbers,
)
from tests.unreliable_server import serving
from tests.waiting import wait_until

SECOND = "shard-000001.tar"  # of three; contains images 10 to 19


def remove_shard(shards: Path) -> None:
    (shards / SECOND).unlink()


def truncate_shard(shards: Path) -> None:
    os.truncate(shards / SECOND, png_location(shards / SECOND, "n014")[0])


def flip_image_byte(shards: Path) -> None:
    offset, length = png_location(shards / SECOND, "n014")
    flip_byte(shards / SECOND, offset + length - 20)


def flip_header_byte(shards: Path) -> None:
    flip_byte(shards / SECOND, png_location(shards / SECOND, "n014")[0] - 400)


def write_undecodable(shards: Path) -> None:
    samples = list(numbered_samples(23))
    image = samples[14].image
    samples[14] = Sample("n014", image[:60], samples[14].label)
    write_shards(
        shards, samples, size=32, channels=1, source="", images_per_shard=10, overwrite=True
    )


# The damage, what the error names, and the images that are lost.
DAMAGES: list[Any] = [
    pytest.param(remove_shard, SECOND, set(range(10, 20)), id="missing"),
    pytest.param(truncate_shard, SECOND, set(range(14, 20)), id="truncated"),
    pytest.param(flip_image_byte, f"{SECOND}: n014.png", {14}, id="flipped byte"),
    pytest.param(flip_header_byte, SECOND, set(range(14, 20)), id="flipped header"),
    pytest.param(write_undecodable, f"{SECOND}: n014.png", {14}, id="undecodable"),
]
MODES = pytest.mark.parametrize("mode", ["cache", "stream"])


@MODES
@pytest.mark.parametrize(("damage", "where", "lost"), DAMAGES)
def test_a_fault_is_one_error_that_names_shard_and_member(
    mode: str, damage: Callable[[Path], None], where: str, lost: set[int], tmp_path: Path
) -> None:
    shards = numbered_set(tmp_path / "set")
    damage(shards)

    def read_epoch() -> None:
        read_numbers(open_numbered(shards, tmp_path / "scratch", mode=mode), steps=23)

    with pytest.raises(UserError) as error:
        read_epoch()
    for name in where.split(": "):
        assert name in str(error.value)
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "scratch").rglob("images.u8"))


@MODES
@pytest.mark.parametrize(("damage", "where", "lost"), DAMAGES)
def test_a_fault_is_skipped_and_counted_and_the_ranks_stay_in_step(
    mode: str, damage: Callable[[Path], None], where: str, lost: set[int], tmp_path: Path
) -> None:
    shards = numbered_set(tmp_path / "set")
    damage(shards)
    dataset = open_numbered(shards, tmp_path / "scratch", mode=mode, on_error="skip")
    reported: list[Fault] = []
    dataset.log.listen(reported.append)
    # In training each rank has its own log; here they share one.
    numbers = read_numbers(dataset, steps=20, ranks=2, local_batch_size=4)
    assert len(numbers) == 20 * 2 * 4
    assert set(numbers) == set(range(23)) - lost
    assert any(where in fault.where for fault in reported)
    assert dataset.log.images == len(lost)
    assert dataset.log.faults == reported
    if mode == "cache" or damage in (remove_shard, truncate_shard):  # known from the start
        one_epoch = read_numbers(dataset, steps=dataset.total)
        assert sorted(one_epoch) == sorted(set(range(23)) - lost)


def test_a_repaired_set_is_decoded_again(tmp_path: Path) -> None:
    shards = numbered_set(tmp_path / "set")
    content = (shards / SECOND).read_bytes()
    remove_shard(shards)
    for mode in ("cache", "stream"):
        assert open_numbered(shards, tmp_path / "scratch", mode=mode, on_error="skip").total == 13
    (shards / SECOND).write_bytes(content)
    for mode in ("cache", "stream"):
        assert open_numbered(shards, tmp_path / "scratch", mode=mode, on_error="skip").total == 23
        assert open_numbered(shards, tmp_path / "scratch", mode=mode).total == 23


@MODES
def test_a_shard_that_is_not_in_the_manifest_is_reported(mode: str, tmp_path: Path) -> None:
    shards = numbered_set(tmp_path / "set")
    (shards / "unknown.tar").write_bytes((shards / SECOND).read_bytes())
    with pytest.raises(UserError, match=r"unknown\.tar"):
        open_numbered(shards, tmp_path / "scratch", mode=mode)
    dataset = open_numbered(shards, tmp_path / "scratch", mode=mode, on_error="skip")
    assert [fault.images for fault in dataset.log.faults] == [0]
    assert dataset.total == 23


@pytest.mark.parametrize("listed", [1, 19, 21, 200])
def test_a_shard_with_another_number_of_samples_is_reported_with_the_number_it_has(
    listed: int, tmp_path: Path
) -> None:
    (entry,) = read_manifest(numbered_set(tmp_path / "set", shards=1, count=20)).shards
    content = {**entry.model_dump(), "count": listed}
    index = index_shard(tmp_path / "set" / entry.name, ShardEntry.model_validate(content))
    (fault,) = index.faults
    assert fault.reason == f"contains 20 samples; the manifest lists {listed}"
    assert fault.images == max(listed - 20, 0)


def test_a_missing_remote_shard_is_skipped(tmp_path: Path) -> None:
    shards = numbered_set(tmp_path / "set")
    remove_shard(shards)
    with serving(shards) as server:
        settings = {"on_error": "skip", "retries": 1}
        for mode in ("cache", "stream"):
            dataset = open_numbered(server.address, tmp_path / mode, mode=mode, **settings)
            assert set(read_numbers(dataset, steps=46)) == {*range(10), *range(20, 23)}
            (fault,) = dataset.log.faults
            assert (fault.where, fault.images) == (f"{server.address}/{SECOND}", 10)
        with pytest.raises(UserError, match=rf"{SECOND}: the server returned 404"):
            read_numbers(
                open_numbered(server.address, tmp_path / "stream", mode="stream"), steps=46
            )


def test_a_set_of_only_broken_images_is_an_error(tmp_path: Path) -> None:
    samples = [Sample(s.key, s.image[:60], s.label) for s in numbered_samples(20)]
    write_shards(tmp_path / "set", samples, size=32, channels=1, source="")
    with pytest.raises(UserError, match="held out or broken"):
        open_numbered(tmp_path / "set", tmp_path / "s", mode="cache", on_error="skip")
    dataset = open_numbered(tmp_path / "set", tmp_path / "s", mode="stream", on_error="skip")
    with pytest.raises(UserError, match="images in a row are broken"):
        read_numbers(dataset, steps=1)


def test_a_batch_of_one_broken_image_contains_the_next_image(tmp_path: Path) -> None:
    shards = numbered_set(tmp_path / "set")
    write_undecodable(shards)
    dataset = open_numbered(shards, tmp_path / "scratch", mode="stream", on_error="skip")
    numbers = read_numbers(dataset, steps=24)
    broken = next(i for i in range(23) if numbers[i] == numbers[i + 1])
    assert set(numbers[:23]) == set(range(23)) - {14}
    assert read_numbers(dataset, steps=3, start=broken) == numbers[broken : broken + 3]


def signal_workers(sign: signal.Signals, shards: Path, scratch: Path) -> str:
    """Send a signal to the worker processes of a stream; return the error."""
    dataset = open_numbered(shards, scratch, mode="stream", workers=1, timeout_s=1)
    batches = dataset.batches(PositionalRNG(0, 0, 4), 4, CPU, torch.contiguous_format)
    next(batches)
    workers = [
        process
        for process in psutil.Process().children(recursive=True)
        if "forkserver" in " ".join(process.cmdline()) and not process.children()
    ]
    for worker in workers:
        worker.send_signal(sign)
    try:
        with pytest.raises(UserError) as error:
            collections.deque(itertools.islice(batches, 50), maxlen=0)
    finally:
        for worker in workers:
            with suppress(psutil.NoSuchProcess):
                worker.kill()
    return str(error.value)


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGSTOP])
def test_a_worker_that_dies_or_hangs_is_one_error(sign: signal.Signals, tmp_path: Path) -> None:
    shards = numbered_set(tmp_path / "set")
    assert "killed or hangs" in signal_workers(sign, shards, tmp_path / "scratch")


SIGNAL_ALL_PROCESSES = """
import itertools, signal, sys, time
from pathlib import Path
import psutil, torch
from gantrain.common.rng import PositionalRNG
from tests.numbered import CPU, open_numbered

images = open_numbered(Path(sys.argv[1]), Path(sys.argv[2]), mode="stream", workers=1)
batches = images.batches(PositionalRNG(0, 0, 4), 4, CPU, torch.contiguous_format)
for sign in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM):
    received = []
    signal.signal(sign, lambda *_: received.append(sign))
    next(batches)
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        process.send_signal(sign)
    time.sleep(0.3)
    print(len(received), sum(1 for _ in itertools.islice(batches, 40)))
"""


def test_signals_to_all_processes_of_a_job_do_not_stop_the_stream(tmp_path: Path) -> None:
    shards = numbered_set(tmp_path / "set")
    done = subprocess.run(
        [sys.executable, "-c", SIGNAL_ALL_PROCESSES, str(shards), str(tmp_path / "scratch")],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stdout) == (0, "1 40\n" * 3), done.stderr


def test_closing_a_stream_ends_its_workers_and_threads(tmp_path: Path) -> None:
    shards = numbered_set(tmp_path / "set")
    dataset = open_numbered(shards, tmp_path / "scratch", mode="stream", workers=2)
    before = threading.active_count()
    batches = dataset.batches(PositionalRNG(0, 0, 4), 4, CPU, torch.contiguous_format)
    next(batches)
    children = len(psutil.Process().children(recursive=True))
    batches.close()  # type: ignore[attr-defined]
    wait_until(
        lambda: (
            len(psutil.Process().children(recursive=True)) <= children - 2
            and threading.active_count() <= before
        ),
        120,
        every=0.05,
    )


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_whatever_bytes_change_only_intact_images_are_read(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    shards = numbered_set(tmp_path_factory.mktemp("set") / "set", shards=1)
    path = shards / "shard-000000.tar"
    entry = read_manifest(shards).shards[0]
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 20))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    length = data.draw(st.sampled_from([len(content), len(content) // 2, 600, 1, 0]))
    path.write_bytes(content[:length])
    reader = open_shard(path, entry)
    try:
        for row in range(entry.count):
            with suppress(UserError):
                assert has_valid_checksums(reader.png(row))
                reader.label(row)
    finally:
        reader.close()


def test_a_run_skips_broken_images_and_records_them(tmp_path: Path, train: Train) -> None:
    shards = numbered_set(tmp_path / "set")
    flip_image_byte(shards)
    third = shards / "shard-000002.tar"
    third.unlink()
    run = tmp_path / "run"
    tree = small_tree(shards, run, data={"on_error": "skip", "mode": "cache"})
    done = train(write_config(tmp_path / "config.yaml", tree))
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    faults = [event for event in events if event["event"] == "data_fault"]
    assert sum(fault["images"] for fault in faults) == 4
    assert {Path(fault["where"].split(":")[0]).name for fault in faults} == {
        SECOND,
        third.name,
    }
    assert f"left out: {shards / SECOND}: n014.png" in done.stderr
    assert json.loads((run / "status.json").read_text())["images_seen"] == 160


def test_no_thread_of_a_stream_outlives_the_training(tmp_path: Path, train: Train) -> None:
    # A process aborts if it exits while a thread is inside torch.
    data = {"mode": "stream", "workers": 2}
    tree = small_tree(numbered_set(tmp_path / "set"), tmp_path / "run", data=data)
    done = train(write_config(tmp_path / "config.yaml", tree))
    assert done.returncode == 0, done.stderr
    assert "prefetch" not in [thread.name for thread in threading.enumerate()]


def test_two_ranks_that_stream_broken_images_stay_in_step(tmp_path: Path) -> None:
    shards = numbered_set(tmp_path / "set")
    write_undecodable(shards)
    run = tmp_path / "run"
    data = {"on_error": "skip", "mode": "stream", "workers": 1}
    done = launch(write_config(tmp_path / "c.yaml", small_tree(shards, run, data=data)), ranks=2)
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    assert {e["where"] for e in events if e["event"] == "data_fault"} == {
        f"{shards / SECOND}: n014.png"
    }
    assert json.loads((run / "status.json").read_text())["images_seen"] == 160


def test_image_numbers_rejects_images_of_several_shades(tmp_path: Path) -> None:
    """Check the helper of these tests."""
    dataset = open_numbered(numbered_set(tmp_path / "set"), tmp_path / "s", mode="cache")
    batch, _ = next(dataset.batches(PositionalRNG(0, 0, 23), 23, CPU, torch.contiguous_format))
    assert sorted(image_numbers(batch)) == list(range(23))
    batch[3, 0, 5, 5] += 0.1
    with pytest.raises(AssertionError):
        image_numbers(batch)
