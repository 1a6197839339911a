"""The classes of images that conditioning needs, in the cache and in a stream."""

import io
import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from gantrain.common.errors import UserError
from gantrain.common.rng import PositionalRNG
from gantrain.config import ConditioningConfig
from gantrain.data.loading.datasets import ImageDataset
from gantrain.data.loading.opening import open_dataset
from gantrain.data.shards.samples import Sample
from gantrain.data.shards.writer import write_shards
from tests.numbered import (
    CPU,
    data_config,
    flip_byte,
    image_numbers,
    numbered_set,
    png_location,
)

MODES = ["cache", "stream"]
PROJECTION = ConditioningConfig(kind="projection")


def open_labelled(
    shards: Path, tmp_path: Path, conditioning: ConditioningConfig = PROJECTION, **changes: Any
) -> ImageDataset:
    return open_dataset(data_config(shards, tmp_path / "scratch", **changes), conditioning)


def class_of_number(number: int) -> int:
    """As `numbered_samples` has it: even rows are of class a, odd ones of class b."""
    return number % 2


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("workers", [0, 1])
def test_each_image_comes_with_the_class_of_its_label(
    mode: str, workers: int, tmp_path: Path
) -> None:
    shards = numbered_set(tmp_path / "set")
    dataset = open_labelled(shards, tmp_path, mode=mode, workers=workers)
    batches = dataset.batches(PositionalRNG(3, 5, 7), 7, CPU, torch.contiguous_format)
    seen = []
    for images, classes in itertools.islice(batches, 8):
        assert classes is not None
        assert classes.dtype == torch.int64
        numbers = image_numbers(images)
        assert classes.tolist() == [class_of_number(n) for n in numbers]
        seen += numbers
    batches.close()  # type: ignore[attr-defined]
    assert set(seen) == set(range(23))
    assert dataset.class_counts() == {"a": 12, "b": 11}


@pytest.mark.parametrize("mode", MODES)
def test_without_conditioning_there_are_no_classes(mode: str, tmp_path: Path) -> None:
    shards = numbered_set(tmp_path / "set")
    dataset = open_labelled(shards, tmp_path, ConditioningConfig(), mode=mode)
    assert dataset.labelled_images(PositionalRNG(0, 0, 5)).classes is None
    assert dataset.class_counts() == {}


@pytest.mark.parametrize("mode", MODES)
def test_an_image_in_place_of_a_broken_one_brings_its_own_class(mode: str, tmp_path: Path) -> None:
    shards = numbered_set(tmp_path / "set")
    for row in (3, 10, 11, 20):
        shard = shards / f"shard-{row // 10:06d}.tar"
        offset, length = png_location(shard, f"n{row:03d}")
        flip_byte(shard, offset + length - 20)
    dataset = open_labelled(shards, tmp_path, mode=mode, on_error="skip")
    images, classes = dataset.labelled_images(PositionalRNG(1, 0, 46))
    assert classes is not None
    numbers = image_numbers(images.float() / 127.5 - 1)
    assert classes.tolist() == [class_of_number(n) for n in numbers]
    assert not {3, 10, 11, 20} & set(numbers)


def partly_labelled(folder: Path) -> Path:
    """Write 12 images of shades 1 to 12, of which every third has no class."""

    def samples() -> Iterator[Sample]:
        for i in range(12):
            file = io.BytesIO()
            Image.new("L", (32, 32), i + 1).save(file, "PNG")
            label: dict[str, str | int | float] = {} if i % 3 == 2 else {"part": "ab"[i % 3]}
            yield Sample(f"n{i:03d}", file.getvalue(), label)

    write_shards(folder, samples(), size=32, channels=1, source="x", images_per_shard=5)
    return folder


@pytest.mark.parametrize("mode", MODES)
def test_images_without_a_class_are_an_error_or_left_out(mode: str, tmp_path: Path) -> None:
    shards = partly_labelled(tmp_path / "set")
    with pytest.raises(UserError, match="4 of the 12 images to train on have no class") as error:
        open_labelled(shards, tmp_path, mode=mode)
    assert str(shards) in str(error.value)
    assert "conditioning.unlabelled=skip" in str(error.value)
    skipping = ConditioningConfig(kind="concat", unlabelled="skip")
    dataset = open_labelled(shards, tmp_path, skipping, mode=mode)
    assert dataset.total == 8
    images, classes = dataset.labelled_images(PositionalRNG(0, 0, 8))
    assert classes is not None
    numbers = image_numbers(images.float() / 127.5 - 1)
    assert classes.tolist() == [n % 3 for n in numbers]
    assert sorted(numbers) == [0, 1, 3, 4, 6, 7, 9, 10]


def test_a_limit_counts_labelled_images_alone(tmp_path: Path) -> None:
    skipping = ConditioningConfig(kind="concat", unlabelled="skip")
    dataset = open_labelled(partly_labelled(tmp_path / "set"), tmp_path, skipping, limit=8)
    assert dataset.total == 8
    assert dataset.class_counts() == {"a": 4, "b": 4}


@pytest.mark.parametrize("mode", MODES)
def test_the_classes_are_those_of_data_classes_in_sorted_order(mode: str, tmp_path: Path) -> None:
    shards = tmp_path / "set"
    file = io.BytesIO()
    Image.new("L", (32, 32), 9).save(file, "PNG")
    samples = [Sample(f"n{i}", file.getvalue(), {"part": "dbca"[i % 4]}) for i in range(12)]
    write_shards(shards, samples, size=32, channels=1, source="x", images_per_shard=5)
    dataset = open_labelled(shards, tmp_path, mode=mode, classes=["d", "a"])
    assert dataset.class_counts() == {"a": 3, "d": 3}
    classes = dataset.labelled_images(PositionalRNG(0, 0, 6)).classes
    assert classes is not None
    assert Counter(classes.tolist()) == {0: 3, 1: 3}


@pytest.mark.parametrize(
    ("labels", "classes", "expected"),
    [
        ({}, [], "has no classes"),
        ({"part": "a"}, [], "has only the class 'a'"),
        (None, ["b"], "data.classes: has only the class 'b'"),
    ],
)
def test_fewer_than_two_classes_are_an_error(
    labels: dict[str, str | int | float] | None, classes: list[str], expected: str, tmp_path: Path
) -> None:
    shards = tmp_path / "set"
    file = io.BytesIO()
    Image.new("L", (32, 32), 9).save(file, "PNG")
    samples = [
        Sample(f"n{i}", file.getvalue(), {"part": "ab"[i]} if labels is None else labels)
        for i in range(2)
    ]
    write_shards(shards, samples, size=32, channels=1, source="x", images_per_shard=5)
    with pytest.raises(UserError, match=expected) as error:
        open_labelled(shards, tmp_path, classes=classes)
    assert "conditioning.kind=none" in str(error.value)


def test_held_out_images_have_their_classes(tmp_path: Path) -> None:
    shards = numbered_set(tmp_path / "set")
    config = data_config(shards, tmp_path / "scratch", mode="cache", held_out=0.3)
    held_out = open_dataset(config, PROJECTION).held_out(config)
    assert held_out is not None
    images, classes = held_out.labelled_images(PositionalRNG(0, 0, held_out.total))
    assert classes is not None
    numbers = image_numbers(images.float() / 127.5 - 1)
    assert classes.tolist() == [class_of_number(n) for n in numbers]
