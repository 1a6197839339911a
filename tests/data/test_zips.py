"""Import of zip archives of images, and of StyleGAN's `dataset.json`."""

import io
import json
import shutil
import struct
import subprocess
import tempfile
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gantrain.common.errors import UserError
from gantrain.data.importing import zips
from gantrain.data.importing.pipeline import ImportReport, import_images
from gantrain.data.importing.sources import SourceOptions
from tests.shard_sets import png, read_all, save_image


def run_import(source: Path, target: Path, **options: Any) -> ImportReport:
    return import_images(source, target, **{"size": 4, "workers": 1, **options})


def content_of(entries: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return file.getvalue()


def write_zip(path: Path, entries: dict[str, bytes], compression: int = 0) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def patch(path: Path, local: int, central: int, format_: str, value: int, which: int = 0) -> None:
    """Overwrite a field of the entry number `which`, in its own header and in the directory."""
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", local), (b"PK\x01\x02", central)):
        start = -1
        for _ in range(which + 1):
            start = content.index(signature, start + 1)
        struct.pack_into(format_, content, start + offset, value)
    path.write_bytes(content)


FILES = {
    "pets/train/cat/1.png": png(1),
    "pets/train/cat/10.png": png(2),
    "pets/train/dog/2.png": png(3),
    "pets/test/dog/1.png": png(4),
    "pets/notes.md": b"",
    "pets/Validation.txt": b"cat\\10.png\n",
    "__MACOSX/pets/train/cat/._1.png": b"x",
    "pets/.cache/1.png": png(5),
    "pets/train/cat/._1.png": b"x",
}


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_archive_gives_what_its_folder_gives(tmp_path: Path, compression: int) -> None:
    archive = write_zip(tmp_path / "pets.zip", FILES, compression)
    shutil.unpack_archive(archive, tmp_path / "unpacked")
    for source, target in ((archive, "a"), (tmp_path / "unpacked" / "pets", "b")):
        report = run_import(source, tmp_path / target)
        assert report.plan.classes == {"cat": 2, "dog": 2}
        assert report.plan.splits() == {"train": 2, "validation": 2}
        assert report.ignored == {".md": 1, ".png": 1}
        assert report.unreadable == ()
    images = [{s.image: s.label["part"] for s in read_all(tmp_path / t)} for t in "ab"]
    assert images[0] == images[1]
    assert not (tmp_path / "pets").exists()


@pytest.mark.skipif(shutil.which("zip") is None, reason="needs the program zip")
def test_archives_of_the_program_zip_are_read(tmp_path: Path) -> None:
    for name in ("cat/1.png", "cat/2.png", "dog/höhe 1.png"):
        save_image(tmp_path / "in" / name)
    subprocess.run(["zip", "-qr", "../a.zip", "."], cwd=tmp_path / "in", check=True)
    assert run_import(tmp_path / "a.zip", tmp_path / "a").plan.classes == {"cat": 2, "dog": 1}
    subprocess.run(["zip", "-qrP", "secret", "../b.zip", "."], cwd=tmp_path / "in", check=True)
    with pytest.raises(UserError, match=r"b\.zip: .*cannot be read \(encrypted; unpack"):
        run_import(tmp_path / "b.zip", tmp_path / "b")


# StyleGAN's dataset.json


STYLEGAN = {f"00000/img0000000{number}.png": png(number) for number in range(4)}


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([[name, number % 2] for number, name in enumerate(STYLEGAN)], {"0": 2, "1": 2}),
        ([[name, [1.0, 0.0]] for name in STYLEGAN], {"0": 4}),
        ([[name.replace("/", "\\"), "cat"] for name in STYLEGAN], {"cat": 4}),
        ([["00000/img00000000.png", 7]], {"7": 1}),
        (None, {}),
        ([], {}),
        ([["of/another/set.png", 3]], {}),
    ],
)
@pytest.mark.parametrize("place", ["", "ffhq/", "folder"])
def test_stylegans_labels_are_classes(
    tmp_path: Path, labels: Any, classes: dict[str, int], place: str
) -> None:
    prefix = "" if place == "folder" else place
    entries = {prefix + name: content for name, content in STYLEGAN.items()}
    entries[f"{prefix}dataset.json"] = json.dumps({"labels": labels}).encode()
    source = write_zip(tmp_path / "ffhq.zip", entries)
    if place == "folder":
        shutil.unpack_archive(source, tmp_path / "ffhq")
        source = tmp_path / "ffhq"
    report = run_import(source, tmp_path / "set")
    assert report.plan.classes == classes
    assert report.plan.rule == ("label" if classes else "none")
    assert run_import(source, tmp_path / "b", classes="none").plan.classes == {}


@pytest.mark.parametrize("label", [0.5, [0.1, 0.9], [1, 1], [], True, None, {}])
def test_labels_that_are_no_classes_are_an_error(tmp_path: Path, label: Any) -> None:
    content = json.dumps({"labels": [["00000/img00000000.png", label]]}).encode()
    archive = write_zip(tmp_path / "a.zip", {**STYLEGAN, "dataset.json": content})
    with pytest.raises(UserError, match=r"a\.zip: dataset\.json: the label of 00000/img00000000"):
        run_import(archive, tmp_path / "set")
    assert run_import(archive, tmp_path / "set", classes="none").manifest.count == 4


@pytest.mark.parametrize(
    "content",
    [b"[1]", b"{}", b'{"labels', b"[" * 100_000, b"\xff", b'{"labels": {"a": 1}}',
     b'{"labels": ["cat", "dog"]}', b'{"labels": {"ab": 1}}', b'{"labels": ["ab", "cd"]}',
     b'{"labels": 3}'],
)  # fmt: skip
def test_a_foreign_dataset_json_is_a_note(tmp_path: Path, content: bytes) -> None:
    archive = write_zip(tmp_path / "a.zip", {**STYLEGAN, "dataset.json": content})
    assert run_import(archive, tmp_path / "set").plan.rule == "none"
    report = json.loads((tmp_path / "set" / "import-report.json").read_text())
    assert "dataset.json is not in StyleGAN's format and was ignored." in report["notes"]


def test_options_for_other_kinds_are_an_error(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "a.zip", STYLEGAN)
    save_image(tmp_path / "in" / "1.png")
    for source in (archive, tmp_path / "in"):
        with pytest.raises(UserError, match="--label-column is for NumPy, CIFAR, Parquet"):
            run_import(source, tmp_path / "set", options=SourceOptions(label_column="label"))


# Bad archives


def test_entries_that_cannot_be_read_are_counted_and_named(tmp_path: Path) -> None:
    names = ["bad crc.png", "big.png", "bzip2.png", "encrypted.png", "good.png", "text.png"]
    path = write_zip(tmp_path / "a.zip", {name: png(0) for name in names[:-1]}, 8)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("text.png", b"text")
        archive.writestr("../../escaped.png", png(1))
        archive.writestr("/etc/absolute.png", png(1))
        archive.writestr("C:/drive.png", png(1))
        archive.writestr("inner.zip", b"PK")
    patch(path, 14, 16, "<I", 1, 0)
    patch(path, 22, 24, "<I", 1 << 31, 1)
    patch(path, 8, 10, "<H", 12, 2)
    patch(path, 6, 8, "<H", 1, 3)
    report = run_import(path, tmp_path / "set", workers=2)
    reasons = dict(report.unreadable)
    assert report.manifest.count == 1
    assert report.ignored == {".zip": 1}
    assert "damaged (Bad CRC-32" in reasons.pop("bad crc.png")
    assert reasons.pop("big.png") == "expands to 2,147 MB, more than the limit of 537 MB"
    assert reasons.pop("bzip2.png") == "compressed in an unusual way; unpack the archive"
    assert reasons.pop("encrypted.png") == "encrypted; unpack the archive with its password"
    assert reasons.pop("text.png") == "not an image in a supported format"
    assert set(reasons) == {"../../escaped.png", "/etc/absolute.png", "C:/drive.png"}
    assert set(reasons.values()) == {"its path leaves the archive"}
    assert not (tmp_path.parent / "escaped.png").exists()
    with pytest.raises(UserError, match="cannot be read"):
        run_import(path, tmp_path / "other", on_error="fail")


def test_an_entry_that_expands_further_than_it_states_is_not_expanded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = {"bomb.png": png(0) + bytes(50_000_000), "good.png": png(1)}
    path = write_zip(tmp_path / "a.zip", entries, zipfile.ZIP_DEFLATED)
    patch(path, 22, 24, "<I", 1000, 0)
    longest = 0
    read = zipfile.ZipExtFile.read

    def measured(self: zipfile.ZipExtFile, n: int | None = -1) -> bytes:
        nonlocal longest
        content = read(self, n)
        longest = max(longest, len(content))
        return content

    monkeypatch.setattr(zipfile.ZipExtFile, "read", measured)
    report = run_import(path, tmp_path / "set")
    assert [name for name, _ in report.unreadable] == ["bomb.png"]
    assert "damaged (Bad CRC-32" in report.unreadable[0][1]
    assert longest <= 1 << 20


def test_an_archive_that_states_to_fill_the_disk_is_an_error(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {f"{number}.png": png(0) for number in range(30)})
    for number in range(30):
        patch(path, 22, 24, "<I", 500_000_000, number)
    with pytest.raises(UserError, match=r"expands to 15 GB, .*zip bomb"):
        run_import(path, tmp_path / "set")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "an empty file"),
        (b"PK\x03\x04" + bytes(100), "not a zip file, damaged or cut off"),
        (content_of(FILES)[:-40], "cut off"),
    ],
)
def test_a_damaged_archive_is_one_error(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(UserError, match=rf"a\.zip: .*{message}"):
        run_import(tmp_path / "a.zip", tmp_path / "set")


def test_an_archive_without_images_says_what_it_contains(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"b.zip": b"", "c.zip": b"", "README": b""})
    with pytest.raises(UserError, match=r"no image files \(2 \.zip, 1 without suffix\)"):
        run_import(path, tmp_path / "set")
    with pytest.raises(UserError, match="it is empty"):
        run_import(write_zip(path, {}), tmp_path / "set")
    with pytest.raises(UserError, match=r"\.\./1\.png: its path leaves"):
        run_import(write_zip(path, {"../1.png": png(0)}), tmp_path / "set")
    write_zip(tmp_path / "b.zip", FILES)
    with pytest.raises(UserError, match=r"contains 2 zip archives, such as a\.zip"):
        run_import(tmp_path, tmp_path / "set")


@settings(max_examples=150, deadline=None)
@given(position=st.integers(0, 900), change=st.binary(max_size=8), end=st.integers(0, 1200))
def test_any_bytes_are_images_or_one_error(position: int, change: bytes, end: int) -> None:
    whole = content_of({"a/1.png": png(1), "b/2.png": png(2), "dataset.json": b'{"labels": null}'})
    content = (whole[:position] + change + whole[position + len(change) :])[: max(end, 200)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.zip")
        path.write_bytes(content)
        with suppress(UserError), zips.open_archive(path, [path], SourceOptions()) as source:
            for index in range(len(source.names)):
                with suppress(UserError):
                    source.content(index)
