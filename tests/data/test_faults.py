"""Broken shards and images: one clear error, or left out, counted and shown; nothing hangs."""

import collections
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
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
from gantrain.data.shards.manifest import read_manifest
from gantrain.data.shards.samples import Sample
from gantrain.data.shards.tar_index import has_valid_checksums, open_shard
from gantrain.data.shards.writer import write_shards
from tests.conftest import small_tree
from tests.launching import Train, launch, write_config
from tests.numbered import (
    CPU,
    flip_byte,
    numbered_samples,
    numbered_set,
    numbers,
    opened,
    png_place,
    sequence,
)
from tests.unreliable_server import serving

pytestmark = pytest.mark.timeout(60)

SECOND = "shard-000001.tar"  # of three, with images 10 to 19


def lose_shard(shards: Path) -> None:
    (shards / SECOND).unlink()


def cut_shard(shards: Path) -> None:
    os.truncate(shards / SECOND, png_place(shards / SECOND, "n014")[0])


def flip_pixel(shards: Path) -> None:
    offset, length = png_place(shards / SECOND, "n014")
    flip_byte(shards / SECOND, offset + length - 20)


def flip_header(shards: Path) -> None:
    flip_byte(shards / SECOND, png_place(shards / SECOND, "n014")[0] - 400)


def write_undecodable(shards: Path) -> None:
    samples = list(numbered_samples(23))
    whole = samples[14].image
    samples[14] = Sample("n014", whole[:60], samples[14].label)
    write_shards(
        shards, samples, size=32, channels=1, source="", images_per_shard=10, overwrite=True
    )


# What is done, what the error names, the images that are lost.
HARMS: list[Any] = [
    pytest.param(lose_shard, SECOND, set(range(10, 20)), id="missing"),
    pytest.param(cut_shard, SECOND, set(range(14, 20)), id="cut short"),
    pytest.param(flip_pixel, f"{SECOND}: n014.png", {14}, id="flipped byte"),
    pytest.param(flip_header, SECOND, set(range(14, 20)), id="flipped header"),
    pytest.param(write_undecodable, f"{SECOND}: n014.png", {14}, id="undecodable"),
]
MODES = pytest.mark.parametrize("mode", ["cache", "stream"])


@MODES
@pytest.mark.parametrize(("harm", "where", "lost"), HARMS)
def test_a_fault_is_one_error_that_names_shard_and_member(
    mode: str, harm: Callable[[Path], None], where: str, lost: set[int], tmp_path: Path
) -> None:
    place = numbered_set(tmp_path / "set")
    harm(place)

    def go_through() -> None:
        sequence(opened(place, tmp_path / "scratch", mode=mode), steps=23)

    with pytest.raises(UserError) as error:
        go_through()
    for name in where.split(": "):
        assert name in str(error.value)
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "scratch").rglob("images.u8"))


@MODES
@pytest.mark.parametrize(("harm", "where", "lost"), HARMS)
def test_a_fault_is_left_out_and_counted_and_the_ranks_take_equal_steps(
    mode: str, harm: Callable[[Path], None], where: str, lost: set[int], tmp_path: Path
) -> None:
    place = numbered_set(tmp_path / "set")
    harm(place)
    dataset = opened(place, tmp_path / "scratch", mode=mode, on_error="skip")
    met: list[Fault] = []
    dataset.log.listen(met.append)
    # Each rank has a log of its own, and here they share one.
    found = sequence(dataset, steps=20, ranks=2, share=4)
    assert len(found) == 20 * 2 * 4
    assert set(found) == set(range(23)) - lost
    assert any(where in fault.where for fault in met)
    assert dataset.log.images == len(lost)
    assert dataset.log.faults == met
    if mode == "cache" or harm in (lose_shard, cut_shard):  # known from the start
        one_epoch = sequence(dataset, steps=dataset.total)
        assert sorted(one_epoch) == sorted(set(range(23)) - lost)


def test_a_set_that_was_mended_is_decoded_anew(tmp_path: Path) -> None:
    place = numbered_set(tmp_path / "set")
    whole = (place / SECOND).read_bytes()
    lose_shard(place)
    for mode in ("cache", "stream"):
        assert opened(place, tmp_path / "scratch", mode=mode, on_error="skip").total == 13
    (place / SECOND).write_bytes(whole)
    for mode in ("cache", "stream"):
        assert opened(place, tmp_path / "scratch", mode=mode, on_error="skip").total == 23
        assert opened(place, tmp_path / "scratch", mode=mode).total == 23


@MODES
def test_a_shard_that_the_manifest_does_not_know_is_named(mode: str, tmp_path: Path) -> None:
    place = numbered_set(tmp_path / "set")
    (place / "stranger.tar").write_bytes((place / SECOND).read_bytes())
    with pytest.raises(UserError, match=r"stranger\.tar"):
        opened(place, tmp_path / "scratch", mode=mode)
    dataset = opened(place, tmp_path / "scratch", mode=mode, on_error="skip")
    assert [fault.images for fault in dataset.log.faults] == [0]
    assert dataset.total == 23


def test_a_remote_shard_that_cannot_be_had_is_left_out(tmp_path: Path) -> None:
    place = numbered_set(tmp_path / "set")
    lose_shard(place)
    with serving(place) as server:
        settings = {"on_error": "skip", "retries": 1, "timeout_s": 1}
        for mode in ("cache", "stream"):
            dataset = opened(server.address, tmp_path / mode, mode=mode, **settings)
            assert set(sequence(dataset, steps=46)) == {*range(10), *range(20, 23)}
            (fault,) = dataset.log.faults
            assert (fault.where, fault.images) == (f"{server.address}/{SECOND}", 10)
        with pytest.raises(UserError, match=rf"{SECOND}: the server returned 404"):
            sequence(opened(server.address, tmp_path / "stream", mode="stream"), steps=46)


def test_a_set_of_nothing_but_broken_images_ends_with_an_error(tmp_path: Path) -> None:
    samples = [Sample(s.key, s.image[:60], s.label) for s in numbered_samples(20)]
    write_shards(tmp_path / "set", samples, size=32, channels=1, source="")
    with pytest.raises(UserError, match="held out or broken"):
        opened(tmp_path / "set", tmp_path / "s", mode="cache", on_error="skip")
    dataset = opened(tmp_path / "set", tmp_path / "s", mode="stream", on_error="skip")
    with pytest.raises(UserError, match="images in a row are broken"):
        sequence(dataset, steps=1)


def test_a_batch_of_one_broken_image_is_given_the_next(tmp_path: Path) -> None:
    place = numbered_set(tmp_path / "set")
    write_undecodable(place)
    dataset = opened(place, tmp_path / "scratch", mode="stream", on_error="skip")
    found = sequence(dataset, steps=24)
    at = next(i for i in range(23) if found[i] == found[i + 1])
    assert set(found[:23]) == set(range(23)) - {14}
    assert sequence(dataset, steps=3, start=at) == found[at : at + 3]


def stuck_or_dead(sign: signal.Signals, place: Path, scratch: Path) -> tuple[str, float]:
    """Do something to a worker process in the middle of a stream; what is said, and when."""
    dataset = opened(place, scratch, mode="stream", workers=1, timeout_s=1)
    batches = dataset.batches(PositionalRNG(0, 0, 4), 4, CPU, torch.contiguous_format)
    next(batches)
    workers = [
        process
        for process in psutil.Process().children(recursive=True)
        if "forkserver" in " ".join(process.cmdline()) and not process.children()
    ]
    for worker in workers:
        worker.send_signal(sign)
    began = time.monotonic()
    try:
        with pytest.raises(UserError) as error:
            collections.deque(itertools.islice(batches, 50), maxlen=0)
    finally:
        for worker in workers:
            with suppress(psutil.NoSuchProcess):
                worker.kill()
    return str(error.value), time.monotonic() - began


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGSTOP])
def test_a_worker_that_dies_or_hangs_is_one_error_in_bounded_time(
    sign: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gantrain.data.loading.stream._START_SECONDS", 2.0)
    place = numbered_set(tmp_path / "set")
    message, seconds = stuck_or_dead(sign, place, tmp_path / "scratch")
    assert "killed or hangs" in message
    assert seconds < 15


STOP_SIGNALS_TO_ALL = """
import itertools, signal, sys, time
from pathlib import Path
import psutil, torch
from gantrain.common.rng import PositionalRNG
from tests.numbered import CPU, opened

images = opened(Path(sys.argv[1]), Path(sys.argv[2]), mode="stream", workers=1)
batches = images.batches(PositionalRNG(0, 0, 4), 4, CPU, torch.contiguous_format)
for sign in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM):
    seen = []
    signal.signal(sign, lambda *_: seen.append(sign))
    next(batches)
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        process.send_signal(sign)
    time.sleep(0.3)
    print(len(seen), sum(1 for _ in itertools.islice(batches, 40)))
"""


def test_signals_to_a_whole_job_leave_the_training_its_images(tmp_path: Path) -> None:
    place = numbered_set(tmp_path / "set")
    done = subprocess.run(
        [sys.executable, "-c", STOP_SIGNALS_TO_ALL, str(place), str(tmp_path / "scratch")],
        capture_output=True,
        text=True,
        timeout=40,
    )
    assert (done.returncode, done.stdout) == (0, "1 40\n" * 3), done.stderr


def test_leaving_a_stream_ends_its_workers_and_threads(tmp_path: Path) -> None:
    place = numbered_set(tmp_path / "set")
    dataset = opened(place, tmp_path / "scratch", mode="stream", workers=2)
    before = threading.active_count()
    batches = dataset.batches(PositionalRNG(0, 0, 4), 4, CPU, torch.contiguous_format)
    next(batches)
    busy = len(psutil.Process().children(recursive=True))
    batches.close()  # type: ignore[attr-defined]
    deadline = time.monotonic() + 10
    while (
        len(psutil.Process().children(recursive=True)) > busy - 2
        or threading.active_count() > before
    ):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_whatever_bytes_change_only_whole_images_are_read(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = numbered_set(tmp_path_factory.mktemp("set") / "set", shards=1)
    path = place / "shard-000000.tar"
    entry = read_manifest(place).shards[0]
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


def test_a_run_goes_on_without_what_is_broken_and_records_it(tmp_path: Path, train: Train) -> None:
    place = numbered_set(tmp_path / "set")
    flip_pixel(place)
    lose_third = place / "shard-000002.tar"
    lose_third.unlink()
    run = tmp_path / "run"
    tree = small_tree(place, run, data={"on_error": "skip", "mode": "cache"})
    done = train(write_config(tmp_path / "config.yaml", tree))
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    faults = [event for event in events if event["event"] == "data_fault"]
    assert sum(fault["images"] for fault in faults) == 4
    assert {Path(fault["where"].split(":")[0]).name for fault in faults} == {
        SECOND,
        lose_third.name,
    }
    assert f"left out: {place / SECOND}: n014.png" in done.stderr
    assert json.loads((run / "status.json").read_text())["images_seen"] == 160


def test_two_ranks_stream_past_broken_images_in_step(tmp_path: Path) -> None:
    place = numbered_set(tmp_path / "set")
    write_undecodable(place)
    run = tmp_path / "run"
    data = {"on_error": "skip", "mode": "stream", "workers": 1}
    done = launch(write_config(tmp_path / "c.yaml", small_tree(place, run, data=data)), ranks=2)
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    assert {e["where"] for e in events if e["event"] == "data_fault"} == {
        f"{place / SECOND}: n014.png"
    }
    assert json.loads((run / "status.json").read_text())["images_seen"] == 160


def test_numbers_of_a_batch_are_read_right(tmp_path: Path) -> None:
    """The tests' own eye: it must see an image that is not of one shade."""
    dataset = opened(numbered_set(tmp_path / "set"), tmp_path / "s", mode="cache")
    batch = next(dataset.batches(PositionalRNG(0, 0, 23), 23, CPU, torch.contiguous_format))
    assert sorted(numbers(batch)) == list(range(23))
    batch[3, 0, 5, 5] += 0.1
    with pytest.raises(AssertionError):
        numbers(batch)
