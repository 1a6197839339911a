"""Elastic determinism of `cache` and `stream`: each image once per epoch, equally many batches for
every rank, and one order for any number of ranks and workers and from any position."""

import io
import itertools
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
    image_numbers,
    numbered_samples,
    numbered_set,
    open_numbered,
    read_numbers,
)

COUNT = 23
Datasets = dict[tuple[str, int], ImageDataset]


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> Datasets:
    """23 images in 1, 3 and 8 shards, cached and streamed."""
    folder = tmp_path_factory.mktemp("sets")
    return {
        (mode, count): open_numbered(shards, folder / "scratch", mode=mode)
        for count in PER_SHARD
        for shards in [numbered_set(folder / str(count), count)]
        for mode in ("cache", "stream")
    }


@settings(max_examples=80, deadline=None)
@given(
    mode=st.sampled_from(["cache", "stream"]),
    shards=st.sampled_from([1, 3, 8]),
    ranks=st.sampled_from([1, 2, 3, 4]),
    local_batch_size=st.integers(1, 9),
    start=st.integers(0, 200),
    seed=st.integers(0, 2**63 - 1),
)
def test_all_ranks_together_receive_the_same_sequence_from_any_position(
    datasets: Datasets,
    mode: str,
    shards: int,
    ranks: int,
    local_batch_size: int,
    start: int,
    seed: int,
) -> None:
    images = datasets[mode, shards]
    steps = -(-2 * COUNT // (ranks * local_batch_size)) + 1
    numbers = read_numbers(
        images, steps=steps, ranks=ranks, local_batch_size=local_batch_size, start=start, seed=seed
    )
    assert len(numbers) == steps * ranks * local_batch_size
    single_rank = read_numbers(images, steps=start + len(numbers), seed=seed)
    assert numbers == single_rank[start:]


@settings(max_examples=60, deadline=None)
@given(
    mode=st.sampled_from(["cache", "stream"]),
    shards=st.sampled_from([1, 3, 8]),
    seed=st.integers(0, 2**63 - 1),
)
def test_each_epoch_contains_each_image_once_in_a_different_order(
    datasets: Datasets, mode: str, shards: int, seed: int
) -> None:
    numbers = read_numbers(datasets[mode, shards], steps=5 * COUNT, seed=seed)
    epochs = [numbers[i * COUNT : (i + 1) * COUNT] for i in range(5)]
    assert all(sorted(epoch) == list(range(COUNT)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1
    assert epochs[0] != list(range(COUNT))


def test_the_order_of_the_cache_does_not_depend_on_the_shards(datasets: Datasets) -> None:
    a, b, c = (read_numbers(datasets["cache", shards], steps=2 * COUNT) for shards in (1, 3, 8))
    assert a == b == c


def as_workers(
    dataset: ImageDataset, rng: PositionalRNG, global_batch_size: int, workers: int
) -> Iterator[int]:
    """Yield the numbers that DataLoader would receive from its workers, which take turns."""
    assert isinstance(dataset, StreamedImageDataset)
    with pytest.MonkeyPatch.context() as patch:
        pipelines = []
        for worker in range(workers):
            info = SimpleNamespace(id=worker, num_workers=workers)
            patch.setattr(stream_module, "get_worker_info", lambda info=info: info)
            pipeline = decoded_batches(dataset.stream, rng, global_batch_size, 0, pin_memory=False)
            pipelines.append(itertools.chain([next(pipeline)], pipeline))
    for pipeline in itertools.cycle(pipelines):
        yield from image_numbers(scaled(next(pipeline).images))


@settings(max_examples=60, deadline=None)
@given(
    shards=st.sampled_from([1, 3, 8]),
    workers=st.sampled_from([1, 2, 3]),
    ranks=st.sampled_from([1, 2, 3, 4]),
    local_batch_size=st.integers(1, 9),
    start=st.integers(0, 100),
)
def test_workers_together_produce_the_batches_of_their_rank(
    datasets: Datasets, shards: int, workers: int, ranks: int, local_batch_size: int, start: int
) -> None:
    images = datasets["stream", shards]
    for rank in range(ranks):
        rng = PositionalRNG(5, start + rank * local_batch_size, local_batch_size)
        without_workers = images.batches(
            rng, ranks * local_batch_size, CPU, torch.contiguous_format
        )
        expected = [
            n for batch in itertools.islice(without_workers, 7) for n in image_numbers(batch.images)
        ]
        with_workers = as_workers(images, rng, ranks * local_batch_size, workers)
        assert list(itertools.islice(with_workers, 7 * local_batch_size)) == expected


@pytest.mark.parametrize(("workers", "shards"), [(1, 8), (2, 1), (2, 3)])
def test_worker_processes_produce_the_same_sequence(
    datasets: Datasets, workers: int, shards: int
) -> None:
    without_workers = datasets["stream", shards]
    assert isinstance(without_workers, StreamedImageDataset)
    with_workers = StreamedImageDataset(
        without_workers.stream, workers, without_workers.log, "", without_workers.manifest
    )
    numbers = read_numbers(with_workers, steps=9, ranks=2, local_batch_size=4, start=11)
    assert numbers == read_numbers(without_workers, steps=9, ranks=2, local_batch_size=4, start=11)


def test_batches_contain_the_scaled_images_of_the_files(shards: Path, tmp_path: Path) -> None:
    manifest = read_manifest(shards)
    files = {
        sample.key: np.asarray(Image.open(io.BytesIO(sample.image)))
        for entry in manifest.shards
        for sample in iterate_shard(shards, manifest, entry)
    }
    expected = torch.from_numpy(np.stack(list(files.values())))[:, None].float() / 127.5 - 1
    for mode in ("cache", "stream"):
        dataset = open_numbered(shards, tmp_path, mode=mode)
        batches = dataset.batches(PositionalRNG(3, 0, 50), 50, CPU, torch.channels_last)
        actual = torch.cat([batch.images for batch in itertools.islice(batches, 4)])
        assert actual.min() >= -1
        assert actual.max() <= 1
        # The same images, in another order.
        order = [
            sorted(range(200), key=lambda i: x[i].flatten().tolist()) for x in (actual, expected)
        ]
        torch.testing.assert_close(actual[order[0]], expected[order[1]])
        torch.testing.assert_close(scaled(dataset.images(PositionalRNG(3, 0, 50))), actual[:50])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_scaling_covers_the_range_in_the_requested_layout(
    channels: int, layout: torch.memory_format
) -> None:
    images = torch.arange(256, dtype=torch.uint8).repeat(2 * channels).view(2, channels, 16, 16)
    images[1] = images[1].flip(0)
    batch = scaled(images, layout)
    torch.testing.assert_close(batch, images.float() / 127.5 - 1)
    assert batch.is_contiguous(memory_format=layout)
    assert (batch.min().item(), batch.max().item()) == (-1, 1)


def test_a_window_uses_few_shards_and_mixes_their_images() -> None:
    order = WindowShuffle(np.full(100, 10), window=50)
    shards, indices = order.indices(PositionalRNG(0, 0, 1000))
    assert sorted(zip(shards, indices, strict=True)) == [
        (s, n) for s in range(100) for n in range(10)
    ]
    for first in range(0, 1000, 50):
        assert len(set(shards[first : first + 50])) <= 6
    assert (np.diff(shards) != 0).mean() > 0.5
    following = order.shards_after(PositionalRNG(0, 40, 10))
    assert set(following) == set(shards[50:100])
    next_epoch = order.indices(PositionalRNG(0, 1000, 50))[0]
    assert set(order.shards_after(PositionalRNG(0, 990, 10))) == set(next_epoch)


def test_every_image_is_equally_likely_at_every_position() -> None:
    order = FullShuffle(6)
    counts = np.zeros((6, 6))
    for epoch in range(3000):
        counts[np.arange(6), order.indices(PositionalRNG(1, 6 * epoch, 6))] += 1
    expected = 3000 / 6
    chi_squared = ((counts - expected) ** 2 / expected).sum()
    assert chi_squared < 60  # the 99.99% quantile with 25 degrees of freedom


@pytest.mark.parametrize("mode", ["cache", "stream"])
def test_classes_limit_and_held_out_select_from_one_cached_set(mode: str, tmp_path: Path) -> None:
    shards = numbered_set(tmp_path / "set")

    def selected(**changes: object) -> set[int]:
        dataset = open_numbered(shards, tmp_path / "scratch", mode=mode, **changes)
        return set(read_numbers(dataset, steps=dataset.total))

    assert selected(classes=["b"]) == set(range(1, 23, 2))
    assert selected(classes=["a", "b"]) == set(range(23))
    small, large = selected(limit=5), selected(limit=11)
    assert (len(small), len(large)) == (5, 11)
    assert small < large
    assert small != set(range(5))
    # Of 12 views the last three are held out.
    assert selected(held_out=0.25) == set(range(18))
    assert selected(held_out=0.25, classes=["b"]) == set(range(1, 18, 2))
    decoded = list((tmp_path / "scratch").glob("decoded/*/images.u8"))
    assert len(decoded) == (1 if mode == "cache" else 0)


def test_held_out_and_training_images_make_up_the_set(tmp_path: Path) -> None:
    shards = numbered_set(tmp_path / "set")
    config = data_config(shards, tmp_path, mode="cache", held_out=0.3)
    dataset = open_numbered(shards, tmp_path, mode="cache", held_out=0.3)
    assert isinstance(dataset, CachedImageDataset)
    held_out = held_out_rows(dataset.cache.table, config)
    assert sorted([*held_out, *dataset.rows]) == list(range(COUNT))
    rng = PositionalRNG(9, 100, 12)
    shades = (dataset.images(rng)[:, 0, 0, 0] - 1).tolist()
    assert set(shades) <= set(dataset.rows.tolist())


@pytest.mark.parametrize("mode", ["cache", "stream"])
def test_the_validation_split_is_never_trained_on(mode: str, tmp_path: Path) -> None:
    samples = list(numbered_samples(20))
    for sample in samples[5:9]:
        sample.label["split"] = "validation"
    write_shards(tmp_path / "set", samples, size=32, channels=1, source="", images_per_shard=6)
    dataset = open_numbered(tmp_path / "set", tmp_path / "scratch", mode=mode)
    assert dataset.total == 16
    assert set(read_numbers(dataset, steps=16)) == set(range(20)) - {5, 6, 7, 8}


@pytest.mark.parametrize("mode", ["cache", "stream"])
def test_an_unknown_class_is_one_error(mode: str, tmp_path: Path) -> None:
    shards = numbered_set(tmp_path / "set")
    with pytest.raises(UserError, match=r"data\.classes: '3001' does not occur .*: a, b"):
        open_numbered(shards, tmp_path / "scratch", mode=mode, classes=[3001])


def test_auto_selects_the_cache_if_it_fits_and_states_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = numbered_set(tmp_path / "set")
    for free, mode, words in (
        (10**9, "CachedImageDataset", "which fits"),
        (25_000, "StreamedImageDataset", "more than 80% of the 0 MB free in"),
    ):
        monkeypatch.setattr(
            "gantrain.data.loading.opening.free_disk", lambda folder, free=free: free
        )
        dataset = open_numbered(shards, tmp_path / mode, mode="auto")
        assert type(dataset).__name__ == mode
        assert words in dataset.description
    monkeypatch.setattr("gantrain.data.loading.opening.free_disk", lambda folder: 10**9)
    monkeypatch.setattr("gantrain.data.loading.opening.free_memory", lambda: 40_000)
    assert "of free memory" in open_numbered(shards, tmp_path / "third", mode="auto").description
    assert (
        "cached already"
        in open_numbered(shards, tmp_path / "CachedImageDataset", mode="auto").description
    )


def test_datasets_with_other_images_or_another_order_have_other_fingerprints(
    tmp_path: Path,
) -> None:
    shards = numbered_set(tmp_path / "set")
    equal = {open_numbered(shards, tmp_path / d, mode="cache").fingerprint for d in "ab"}
    others = [
        open_numbered(shards, tmp_path / "a", mode="cache", limit=20).fingerprint,
        open_numbered(shards, tmp_path / "a", mode="stream").fingerprint,
        open_numbered(shards, tmp_path / "a", mode="stream", limit=20).fingerprint,
        open_numbered(shards, tmp_path / "a", mode="stream", shuffle_buffer=8).fingerprint,
    ]
    assert len(equal) == 1
    assert len({*equal, *others}) == 5
