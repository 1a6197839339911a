"""Equal images: counted in the manifest, found by verify and import, dropped on request."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from gantrain.cli.data import data_app
from gantrain.data.importing.pipeline import import_images
from gantrain.data.shards.duplicates import Duplicates, image_digest
from gantrain.data.shards.manifest import read_manifest
from gantrain.data.shards.samples import SPLITS, Sample, Split
from gantrain.data.shards.verify import verify_shards
from gantrain.inference.nearest import distinct_rows
from tests.shard_sets import png, read_all, save_image, write

Images = list[tuple[int, Split]]


def _samples(images: Images) -> list[Sample]:
    return [
        Sample(f"image {i:03d}", png(value), {"split": split})
        for i, (value, split) in enumerate(images)
    ]


IMAGES: Images = [(1, "train"), (1, "validation"), (2, "validation"), (2, "validation")]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.sampled_from(SPLITS)), max_size=20))
def test_counts_equal_those_of_comparing_every_pair(images: Images) -> None:
    duplicates = Duplicates()
    repeats = [
        duplicates.add(str(i), split, image_digest(bytes([value])))
        for i, (value, split) in enumerate(images)
    ]
    values = [value for value, _ in images]
    assert repeats == [value in values[:i] for i, value in enumerate(values)]
    assert duplicates.distinct == len(set(values))
    assert duplicates.repeats.total() == len(values) - len(set(values))
    trained = {value for value, split in images if split == "train"}
    assert duplicates.across == sum(s == "validation" and v in trained for v, s in images)
    assert bool(duplicates.describe()) == (len(set(values)) < len(values))
    for key, first in duplicates.examples:
        assert values[int(key)] == values[int(first)]
        assert values.index(values[int(key)]) == int(first)


def test_a_set_states_its_distinct_images_and_verify_finds_the_others(tmp_path: Path) -> None:
    manifest = write(tmp_path / "set", _samples(IMAGES), images_per_shard=2)
    assert (manifest.version, manifest.count, manifest.distinct) == (3, 4, 2)
    report = verify_shards(tmp_path / "set", workers=1)
    assert report.ok
    assert report.duplicates.repeats == {"validation": 2}
    assert report.duplicates.across == 1
    runner = CliRunner()
    text = runner.invoke(data_app, ["verify", str(tmp_path / "set"), "--workers", "1"]).stdout
    assert text.startswith("OK: 4 images in 2 shards\n")
    assert "2 of 4 images equal an earlier one (0 in train, 2 in validation)" in text
    assert "image 001, which equals image 000" in text
    assert "1 of 3 validation images equal training images" in text
    shown = runner.invoke(data_app, ["show", str(tmp_path / "set")]).stdout
    assert "distinct" in shown


def test_a_wrong_number_of_distinct_images_is_a_problem(tmp_path: Path) -> None:
    write(tmp_path / "set", _samples(IMAGES))
    path = tmp_path / "set" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "distinct": 3}))
    problems = verify_shards(tmp_path / "set", workers=1).problems
    assert problems == (f"{tmp_path / 'set'}: 2 distinct images; the manifest lists 3",)


def test_a_set_of_an_earlier_version_is_read_unchanged(tmp_path: Path) -> None:
    write(tmp_path / "set", _samples(IMAGES))
    path = tmp_path / "set" / "manifest.json"
    content = json.loads(path.read_text())
    content["version"] = 1
    del content["distinct"]
    path.write_text(json.dumps(content, indent=2) + "\n")
    manifest = read_manifest(tmp_path / "set")
    assert manifest.distinct is None
    assert manifest.to_json() == path.read_text()
    report = verify_shards(tmp_path / "set", workers=1)
    assert report.ok
    assert report.duplicates.distinct == 2


def test_dropping_keeps_the_first_of_equal_images(tmp_path: Path) -> None:
    duplicates = Duplicates()
    samples = _samples(IMAGES)
    options = {"drop_duplicates": True, "duplicates": duplicates}
    manifest = write(tmp_path / "set", samples, **options)
    assert (manifest.count, manifest.distinct) == (2, 2)
    assert read_all(tmp_path / "set") == [samples[0], samples[2]]
    assert duplicates.repeats.total() == 2
    assert verify_shards(tmp_path / "set", workers=1).duplicates.describe() == []


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three colours; one of them also as the JPEG-free copies in the other split and class."""
    for name, colour in (
        *(("train/a/1.png", "red"), ("train/a/2.png", "blue"), ("train/b/3.bmp", "blue")),
        *(("test/a/4.png", "red"), ("test/b/5.png", "lime")),
    ):
        save_image(tmp_path / "images" / name, Image.new("RGB", (8, 8), colour))
    return tmp_path / "images"


def test_an_import_reports_equal_images_or_drops_them(folder: Path, tmp_path: Path) -> None:
    result = import_images(folder, tmp_path / "kept", size=16, channels=3, workers=1)
    assert (result.manifest.count, result.manifest.distinct) == (5, 3)
    assert (result.duplicates.repeats.total(), result.duplicates.across) == (2, 1)
    report = json.loads((tmp_path / "kept" / "import-report.json").read_text())["duplicates"]
    assert (report["distinct"], report["validation_equal_to_training"]) == (3, 1)
    assert len(report["examples"]) == 2

    arguments = ["import", str(folder), str(tmp_path / "dropped"), "--size", "16", "--channels"]
    runner = CliRunner()
    kept = runner.invoke(data_app, [*arguments, "3", "--workers", "1"]).stdout
    assert "1 of 2 validation images equal training images" in kept
    assert "--drop-duplicates" in kept
    options = ["3", "--workers", "1", "--overwrite", "--drop-duplicates"]
    text = runner.invoke(data_app, [*arguments, *options]).stdout
    assert "3 images of 16x16" in text
    assert "2 images left out, because each equals another one" in text
    assert read_manifest(tmp_path / "dropped").distinct == 3


def test_distinct_rows_are_the_first_of_equal_images() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 2, (40, 1, 2, 2), np.uint8)
    rows = np.array([3, 4, 7, *range(10, 40)])
    _, first = np.unique(images[rows].reshape(len(rows), -1), axis=0, return_index=True)
    assert distinct_rows(images, rows).tolist() == rows[np.sort(first)].tolist()
