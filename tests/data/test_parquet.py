"""Import of Parquet files, as on the Hugging Face Hub."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gantrain.common.errors import UserError
from gantrain.data.importing.parquet import _Reader
from gantrain.data.importing.pipeline import ImportReport, import_images
from gantrain.data.importing.sources import SourceOptions
from gantrain.data.shards.samples import decode_image
from tests.shard_sets import png, read_all

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
FEATURES = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["cat", "dog"]}}


def write_table(
    path: Path,
    columns: dict[str, Any],
    *,
    features: dict[str, Any] | None = None,
    rows_per_group: int = 4,
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(columns)
    if features is not None:
        stated = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": stated})
    pq.write_table(table, path, row_group_size=rows_per_group)
    return path


def images(numbers: Any) -> Any:
    return pa.array([{"bytes": png(n), "path": f"{n}.png"} for n in numbers], IMAGE)


def run_import(source: Path, target: Path, **options: Any) -> ImportReport:
    return import_images(source, target, **{"size": 4, "workers": 1, **options})


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    """The layout of the Hub: 20 images to train on in two files, and 5 others."""
    folder = tmp_path / "hub"
    for name, numbers in (
        ("train-00000-of-00002", range(10)),
        ("train-00001-of-00002", range(10, 20)),
        ("test-00000-of-00001", range(20, 25)),
    ):
        columns = {"image": images(numbers), "label": [n % 2 for n in numbers]}
        write_table(folder / "data" / f"{name}.parquet", columns, features=FEATURES)
    (folder / "README.md").touch()
    return folder


def test_the_hubs_layout_gives_images_classes_and_splits(hub: Path, tmp_path: Path) -> None:
    report = run_import(hub, tmp_path / "set", workers=2)
    assert report.plan.classes == {"cat": 13, "dog": 12}
    assert report.ignored == {".md": 1}
    for sample in read_all(tmp_path / "set"):
        folder, row = str(sample.label["file"]).split("/")
        number = int(row) + (20 if folder == "test" else 0)
        assert sample.label["part"] == ("dog" if number % 2 else "cat")
        assert sample.label["split"] == ("validation" if folder == "test" else "train")
        pixels = decode_image(sample.image, 4, 1, where="x")
        assert pixels[0, 1, 1] == number


@pytest.mark.parametrize("window", [1 << 28, 1, 2000])
def test_the_order_is_a_shuffle_that_needs_few_row_groups(
    hub: Path, tmp_path: Path, window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gantrain.data.importing.parquet._WINDOW", window)
    most = 0
    read = _Reader.read

    def watched(self: _Reader, index: int) -> bytes:
        nonlocal most
        content = read(self, index)
        most = max(most, len(self.loaded))
        return content

    monkeypatch.setattr(_Reader, "read", watched)
    first = run_import(hub, tmp_path / "a").manifest
    assert first.count == 25
    assert most <= {1: 1, 2000: 4}.get(window, 8)
    assert first.identity == run_import(hub, tmp_path / "b").manifest.identity
    assert first.identity != run_import(hub, tmp_path / "c", seed=1).manifest.identity


@pytest.mark.parametrize(
    "columns",
    [
        {"img": [png(1), png(2)], "label": ["cat", "dog"]},
        {"img": images([1, 2]), "fine_label": [7, 8], "coarse_label": [0, 0]},
        {"whatever": images([1, 2]), "class": pa.array(["a", "b"]).dictionary_encode()},
        {"jpg": pa.array([png(1), png(2)], pa.large_binary()), "y": pa.array([0, 1], pa.uint8())},
    ],
)
def test_customary_columns_are_found(tmp_path: Path, columns: dict[str, Any]) -> None:
    report = run_import(write_table(tmp_path / "a.parquet", columns), tmp_path / "set")
    assert report.manifest.count == 2
    assert len(report.plan.classes) == 2
    assert report.plan.rule == "label"


def test_columns_can_be_chosen(tmp_path: Path) -> None:
    columns = {
        "image": images([1, 2]),
        "depth": images([3, 4]),
        "label": [0, 1],
        "kind": ["a", "a"],
    }
    path = write_table(tmp_path / "a.parquet", columns)
    options = SourceOptions(image_column="depth", label_column="kind")
    report = run_import(path, tmp_path / "set", options=options)
    assert report.plan.classes == {"a": 2}
    found = {decode_image(s.image, 4, 1, where="x")[0, 1, 1] for s in read_all(tmp_path / "set")}
    assert found == {3, 4}


def test_images_that_cannot_be_read_are_counted_and_named(tmp_path: Path) -> None:
    values = [
        {"bytes": png(0), "path": None},
        {"bytes": None, "path": "/elsewhere/1.png"},
        {"bytes": None, "path": None},
        None,
        {"bytes": b"text", "path": "a.png"},
    ]
    columns = {"image": pa.array(values, IMAGE), "label": [0, 1, None, -1, 0]}
    path = write_table(tmp_path / "a.parquet", columns, features=FEATURES)
    report = run_import(path, tmp_path / "set")
    assert report.unreadable == (
        ("1", "contains only a path (/elsewhere/1.png), no image"),
        ("2", "contains no image (null)"),
        ("3", "contains no image (null)"),
        ("4", "not an image in a supported format"),
    )
    assert report.plan.classes == {"cat": 2, "dog": 1}
    with pytest.raises(UserError, match=r"a\.parquet: \d: cannot be read"):
        run_import(path, tmp_path / "other", on_error="fail")


def test_a_damaged_row_group_is_unreadable_images(hub: Path, tmp_path: Path) -> None:
    path = hub / "data" / "train-00000-of-00002.parquet"
    metadata = pq.ParquetFile(path).metadata.row_group(1).column(0)
    content = bytearray(path.read_bytes())
    start = metadata.dictionary_page_offset or metadata.data_page_offset
    content[start : start + 40] = b"\xff" * 40
    path.write_bytes(content)
    report = run_import(hub, tmp_path / "set")
    assert [name for name, _ in report.unreadable] == [
        "train/04",
        "train/05",
        "train/06",
        "train/07",
    ]
    assert "its row group is damaged" in report.unreadable[0][1]
    assert report.manifest.count == 21


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        (
            {"text": ["a"], "label": [0]},
            {},
            r"no column of encoded images.* text \(string\), label",
        ),
        ({"image": ["http://a/b.png"]}, {}, r"no column of encoded images.*image \(string\)"),
        ({"image": [[1, 2]]}, {}, r"image \(list<"),
        ({"a": [b"x"], "b": [b"x"]}, {}, r"--image-column\. Its columns: a \(binary\), b"),
        (
            {"image": [b"x"], "label": [0.5]},
            {},
            r"label is double; expected labels.*--label-column",
        ),
        ({"image": [b"x"], "label": [[1]]}, {}, r"label is list<.*expected labels"),
        ({"image": [b"x"]}, {"image_column": "b"}, r"--image-column: there is no column 'b'"),
        ({"image": [b"x"], "n": [1]}, {"image_column": "n"}, r"column n is int64; expected enc"),
        ({"image": [b"x"]}, {"label_column": "b"}, r"--label-column: there is no column 'b'"),
        ({"image": [b"x"], "label": [2]}, {}, r"contains 2, but its metadata names .* 0 to 1"),
        ({"image": pa.array([], pa.binary())}, {}, "contains no rows"),
    ],
)
def test_wrong_columns_are_one_error_that_names_them(
    tmp_path: Path, columns: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    path = write_table(tmp_path / "a.parquet", columns, features=FEATURES)
    with pytest.raises(UserError, match=rf"a\.parquet: .*{message}"):
        run_import(path, tmp_path / "set", options=SourceOptions(**options))
    assert not (tmp_path / "set").exists()


def test_foreign_metadata_is_ignored(tmp_path: Path) -> None:
    for stated in ({"label": 3}, {"label": {"names": "ab"}}, {"label": {"names": [1, None]}}, [1]):
        path = write_table(
            tmp_path / "a.parquet",
            {"image": images([1]), "label": [1]},
            features=stated,  # type: ignore[arg-type]
        )
        assert run_import(path, tmp_path / "set", overwrite=True).plan.classes == {"1": 1}


@pytest.mark.parametrize("content", [b"PAR1", b"text", b"PAR1" + bytes(100) + b"PAR1"])
def test_a_damaged_file_is_one_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.parquet: not a Parquet file, damaged or cut off"):
        run_import(tmp_path / "a.parquet", tmp_path / "set")


def test_files_of_several_sets_or_columns_are_an_error(hub: Path, tmp_path: Path) -> None:
    write_table(hub / "data" / "test-1.parquet", {"image": images([1])})
    with pytest.raises(UserError, match=r"has no column 'label', which .*parquet has"):
        run_import(hub, tmp_path / "set")
    write_table(hub / "other" / "train-0.parquet", {"image": images([1])})
    with pytest.raises(UserError, match=r"several sets, such as data/.* and other/train-0"):
        run_import(hub, tmp_path / "set")


def test_split_folders_are_splits(tmp_path: Path) -> None:
    """The layout of the branch refs/convert/parquet."""
    for split in ("train", "validation", "partial-test"):
        write_table(tmp_path / "in/default" / split / "0000.parquet", {"image": images([1, 2])})
    assert run_import(tmp_path / "in", tmp_path / "set").plan.splits() == {
        "train": 2,
        "validation": 4,
    }


def test_without_pyarrow_the_error_says_what_to_install(hub: Path, tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from gantrain.cli.main import main\n"
        f"main(['data', 'import', {str(hub)!r}, {str(tmp_path / 'set')!r}])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert ended.stderr.endswith("not installed: pip install 'gantrain[parquet]'\n")
    assert ended.stderr.count("\n") == 1
