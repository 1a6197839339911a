"""What is found in other tools' tars, compared with webdataset's own reader."""

import bz2
import gzip
import io
import json
import lzma
import random
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gantrain.common.errors import UserError
from gantrain.data.importing.detection import open_source
from gantrain.data.importing.pipeline import import_images
from gantrain.data.importing.planning import plan_labels
from gantrain.data.importing.sources import FileRange, Source, SourceOptions
from gantrain.data.importing.tar_images import choose_image
from gantrain.data.importing.tar_scan import ScanOptions, TarScan, scan_tar
from gantrain.data.importing.tars import gather, has_name
from tests.foreign_tars import encoded, numbered_tars, read_with_webdataset
from tests.shard_sets import read_all

IMG2DATASET = Path(__file__).parent / "img2dataset" / "00000.tar"
LONG = "l" * 130
# Names of files as people have them.
NAMES = {
    "train/n01440764/img.1.jpg": encoded(1, "jpg"),
    "train/n01440764/img.cls": b"0",
    "train/n01443537/Fish.JPG": encoded(2, "jpg"),
    "train/n01443537/Fish.seg.png": encoded(9),
    "v1.5/über.webp": encoded(3, "webp"),
    "v1.5/über.json": b'{"label": "x"}',
    f"{LONG}.jpeg": encoded(4, "jpg"),
    "a/" * 60 + "deep.png": encoded(5),
    "only.txt": b"text",
}
IMAGES = ["1.jpg", "jpg", "webp", "jpeg", "png"]


def with_gnu_tar(form: str) -> Callable[[Path, Path, list[str]], None]:
    def write(files: Path, path: Path, names: list[str]) -> None:
        command = ["tar", "-C", str(files), f"--format={form}", "-cf", str(path), "--", *names]
        subprocess.run(command, check=True, env={"LC_ALL": "C.UTF-8"})

    return write


def with_bsdtar(form: str) -> Callable[[Path, Path, list[str]], None]:
    def write(files: Path, path: Path, names: list[str]) -> None:
        if shutil.which("bsdtar") is None:
            pytest.skip("bsdtar is not installed")
        command = ["bsdtar", "-C", str(files), f"--format={form}", "-cf", str(path), "--", *names]
        subprocess.run(command, check=True, env={"LC_ALL": "C.UTF-8"})

    return write


def with_tarfile(form: int) -> Callable[[Path, Path, list[str]], None]:
    def write(files: Path, path: Path, names: list[str]) -> None:
        with tarfile.open(path, "w", format=form) as tar:
            for name in names:
                tar.add(files / name, f"./{name}")

    return write


def with_webdataset(files: Path, path: Path, names: list[str]) -> None:
    groups: dict[str, dict[str, Any]] = {}
    for name in names:
        key, extension = webdataset.tariterators.base_plus_ext(name)
        groups.setdefault(key, {"__key__": key})[extension] = (files / name).read_bytes()
    with webdataset.TarWriter(str(path), encoder=False) as writer:
        for each in groups.values():
            writer.write(each)


def with_shard_writer(files: Path, path: Path, names: list[str]) -> None:
    with_webdataset(files, path, names)
    samples = read_with_webdataset(path)
    path.unlink()
    pattern = str(path.parent / "%d.tar")
    with webdataset.ShardWriter(pattern, verbose=False, encoder=False) as writer:
        for each in samples:
            writer.write({k: v for k, v in each.items() if k != "__local_path__"})
    (path.parent / "0.tar").rename(path)


WRITERS = {
    **{f"GNU tar {form}": with_gnu_tar(form) for form in ("gnu", "pax", "oldgnu")},
    **{f"bsdtar {form}": with_bsdtar(form) for form in ("gnutar", "pax")},
    "tarfile GNU": with_tarfile(tarfile.GNU_FORMAT),
    "tarfile pax": with_tarfile(tarfile.PAX_FORMAT),
    "TarWriter": with_webdataset,
    "ShardWriter": with_shard_writer,
}


@pytest.mark.parametrize("tool", WRITERS)
def test_samples_are_those_that_webdataset_reads(tool: str, tmp_path: Path) -> None:
    files = tmp_path / "files"
    for name, content in NAMES.items():
        (files / name).parent.mkdir(parents=True, exist_ok=True)
        (files / name).write_bytes(content)
    path = tmp_path / "a.tar"
    WRITERS[tool](files, path, list(NAMES))
    scan = scan_tar(path, ScanOptions())
    check_against_webdataset(scan)
    assert [image.stated.get(".cls") for image in scan.images] == ["0", None, None, None, None]
    assert scan.images[2].stated == {"label": "x"}
    assert dict(scan.chosen) == dict.fromkeys(IMAGES, 1)
    assert dict(scan.aside) == {"seg.png": 1}
    assert scan.without_image == 1
    assert scan.damage == ""


def check_against_webdataset(scan: TarScan) -> None:
    content = scan.path.read_bytes()
    found = [content[image.offset : image.offset + image.length] for image in scan.images]
    expected = []
    for sample in read_with_webdataset(scan.path):
        extension = choose_image([k for k in sample if not k.startswith("__")], None)
        if extension is not None and sample[extension]:
            expected.append((sample["__key__"].removeprefix("./"), sample[extension]))
    assert found == [image for _, image in expected]
    names = [image.name.removeprefix("./") for image in scan.images]
    assert all(n.startswith(f"{key}.") for n, (key, _) in zip(names, expected, strict=True))


members = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "x/a", "x.d/b.1"]),
        st.sampled_from(["jpg", "PNG", "cls", "json", "seg.png", "txt", "1.jpg"]),
        st.integers(0, 3),
    ),
    max_size=12,
    unique_by=lambda each: each[:2],  # webdataset raises an error for a repeated name
)


@settings(max_examples=60, deadline=None)
@given(members)
def test_any_samples_are_those_that_webdataset_reads(members: list[tuple[str, str, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.tar"
        write_tar(path, [(f"{key}.{end}", bytes([n]) * n) for key, end, n in members])
        if any(n for _, _, n in members):
            scan = scan_tar(path, ScanOptions())
            check_against_webdataset(scan)
            groups = read_with_webdataset(path)
            assert sum(scan.chosen.values()) + scan.without_image == len(groups)


def write_tar(path: Path, files: list[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize(
    ("extensions", "wanted", "chosen"),
    [
        (["json", "png", "jpg", "txt"], None, "jpg"),
        (["seg.png", "webp"], None, "webp"),
        (["seg.png", "depth.png", "cls"], None, "seg.png"),
        (["bmp", "png"], None, "png"),
        (["jpg", "seg.png"], "seg.png", "seg.png"),
        (["png", "jpg"], ".JPG", "jpg"),
        (["jpg"], "png", None),
        (["txt", "json"], None, None),
    ],
)
def test_which_member_is_the_image(
    extensions: list[str], wanted: str | None, chosen: str | None
) -> None:
    assert choose_image(extensions, wanted) == chosen


def test_img2datasets_own_tar_is_read() -> None:
    """Written by img2dataset 1.47 from a table with the columns url, caption and label."""
    scan = scan_tar(IMG2DATASET, ScanOptions())
    check_against_webdataset(scan)
    found = gather([scan], ScanOptions())
    assert found.labels is not None
    expected = [json.loads(each["json"])["label"] for each in read_with_webdataset(IMG2DATASET)]
    assert found.labels.classes == expected == ["cat", "cat", "dog", "cat", "dog"]


def test_the_tables_of_img2dataset_beside_its_tars_are_no_images(tmp_path: Path) -> None:
    shutil.copy(IMG2DATASET, tmp_path)
    (tmp_path / "00000.parquet").write_bytes(b"PAR1")
    (tmp_path / "00000_stats.json").write_bytes(b"{}")
    with open_source(tmp_path) as source:
        assert source.kind == "webdataset tars (00000.tar)"
        assert source.ignored[".parquet"] == 1
    (tmp_path / "other.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match="files of several kinds"):
        open_source(tmp_path)


def test_members_that_are_no_samples_are_passed_over(tmp_path: Path) -> None:
    """Folders, links, a sparse file, hidden files, names that are not UTF-8, a repeated key."""
    files = tmp_path / "files"
    files.mkdir()
    (files / "a.png").write_bytes(encoded(1))
    (files / "link.png").symlink_to("a.png")
    (files / "hard.png").hardlink_to(files / "a.png")
    (files / "README").write_bytes(b"x")
    (files / "._a.png").write_bytes(b"x")
    with (files / "sparse.png").open("wb") as file:
        file.truncate(1 << 20)
    (files / "caf\udce9.png").write_bytes(encoded(2))
    path = tmp_path / "a.tar"
    names = [".", "./a.png", "./hard.png", "./link.png", "./README", "./._a.png", "./sparse.png",
             "./caf\udce9.png", "./a.png"]  # fmt: skip
    command = [
        "tar",
        "-C",
        str(files),
        "--no-recursion",
        "--hard-dereference",
        "-S",
        "-cf",
        str(path),
    ]
    subprocess.run([*command, *names[:2], *names[3:]], check=True)
    with tarfile.open(path, "a") as tar:
        member = tarfile.TarInfo("hard.png")
        member.type, member.linkname = tarfile.LNKTYPE, "a.png"
        tar.addfile(member)
    scan = scan_tar(path, ScanOptions())
    assert [image.name for image in scan.images] == ["./a.png", "./caf\\xe9.png", "./a.png"]
    assert scan.passed_over == {
        "folders": 1, "links": 2, "sparse files": 1, "files without a key or an extension": 2
    }  # fmt: skip
    assert scan.repeated == 1
    found = gather([scan], ScanOptions())
    assert found.names == ["./a.png", "./caf\\xe9.png", "./a-2.png"]
    assert "1 images have the key of an earlier one in the same tar; all are used." in found.notes


def test_samples_whose_members_are_apart_are_pointed_out(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", [("a.png", encoded(1)), ("b.png", encoded(2)),
                                          ("a.cls", b"0"), ("b.cls", b"1")])  # fmt: skip
    found = gather([scan_tar(path, ScanOptions())], ScanOptions())
    assert found.labels is None
    assert "2 times the members of a sample are apart in its tar" in " ".join(found.notes)


@pytest.mark.parametrize(
    ("files", "label", "classes"),
    [
        ({"cls": b"3\n"}, None, "3"),
        ({"cls": b" Cat "}, None, "Cat"),
        ({"json": b'{"label": 7, "id": 1}'}, None, "7"),
        ({"json": b'{"label": 2.0}'}, None, "2"),
        ({"json": b'{"label": 3, "class_name": "cat"}'}, None, "cat"),
        ({"json": b'{"label": 3, "class_name": "cat"}'}, "label", "3"),
        ({"json": b'{"label": 3, "class_name": ["cat", "dog"]}'}, None, "3"),
        ({"json": b'{"cls": "x"}', "cls": b"y"}, "cls", "y"),
        ({"json": b'{"meta": {"kind": "dog"}}'}, "meta.kind", "dog"),
        ({"json": b'{"meta.kind": "dog"}'}, "meta.kind", "dog"),
        ({"txt": b"a caption"}, None, None),
        ({"txt": b"tulip"}, "txt", "tulip"),
        ({"cls": b"1", "json": b'{"label": "x"}'}, None, "1"),
        ({"json": b"[1]"}, None, None),
        ({"json": b"{"}, None, None),
        ({"json": b'{"label": null}'}, None, None),
        ({"cls": b"\xff\xfe"}, None, None),
        ({"cls": b"two\nlines"}, None, None),
        ({"json": b'{"label": true}'}, None, None),
    ],
)
def test_stated_classes(
    files: dict[str, bytes], label: str | None, classes: str | None, tmp_path: Path
) -> None:
    members = [("a.jpg", encoded(1, "jpg")), *((f"a.{end}", each) for end, each in files.items())]
    options = ScanOptions(label=label)
    found = gather([scan_tar(write_tar(tmp_path / "a.tar", members), options)], options)
    assert (found.labels.classes if found.labels else [None]) == [classes]


def test_splits_come_from_folders_names_of_tars_and_json(tmp_path: Path) -> None:
    for name in ("set-train-000", "set-train-001", "set-val-000"):
        write_tar(tmp_path / f"{name}.tar", [(f"cat/{name}.png", encoded(1))])
    scans = [scan_tar(path, ScanOptions()) for path in sorted(tmp_path.iterdir())]
    plan = plan_labels(gather(scans, ScanOptions()).names)
    assert plan.splits() == {"train": 2, "validation": 1}
    files = []
    for n, split in enumerate(("train", "test", "train")):
        files += [(f"{n}.png", encoded(n)), (f"{n}.json", json.dumps({"split": split}).encode())]
    scan = scan_tar(write_tar(tmp_path / "own.tar", files), ScanOptions())
    plan = plan_labels(gather([scan], ScanOptions()).names)
    assert plan.splits() == {"train": 2, "validation": 1}
    assert plan.labels["test/1.png"]["split"] == "validation"


def test_class_folders_in_keys_are_classes(tmp_path: Path) -> None:
    files = [(f"{split}/{kind}/{n}.png", encoded(n)) for split in ("train", "val")
             for kind in ("cat", "dog") for n in range(2)]  # fmt: skip
    found = gather([scan_tar(write_tar(tmp_path / "a.tar", files), ScanOptions())], ScanOptions())
    plan = plan_labels(found.names)
    assert plan.classes == {"cat": 4, "dog": 4}
    assert plan.splits() == {"train": 4, "validation": 4}


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "tar.gz": gzip.compress,
    "tgz": gzip.compress,
    "tar.bz2": bz2.compress,
    "tar.xz": lzma.compress,
}


@pytest.mark.parametrize("ending", ["tar", *COMPRESSIONS])
def test_imported_tars_have_the_images_that_webdataset_reads(ending: str, tmp_path: Path) -> None:
    folder = numbered_tars(tmp_path / "in")
    samples = [each for path in sorted(folder.iterdir()) for each in read_with_webdataset(path)]
    for path in list(folder.iterdir()):
        if ending in COMPRESSIONS:
            compressed = COMPRESSIONS[ending](path.read_bytes())
            path.with_suffix(f".{ending}").write_bytes(compressed)
            path.unlink()
    report = import_images(folder, tmp_path / "set", size=32, workers=1)
    assert report.plan.classes == {"a": 12, "b": 11}
    assert not report.unreadable
    written = {sample.label["file"]: sample for sample in read_all(tmp_path / "set")}
    assert len(written) == len(samples)
    for row, sample in enumerate(samples):
        extension = next(e for e in ("jpg", "png", "webp") if e in sample)
        ours = written[f"{sample['__key__']}.{extension}"]
        assert ours.label["part"] == sample["cls"].decode()
        with Image.open(io.BytesIO(ours.image)) as image:
            assert image.getextrema() == (row + 1, row + 1)


def test_compressed_tars_are_streamed_and_others_read_at_random(tmp_path: Path) -> None:
    folder = numbered_tars(tmp_path / "in", (50,))
    with open_source(folder) as source:
        assert isinstance(source.content(3), FileRange)
        assert source.order(50, random.Random(0)) != list(range(50))
    path = tmp_path / "a.tgz"
    path.write_bytes(gzip.compress((folder / "000.tar").read_bytes()))
    with open_source(path) as source:
        assert source.order(50, random.Random(0)) == list(range(50))
        assert contents(source) == [
            next(each[e] for e in ("jpg", "png", "webp") if e in each)
            for each in read_with_webdataset(folder / "000.tar")
        ]


def contents(source: Source) -> list[Any]:
    return [source.content(i) for i in range(len(source.names))]


def test_a_compressed_tar_that_is_cut_short_gives_what_precedes_the_damage(tmp_path: Path) -> None:
    folder = numbered_tars(tmp_path / "in", (30,))
    random_bytes = random.Random(0).randbytes(200_000)  # which do not compress
    with tarfile.open(folder / "000.tar", "a") as tar:
        member = tarfile.TarInfo("last.png")
        member.size = len(random_bytes)
        tar.addfile(member, io.BytesIO(random_bytes))
    whole = gzip.compress((folder / "000.tar").read_bytes())
    (tmp_path / "a.tar.gz").write_bytes(whole[: len(whole) - 50_000])
    report = import_images(tmp_path / "a.tar.gz", tmp_path / "set", size=32, workers=1)
    assert report.manifest.count == 30
    ((name, reason),) = report.unreadable
    assert name == "a.tar.gz"
    assert "cut short or broken at last.png" in reason


def test_import_takes_the_label_and_the_image_that_it_is_told(tmp_path: Path) -> None:
    files = [("a.jpg", encoded(1, "jpg")), ("a.seg.png", encoded(99)), ("a.json", b'{"k": "z"}')]
    path = write_tar(tmp_path / "a.tar", files)
    options = SourceOptions(image_column="seg.png", label_column="k")
    import_images(path, tmp_path / "set", size=32, workers=1, options=options)
    (sample,) = read_all(tmp_path / "set")
    assert sample.label["part"] == "z"
    with Image.open(io.BytesIO(sample.image)) as image:
        assert image.getextrema() == (99, 99)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a tar"),
        (b"x" * 2000, "not a tar"),
        (b"\x1f\x8b" + b"x" * 100, "not a tar"),
        (b"\x28\xb5\x2f\xfd" + b"x" * 100, "Zstandard; decompress it first"),
    ],
)
def test_a_file_that_is_no_tar_is_one_error(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(content)
    with pytest.raises(UserError, match=words) as error:
        gather([scan_tar(path, ScanOptions())], ScanOptions())
    assert str(path) in str(error.value)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_bomb_in_a_header_is_not_read_into_memory(kind: bytes, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tgz", "w:gz") as tar:
        for name, content in (("a.png", encoded(1)), ("bomb", bytes(2 << 20))):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            member.type = kind if name == "bomb" else tarfile.REGTYPE
            tar.addfile(member, io.BytesIO(content))
    scan = scan_tar(tmp_path / "a.tgz", ScanOptions())
    assert "an extended header of 2097152 bytes" in scan.damage
    assert [image.name for image in scan.images] == ["a.png"]


def test_names_of_tars() -> None:
    good = ["a.tar", "x.TAR", "a.tar.gz", "a.tgz", "b.tbz2", "c.txz"]
    assert all(map(has_name, good))
    assert not any(map(has_name, ["a.gz", ".tar", "a.tar.part", "a.tar.zst"]))
