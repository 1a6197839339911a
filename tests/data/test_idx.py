"""Import of IDX files, the format of MNIST."""

import gzip
import struct
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gantrain.common.errors import UserError
from gantrain.data.importing.idx import read_idx
from gantrain.data.importing.pipeline import ImportReport, import_images
from gantrain.data.shards.samples import decode_image
from tests.shard_sets import read_all

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (12, 28, 28), np.uint8)
LABELS = np.arange(12, dtype=np.uint8) % 3


def idx_bytes(array: NDArray[Any]) -> bytes:
    """An IDX file as http://yann.lecun.com/exdb/mnist/ specifies it."""
    code = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}[array.dtype.str[1:]]
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write_idx(path: Path, array: NDArray[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = idx_bytes(array)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def run_import(source: Path, target: Path, **options: Any) -> ImportReport:
    return import_images(source, target, **{"size": 28, "workers": 1, **options})


@pytest.fixture
def mnist(tmp_path: Path) -> Path:
    folder = tmp_path / "mnist"
    write_idx(folder / "train-images-idx3-ubyte.gz", IMAGES[:8])
    write_idx(folder / "train-labels-idx1-ubyte.gz", LABELS[:8])
    write_idx(folder / "t10k-images-idx3-ubyte.gz", IMAGES[8:])
    write_idx(folder / "t10k-labels-idx1-ubyte.gz", LABELS[8:])
    (folder / "readme.md").touch()
    return folder


def test_mnists_files_give_their_pixels_classes_and_splits(mnist: Path, tmp_path: Path) -> None:
    report = run_import(mnist, tmp_path / "set", workers=2)
    manifest = report.manifest
    assert {key: each.count for key, each in manifest.classes.items()} == {"0": 4, "1": 4, "2": 4}
    assert manifest.splits == {"train": 8, "validation": 4}
    assert report.ignored == {".md": 1}
    for sample in read_all(tmp_path / "set"):
        folder, number = str(sample.label["file"]).split("/")
        row = int(number) + (8 if folder == "test" else 0)
        assert np.array_equal(decode_image(sample.image, 28, 1, where="x")[0], IMAGES[row])
        assert sample.label["part"] == str(LABELS[row])
        assert sample.label["split"] == ("validation" if folder == "test" else "train")


def test_the_same_files_give_the_same_bytes(mnist: Path, tmp_path: Path) -> None:
    first = run_import(mnist, tmp_path / "a").manifest
    for file in mnist.glob("*.gz"):  # not compressed, beside the compressed files
        file.with_suffix("").write_bytes(gzip.decompress(file.read_bytes()))
    report = run_import(mnist, tmp_path / "b", workers=2)
    assert first.identity == report.manifest.identity
    assert report.ignored == {".md": 1}
    assert first.identity != run_import(mnist, tmp_path / "c", seed=1).manifest.identity


def test_shrink_keeps_the_pixels_of_small_images(mnist: Path, tmp_path: Path) -> None:
    run_import(mnist / "train-images-idx3-ubyte.gz", tmp_path / "set", size=32, fit="shrink")
    for sample in read_all(tmp_path / "set"):
        row = int(str(sample.label["file"]).removeprefix("train/"))
        expected = np.pad(IMAGES[row], 2)
        assert np.array_equal(decode_image(sample.image, 32, 1, where="x")[0], expected)


@pytest.mark.parametrize("names", [("train-images.idx3-ubyte", "train-labels.idx1-ubyte"),
                                   ("images-idx3-ubyte", "labels-idx1-ubyte"),
                                   ("emnist-x-train-images-idx3-ubyte.gz",
                                    "emnist-x-train-labels-idx1-ubyte")])  # fmt: skip
@pytest.mark.parametrize("as_file", [False, True])
def test_other_customary_names_are_known(
    tmp_path: Path, names: tuple[str, str], as_file: bool
) -> None:
    images = write_idx(tmp_path / "in" / names[0], IMAGES)
    write_idx(tmp_path / "in" / names[1], LABELS.astype(">i4"))
    report = run_import(images if as_file else images.parent, tmp_path / "set")
    assert report.manifest.splits == {"train": 12, "validation": 0}
    assert list(report.plan.classes) == ["0", "1", "2"]


def test_a_file_of_any_name_is_known_by_its_first_bytes(tmp_path: Path) -> None:
    report = run_import(write_idx(tmp_path / "digits", IMAGES), tmp_path / "set")
    assert report.manifest.count == 12
    assert report.plan.rule == "none"


def test_names_replace_numbers(mnist: Path, tmp_path: Path) -> None:
    report = run_import(mnist, tmp_path / "set", class_names=["shirt", "coat", "bag/purse"])
    assert report.plan.classes == {"bag/purse": 4, "coat": 4, "shirt": 4}
    with pytest.raises(UserError, match=r"2 names, for the classes 0 to 1, .* a class 2"):
        run_import(mnist, tmp_path / "b", class_names=["shirt", "coat"])


LABELS_NAME, IMAGES_NAME = "train-labels-idx1-ubyte", "train-images-idx3-ubyte"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (IMAGES_NAME, idx_bytes(IMAGES.astype("f4")), "contains float32 of 3 dimensions"),
        (IMAGES_NAME, idx_bytes(IMAGES[0]), "contains uint8 of 2 dimensions; expected images"),
        (IMAGES_NAME, idx_bytes(IMAGES[:0]), "contains no pixels"),
        (IMAGES_NAME, idx_bytes(IMAGES)[:-1], "9,408 bytes, but 9,407 follow"),
        (IMAGES_NAME, idx_bytes(IMAGES) + b"x", "but 9,409 follow"),
        (IMAGES_NAME, gzip.compress(idx_bytes(IMAGES), mtime=0)[:-9], "damaged or cut off"),
        (IMAGES_NAME, gzip.compress(idx_bytes(IMAGES)[:-1], mtime=0), "but 9,407 follow"),
        (IMAGES_NAME, gzip.compress(idx_bytes(IMAGES) + b"x", mtime=0), "but more follow"),
        (
            IMAGES_NAME,
            gzip.compress(struct.pack(">4B4I", 0, 0, 8, 4, *[2**31] * 4), mtime=0),
            "too much",
        ),
        (IMAGES_NAME, gzip.compress(b"\0\0\x08", mtime=0), "not an IDX file"),
        (IMAGES_NAME, b"\0\0\x08\x03\0\0", "cut off within its header"),
        (IMAGES_NAME, b"<html>", "not an IDX file"),
        (IMAGES_NAME, b"", "not an IDX file"),
        (LABELS_NAME, idx_bytes(LABELS[:3]), "contains 3 labels, but .* contains 12 images"),
        (LABELS_NAME, idx_bytes(LABELS.astype("f4")), "contains float32 of 1 dim.* labels"),
        (LABELS_NAME, idx_bytes(IMAGES), "contains uint8 of 3 dimensions; expected labels"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_one_error_that_names_it(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    write_idx(tmp_path / "in" / IMAGES_NAME, IMAGES)
    write_idx(tmp_path / "in" / LABELS_NAME, LABELS)
    (tmp_path / "in" / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{name}: .*{message}"):
        run_import(tmp_path / "in", tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_files_of_several_sets_are_an_error(mnist: Path, tmp_path: Path) -> None:
    write_idx(mnist / "emnist-letters-train-images-idx3-ubyte", IMAGES)
    with pytest.raises(UserError, match=r"several sets, such as .*emnist-letters-train-images"):
        run_import(mnist, tmp_path / "set")
    for file in mnist.glob("*images*"):
        file.unlink()
    with pytest.raises(UserError, match="no IDX file of images"):
        run_import(mnist, tmp_path / "set")


@settings(max_examples=200, deadline=None)
@given(
    start=st.sampled_from([b"", b"\0\0\x08\x03", idx_bytes(IMAGES[:2]), b"\x1f\x8b\x08"]),
    rest=st.binary(max_size=40),
    compress=st.booleans(),
)
def test_any_bytes_are_values_or_one_error(start: bytes, rest: bytes, compress: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file")
        path.write_bytes(gzip.compress(start + rest) if compress else start + rest)
        with suppress(UserError):
            read_idx(path)
