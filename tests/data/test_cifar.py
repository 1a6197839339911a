"""Import of CIFAR's binary version."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gantrain.common.errors import UserError
from gantrain.data.importing.pipeline import ImportReport, import_images
from gantrain.data.shards.samples import decode_image
from tests.shard_sets import read_all

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (6, 32, 32, 3), np.uint8)
NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def record(row: int, *labels: int) -> bytes:
    """A record as the data sets' page describes it: labels, then red, green and blue planes."""
    planes = [IMAGES[row, :, :, channel].tobytes() for channel in range(3)]
    return bytes(labels) + b"".join(planes)


@pytest.fixture
def cifar10(tmp_path: Path) -> Path:
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for batch in (1, 2):
        rows = range(2 * batch - 2, 2 * batch)
        content = b"".join(record(row, row) for row in rows)
        (folder / f"data_batch_{batch}.bin").write_bytes(content)
    (folder / "test_batch.bin").write_bytes(record(4, 9) + record(5, 9))
    (folder / "batches.meta.txt").write_text("\n".join(NAMES) + "\n\n")
    (folder / "readme.html").touch()
    return folder


def run_import(source: Path, target: Path, **options: Any) -> ImportReport:
    return import_images(source, target, **{"size": 32, "channels": 3, "workers": 1, **options})


def test_cifar_10_gives_its_pixels_classes_and_splits(cifar10: Path, tmp_path: Path) -> None:
    report = run_import(cifar10, tmp_path / "set")
    assert report.plan.splits() == {"train": 4, "validation": 2}
    for sample in read_all(tmp_path / "set"):
        folder, number = str(sample.label["file"]).split("/")
        row = int(number) + (4 if folder == "test" else 0)
        assert sample.label["part"] == ("truck" if folder == "test" else NAMES[row])
        pixels = decode_image(sample.image, 32, 3, where="x")
        assert np.array_equal(pixels, IMAGES[row].transpose(2, 0, 1))


def test_without_names_the_classes_are_numbers(cifar10: Path, tmp_path: Path) -> None:
    (cifar10 / "batches.meta.txt").unlink()
    assert run_import(cifar10 / "test_batch.bin", tmp_path / "set").plan.classes == {"9": 2}


def test_cifar_100_has_fine_and_coarse_classes(tmp_path: Path) -> None:
    from gantrain.data.importing.sources import SourceOptions

    folder = tmp_path / "cifar-100-binary"
    folder.mkdir()
    (folder / "train.bin").write_bytes(record(0, 19, 99) + record(1, 0, 0))
    (folder / "test.bin").write_bytes(record(2, 19, 98))
    (folder / "fine_label_names.txt").write_text("\n".join(f"fine{i}" for i in range(100)))
    (folder / "coarse_label_names.txt").write_text("\n".join(f"coarse{i}" for i in range(20)))
    plan = run_import(folder, tmp_path / "a").plan
    assert plan.classes == {"fine0": 1, "fine98": 1, "fine99": 1}
    assert plan.splits() == {"train": 2, "validation": 1}
    coarse = SourceOptions(label_column="coarse")
    assert run_import(folder, tmp_path / "b", options=coarse).plan.classes == {
        "coarse0": 1,
        "coarse19": 2,
    }
    with pytest.raises(UserError, match="--label-column is 'x'; the labels of CIFAR-100 are fine"):
        run_import(folder, tmp_path / "c", options=SourceOptions(label_column="x"))


def test_the_python_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "data_batch_1").write_bytes(pickle.dumps({"data": [1]}))
    (tmp_path / "in" / "batches.meta").write_bytes(b"")
    for source in (tmp_path / "in", tmp_path / "in" / "data_batch_1"):
        with pytest.raises(UserError, match=r"Python version, a pickle.*binary version"):
            run_import(source, tmp_path / "set")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("data_batch_1.bin", record(0, 1)[:-1], "records of 3,073 bytes"),
        ("data_batch_1.bin", b"", "contains 0 bytes"),
        ("data_batch_1.bin", record(0, 10), "contains the label 10"),
        ("batches.meta.txt", b"one two", "contains 2 names; expected 10"),
        ("train.bin", record(0, 1), "CIFAR-10 and CIFAR-100"),
    ],
)
def test_a_wrong_file_is_one_error(
    cifar10: Path, tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (cifar10 / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        run_import(cifar10, tmp_path / "set")
    assert not (tmp_path / "set").exists()
