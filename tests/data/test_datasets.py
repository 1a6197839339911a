"""The promises of the data path, for `cache` and `stream` alike: every image once an epoch, equal
numbers of batches, one order whatever the ranks and workers, any beginning."""

import io
import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gantrain.common.errors import UserError
from gantrain.common.rng import PositionalRNG
from gantrain.data.loading import stream as stream_module
from gantrain.data.loading.datasets import (
    CachedImageDataset,
    ImageDataset,
    StreamedImageDataset,
    scaled,
)
from gantrain.data.loading.order import FullShuffle, WindowShuffle
from gantrain.data.loading.selection import held_out_rows
from gantrain.data.loading.stream import decoded_batches
from gantrain.data.shards.manifest import read_manifest
from gantrain.data.shards.reader import iterate_shard
from gantrain.data.shards.writer import write_shards
from tests.numbered import (
    CPU,
    PER_SHARD,
    data_config,
    numbered_samples,
    numbered_set,
    numbers,
    opened,
    sequence,
)

COUNT = 23
Opened = dict[tuple[str, int], ImageDataset]


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    """23 images in 1, 3 and 8 shards, cached and streamed."""
    folder = tmp_path_factory.mktemp("sets")
    return {
        (mode, shards): opened(place, folder / "scratch", mode=mode)
        for shards in PER_SHARD
        for place in [numbered_set(folder / str(shards), shards)]
        for mode in ("cache", "stream")
    }


@settings(max_examples=80, deadline=None)
@given(
    mode=st.sampled_from(["cache", "stream"]),
    shards=st.sampled_from([1, 3, 8]),
    ranks=st.sampled_from([1, 2, 3, 4]),
    share=st.integers(1, 9),
    start=st.integers(0, 200),
    seed=st.integers(0, 2**63 - 1),
)
def test_ranks_together_are_given_the_one_sequence_from_any_start(
    sets: Opened, mode: str, shards: int, ranks: int, share: int, start: int, seed: int
) -> None:
    images = sets[mode, shards]
    steps = -(-2 * COUNT // (ranks * share)) + 1
    found = sequence(images, steps=steps, ranks=ranks, share=share, start=start, seed=seed)
    assert len(found) == steps * ranks * share
    one_by_one = sequence(images, steps=start + len(found), seed=seed)
    assert found == one_by_one[start:]


@settings(max_examples=60, deadline=None)
@given(
    mode=st.sampled_from(["cache", "stream"]),
    shards=st.sampled_from([1, 3, 8]),
    seed=st.integers(0, 2**63 - 1),
)
def test_each_epoch_gives_each_image_once_in_an_order_of_its_own(
    sets: Opened, mode: str, shards: int, seed: int
) -> None:
    found = sequence(sets[mode, shards], steps=5 * COUNT, seed=seed)
    epochs = [found[i * COUNT : (i + 1) * COUNT] for i in range(5)]
    assert all(sorted(epoch) == list(range(COUNT)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1
    assert epochs[0] != list(range(COUNT))


def test_the_order_of_the_cache_does_not_depend_on_how_the_set_is_cut(sets: Opened) -> None:
    a, b, c = (sequence(sets["cache", shards], steps=2 * COUNT) for shards in (1, 3, 8))
    assert a == b == c


def as_workers(
    dataset: ImageDataset, first: PositionalRNG, stride: int, workers: int
) -> Iterator[int]:
    """The numbers that DataLoader's workers would give together: it asks them by turns."""
    assert isinstance(dataset, StreamedImageDataset)
    with pytest.MonkeyPatch.context() as patch:
        pipelines = []
        for number in range(workers):
            info = SimpleNamespace(id=number, num_workers=workers)
            patch.setattr(stream_module, "get_worker_info", lambda info=info: info)
            pipeline = decoded_batches(dataset.stream, first, stride, 0, pin_memory=False)
            pipelines.append(itertools.chain([next(pipeline)], pipeline))
    for pipeline in itertools.cycle(pipelines):
        yield from numbers(scaled(next(pipeline).images))


@settings(max_examples=60, deadline=None)
@given(
    shards=st.sampled_from([1, 3, 8]),
    workers=st.sampled_from([1, 2, 3]),
    ranks=st.sampled_from([1, 2, 3, 4]),
    share=st.integers(1, 9),
    start=st.integers(0, 100),
)
def test_workers_together_give_what_their_rank_alone_would(
    sets: Opened, shards: int, workers: int, ranks: int, share: int, start: int
) -> None:
    images = sets["stream", shards]
    for rank in range(ranks):
        first = PositionalRNG(5, start + rank * share, share)
        alone = images.batches(first, ranks * share, CPU, torch.contiguous_format)
        expected = [n for batch in itertools.islice(alone, 7) for n in numbers(batch)]
        together = as_workers(images, first, ranks * share, workers)
        assert list(itertools.islice(together, 7 * share)) == expected


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("workers", "shards"), [(1, 8), (2, 1), (2, 3)])
def test_real_workers_give_the_same_sequence(sets: Opened, workers: int, shards: int) -> None:
    alone = sets["stream", shards]
    assert isinstance(alone, StreamedImageDataset)
    several = StreamedImageDataset(alone.stream, workers, alone.log, "")
    found = sequence(several, steps=9, ranks=2, share=4, start=11)
    assert found == sequence(alone, steps=9, ranks=2, share=4, start=11)


def test_batches_are_the_images_of_the_files_scaled(shards: Path, tmp_path: Path) -> None:
    manifest = read_manifest(shards)
    files = {
        sample.key: np.asarray(Image.open(io.BytesIO(sample.image)))
        for entry in manifest.shards
        for sample in iterate_shard(shards, manifest, entry)
    }
    expected = torch.from_numpy(np.stack(list(files.values())))[:, None].float() / 127.5 - 1
    for mode in ("cache", "stream"):
        dataset = opened(shards, tmp_path, mode=mode)
        batches = dataset.batches(PositionalRNG(3, 0, 50), 50, CPU, torch.channels_last)
        found = torch.cat(list(itertools.islice(batches, 4)))
        assert found.min() >= -1
        assert found.max() <= 1
        # The same images, in another order.
        order = [
            sorted(range(200), key=lambda i: x[i].flatten().tolist()) for x in (found, expected)
        ]
        torch.testing.assert_close(found[order[0]], expected[order[1]])
        torch.testing.assert_close(scaled(dataset.images(PositionalRNG(3, 0, 50))), found[:50])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_scaling_spans_the_range_in_the_layout_asked_for(
    channels: int, layout: torch.memory_format
) -> None:
    images = torch.arange(256, dtype=torch.uint8).repeat(2 * channels).view(2, channels, 16, 16)
    images[1] = images[1].flip(0)
    batch = scaled(images, layout)
    torch.testing.assert_close(batch, images.float() / 127.5 - 1)
    assert batch.is_contiguous(memory_format=layout)
    assert (batch.min().item(), batch.max().item()) == (-1, 1)


def test_a_window_uses_few_shards_and_mixes_what_is_in_it() -> None:
    order = WindowShuffle(np.full(100, 10), window=50)
    shards, numbers_in = order.indices(PositionalRNG(0, 0, 1000))
    assert sorted(zip(shards, numbers_in, strict=True)) == [
        (s, n) for s in range(100) for n in range(10)
    ]
    for first in range(0, 1000, 50):
        assert len(set(shards[first : first + 50])) <= 6
    assert (np.diff(shards) != 0).mean() > 0.5
    after = order.shards_after(PositionalRNG(0, 40, 10))
    assert set(after) == set(shards[50:100])
    after_the_epoch = order.indices(PositionalRNG(0, 1000, 50))[0]
    assert set(order.shards_after(PositionalRNG(0, 990, 10))) == set(after_the_epoch)


def test_every_image_is_as_likely_as_any_other_at_every_place() -> None:
    order = FullShuffle(6)
    counts = np.zeros((6, 6))
    for epoch in range(3000):
        counts[np.arange(6), order.indices(PositionalRNG(1, 6 * epoch, 6))] += 1
    expected = 3000 / 6
    chi_squared = ((counts - expected) ** 2 / expected).sum()
    assert chi_squared < 60  # 25 degrees of freedom: 99.99% lie below


def test_an_epoch_of_40000_images_starts_at_once() -> None:
    times = []
    for epoch in range(5):
        began = time.perf_counter()
        FullShuffle(40_000).indices(PositionalRNG(0, 40_000 * epoch, 64))
        times.append(time.perf_counter() - began)
    assert sorted(times)[2] < 0.05


@pytest.mark.parametrize("mode", ["cache", "stream"])
def test_parts_limit_and_held_out_choose_among_the_same_images(mode: str, tmp_path: Path) -> None:
    place = numbered_set(tmp_path / "set")

    def chosen(**changes: object) -> set[int]:
        dataset = opened(place, tmp_path / "scratch", mode=mode, **changes)
        return set(sequence(dataset, steps=dataset.total))

    assert chosen(parts=["b"]) == set(range(1, 23, 2))
    assert chosen(parts=["a", "b"]) == set(range(23))
    small, large = chosen(limit=5), chosen(limit=11)
    assert (len(small), len(large)) == (5, 11)
    assert small < large
    assert small != set(range(5))
    # 12 views, of which the last three are one sector.
    assert chosen(held_out=0.25) == set(range(18))
    assert chosen(held_out=0.25, parts=["b"]) == set(range(1, 18, 2))
    decoded = list((tmp_path / "scratch").glob("decoded/*/images.u8"))
    assert len(decoded) == (1 if mode == "cache" else 0)


def test_what_is_held_out_and_what_trains_are_the_whole_set(tmp_path: Path) -> None:
    place = numbered_set(tmp_path / "set")
    config = data_config(place, tmp_path, mode="cache", held_out=0.3)
    dataset = opened(place, tmp_path, mode="cache", held_out=0.3)
    assert isinstance(dataset, CachedImageDataset)
    held = held_out_rows(dataset.cache.rows, config)
    assert sorted([*held, *dataset.chosen]) == list(range(COUNT))
    rng = PositionalRNG(9, 100, 12)
    shades = (dataset.images(rng)[:, 0, 0, 0] - 1).tolist()
    assert set(shades) <= set(dataset.chosen.tolist())


@pytest.mark.parametrize("mode", ["cache", "stream"])
def test_the_validation_split_never_trains(mode: str, tmp_path: Path) -> None:
    samples = list(numbered_samples(20))
    for sample in samples[5:9]:
        sample.label["split"] = "validation"
    write_shards(tmp_path / "set", samples, size=32, channels=1, source="", images_per_shard=6)
    dataset = opened(tmp_path / "set", tmp_path / "scratch", mode=mode)
    assert dataset.total == 16
    assert set(sequence(dataset, steps=16)) == set(range(20)) - {5, 6, 7, 8}


@pytest.mark.parametrize("mode", ["cache", "stream"])
def test_a_selection_that_leaves_nothing_is_one_error(mode: str, tmp_path: Path) -> None:
    place = numbered_set(tmp_path / "set")
    with pytest.raises(UserError, match=r"data\.parts: '3001' does not occur .*: a, b"):
        opened(place, tmp_path / "scratch", mode=mode, parts=[3001])


def test_auto_takes_the_cache_where_it_fits_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = numbered_set(tmp_path / "set")
    for room, mode, words in (
        (10**9, "CachedImageDataset", "which fits"),
        (25_000, "StreamedImageDataset", "more than 80% of the 0 MB free in"),
    ):
        monkeypatch.setattr(
            "gantrain.data.loading.datasets.free_disk", lambda folder, room=room: room
        )
        dataset = opened(place, tmp_path / mode, mode="auto")
        assert type(dataset).__name__ == mode
        assert words in dataset.description
    monkeypatch.setattr("gantrain.data.loading.datasets.free_disk", lambda folder: 10**9)
    monkeypatch.setattr("gantrain.data.loading.datasets.free_memory", lambda: 40_000)
    assert "of free memory" in opened(place, tmp_path / "third", mode="auto").description
    assert (
        "there already" in opened(place, tmp_path / "CachedImageDataset", mode="auto").description
    )


def test_ranks_that_see_other_images_have_another_fingerprint(tmp_path: Path) -> None:
    place = numbered_set(tmp_path / "set")
    one = {opened(place, tmp_path / d, mode="cache").fingerprint for d in "ab"}
    others = [
        opened(place, tmp_path / "a", mode="cache", limit=20).fingerprint,
        opened(place, tmp_path / "a", mode="stream").fingerprint,
        opened(place, tmp_path / "a", mode="stream", limit=20).fingerprint,
        opened(place, tmp_path / "a", mode="stream", shuffle_buffer=8).fingerprint,
    ]
    assert len(one) == 1
    assert len({*one, *others}) == 5
