"""Import of NumPy's `.npy` and `.npz` files."""

import io
import tempfile
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gantrain.common.errors import UserError
from gantrain.data.importing.npy import read_arrays
from gantrain.data.importing.pipeline import ImportReport, import_images
from gantrain.data.importing.sources import SourceOptions
from gantrain.data.shards.samples import decode_image
from tests.shard_sets import read_all

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (10, 32, 32), np.uint8)
RGB = RNG.integers(0, 256, (10, 32, 32, 3), np.uint8)
LABELS = np.arange(10) % 3


def run_import(source: Path, target: Path, **options: Any) -> ImportReport:
    return import_images(source, target, **{"size": 32, "workers": 1, **options})


def imported(source: Path, target: Path, **options: Any) -> dict[str, tuple[Any, str, Any]]:
    """Class, split and pixels (C, H, W) by the name of the image."""
    report = run_import(source, target, **options)
    channels = report.manifest.channels
    return {
        str(s.label["file"]): (
            s.label.get("part"),
            str(s.label["split"]),
            decode_image(s.image, 32, channels, where="x"),
        )
        for s in read_all(target)
    }


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_keras_arrays_are_images_classes_and_splits(tmp_path: Path, save: Any) -> None:
    file = tmp_path / "mnist.npz"
    save(file, x_train=GREY[:7], y_train=LABELS[:7], x_test=GREY[7:], y_test=LABELS[7:, None])
    found = imported(file, tmp_path / "set")
    assert len(found) == 10
    for row in range(10):
        name = f"train/{row}" if row < 7 else f"test/{row - 7}"
        part, split, pixels = found[name]
        assert (part, split) == (str(row % 3), "train" if row < 7 else "validation")
        assert np.array_equal(pixels[0], GREY[row])


def test_medmnists_arrays_hold_out_val_and_test(tmp_path: Path) -> None:
    arrays = {
        f"{split}_{kind}": values[rows]
        for split, rows in (("train", slice(6)), ("val", slice(6, 8)), ("test", slice(8, 10)))
        for kind, values in (("images", RGB), ("labels", LABELS[:, None].astype(np.uint8)))
    }
    np.savez_compressed(tmp_path / "pathmnist.npz", **arrays)  # type: ignore[arg-type]
    found = imported(tmp_path / "pathmnist.npz", tmp_path / "set", channels=3)
    assert {
        name: split for name, (_, split, _) in found.items() if split != "train"
    } == dict.fromkeys(["val/0", "val/1", "test/0", "test/1"], "validation")
    assert np.array_equal(found["test/1"][2], RGB[9].transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("names", "files"),
    [
        (("arr_0", "arr_1"), None),
        (("images", "labels"), None),
        (("X", "y"), None),
        (("x", "y"), ("x.npy", "y.npy")),
        (("train_images", "train_labels"), ("train_images.npy", "train_labels.npy")),
        (("xtrain", "ytrain"), ("a-xtrain.npy", "a-ytrain.npy")),
    ],
)
def test_customary_names_pair_images_and_labels(
    tmp_path: Path, names: tuple[str, str], files: tuple[str, str] | None
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    words = np.array(["cat", "dog", "cow"])[LABELS]
    if files is None:
        np.savez(folder / "a.npz", **{names[0]: RGB, names[1]: words})  # type: ignore[arg-type]
    else:
        np.save(folder / files[0], RGB)
        np.save(folder / files[1], words)
    expected = {"cat": 4, "dog": 3, "cow": 3}
    assert run_import(folder, tmp_path / "a").plan.classes == expected
    file = folder / (files[0] if files else "a.npz")
    assert run_import(file, tmp_path / "b").plan.classes == expected
    assert run_import(file, tmp_path / "c", classes="none").plan.classes == {}


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("layout", ["last", "first"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_layouts_give_the_same_pixels(
    tmp_path: Path, order: Any, layout: str, channels: int
) -> None:
    images = RNG.integers(0, 256, (3, 32, 32, channels), np.uint8)
    if channels == 4:
        images[..., 3] = 255  # alpha
    stored = images if layout == "last" else images.transpose(0, 3, 1, 2)
    np.save(tmp_path / "a.npy", np.asarray(stored, order=order))
    out = 1 if channels == 1 else 3
    found = imported(tmp_path / "a.npy", tmp_path / "set", channels=out)
    for row in range(3):
        assert np.array_equal(found[f"{row}"][2], images[row, ..., :out].transpose(2, 0, 1))


def test_files_of_arrays_by_class_are_classes(tmp_path: Path) -> None:
    """Quick, Draw! has a file of rows for each class."""
    (tmp_path / "in").mkdir()
    for name in ("cat", "dog"):
        np.save(tmp_path / "in" / f"{name}.npy", np.zeros((4, 784), np.uint8))
    report = run_import(tmp_path / "in", tmp_path / "set")
    assert report.plan.classes == {"cat": 4, "dog": 4}


def test_options_name_arrays_of_other_names(tmp_path: Path) -> None:
    arrays = {"img_left": GREY, "img_right": RGB[..., 0], "id": LABELS, "y": LABELS * 0}
    np.savez(tmp_path / "a.npz", **arrays)  # type: ignore[arg-type]
    options = SourceOptions(image_column="img_right", label_column="ID")
    report = run_import(tmp_path / "a.npz", tmp_path / "set", options=options)
    assert report.plan.classes == {"0": 4, "1": 3, "2": 3}
    assert report.manifest.count == 10
    np.savez(tmp_path / "b.npz", train_rgb=RGB[:8], test_rgb=RGB[8:], train_id=LABELS[:8])
    report = run_import(
        tmp_path / "b.npz", tmp_path / "b", options=SourceOptions(label_column="id")
    )
    assert report.plan.splits() == {"train": 8, "validation": 2}
    assert report.plan.classes == {"0": 3, "1": 3, "2": 2}
    with pytest.raises(
        UserError, match="--label-column: there is no array with 'kind' in its name"
    ):
        run_import(tmp_path / "a.npz", tmp_path / "c", options=SourceOptions(label_column="kind"))


def test_masks_beside_images_are_ignored_and_said_so(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=RGB, masks=GREY, ids=np.arange(10))
    seen: list[str] = []
    report = import_images(
        tmp_path / "a.npz", tmp_path / "set", size=32, workers=1,
        on_plan=lambda source, plan: seen.extend(source.describe()),
    )  # fmt: skip
    assert report.manifest.count == 10
    assert "NumPy arrays (images: (N, H, W, C) with 3 channels)" in seen[0]
    assert seen[-1] == "Ignored arrays: masks uint8 (10, 32, 32), ids int64 (10,)."


def test_images_over_the_limit_of_megapixels_are_counted_and_named(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    np.save(folder / "large.npy", np.zeros((2, 500, 400), np.uint8))
    np.save(folder / "small.npy", np.zeros((2, 5, 5), np.uint8))
    report = run_import(folder, tmp_path / "set", max_megapixels=0.1)
    reason = "400x500 are 0.2 megapixels, more than the limit of 0.1 (--max-megapixels)"
    assert report.unreadable == (("large/0", reason), ("large/1", reason))
    with pytest.raises(UserError, match=r"large/\d: cannot be read \(400x500.*--strict"):
        run_import(folder, tmp_path / "other", max_megapixels=0.1, on_error="fail")


class Trap:
    """Unpickling it would write a file."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (Path.touch, (Path("unpickled"),))  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": GREY / np.float32(255)}, r"if the range is 0 to 1: \(x \* 255\)\.round"),
        ({"x": GREY / 127.5 - 1}, r"if the range is -1 to 1: \(x \* 127\.5 \+ 127\.5\)"),
        ({"x": GREY.astype(int)}, r"int64 .* 0 to 255: x\.round\(\)\.astype\(np\.uint8\)"),
        ({"x": GREY * 1e9}, "scale the values"),
        ({"x": GREY * np.nan}, "not all finite"),
        ({"x": GREY > 5}, r"x\.astype\(np\.uint8\) \* 255"),
        ({"x": GREY.reshape(10, -1)}, r"rows of 1024 values; reshape them"),
        ({"x": RGB[0]}, "the shape of one image"),
        ({"x": RGB[:, :2, :, [0, 0, 0, 0, 0]]}, "expected 1, 3 or 4 channels"),
        ({"x": GREY[:0]}, "contains no pixels"),
        ({"x": np.array([[[Trap()]]])}, "Python objects .* never loaded"),
        ({"x": GREY, "y": np.array([Trap()] * 10)}, "Python objects .* never loaded"),
        ({"x": GREY, "y": LABELS[:4]}, r"contains 4 labels, but x contains 10 images"),
        ({"x": GREY, "y": np.eye(10)}, r"y\.argmax\(axis=1\).*--classes none"),
        ({"x": GREY, "y": LABELS + 0.5}, "expected labels: integers or text"),
        ({"x": GREY, "images": RGB}, "several arrays of images"),
        ({"y": LABELS}, r"no array of images; .* Its arrays: y int64 \(10,\)"),
        ({}, "Its arrays: none"),
    ],
)
def test_a_wrong_array_is_one_error_that_says_what_to_do(
    tmp_path: Path, arrays: dict[str, NDArray[Any]], message: str
) -> None:
    np.savez(tmp_path / "a.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=rf"a\.npz: .*{message}") as caught:
        run_import(tmp_path / "a.npz", tmp_path / "set")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "set").exists()
    assert not Path("unpickled").exists()


def npy_bytes(array: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npz_bytes(compression: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("x.npy", npy_bytes(GREY))
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.npy", npy_bytes(GREY)[:-1], "cut off"),
        ("a.npy", npy_bytes(GREY)[:30], "damaged"),
        ("a.npy", b"", "an empty file"),
        ("a.npz", b"text", "not a zip file"),
        ("a.npz", npz_bytes(zipfile.ZIP_STORED)[:-1], "not a zip file, damaged or cut off"),
        ("a.npz", npz_bytes(zipfile.ZIP_DEFLATED).replace(b"\x00" * 3, b"abc", 9), "a.npz"),
        ("a.npz", npz_bytes(zipfile.ZIP_BZIP2), "compressed in an unusual way"),
        ("a.npy", npy_bytes(GREY).replace(b"(10, 32", b"(-9, 32"), "damaged"),
        ("a.npy", npy_bytes(GREY).replace(b"(10, 32", b"(10,999"), "cut off"),
        ("a.npy", npy_bytes(GREY).replace(b"(10, 32", b"((((((("), "damaged"),
    ],
)
def test_a_damaged_file_is_one_error(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        run_import(tmp_path / name, tmp_path / "set")
    assert str(caught.value).startswith(str(tmp_path / name))


@settings(max_examples=150, deadline=None)
@given(
    base=st.sampled_from([npy_bytes(GREY[:1, :2, :2]), npz_bytes(0), npz_bytes(8), b"PK\x03\x04"]),
    position=st.integers(0, 400),
    change=st.binary(max_size=8),
    end=st.integers(0, 12_000),
)
def test_any_bytes_are_arrays_or_one_error(
    base: bytes, position: int, change: bytes, end: int
) -> None:
    content = (base[:position] + change + base[position + len(change) :])[:end]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.npz")
        path.write_bytes(content)
        with suppress(UserError):
            list(read_arrays(path))
