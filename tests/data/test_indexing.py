"""Tars by other tools, trained on in place: the same batches as from imported images, in both
modes, from any position, for any number of ranks, and the same handling of faults."""

import io
import itertools
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gantrain.common.errors import UserError
from gantrain.common.rng import PositionalRNG
from gantrain.data.images.convert import Conversion, read_image
from gantrain.data.importing.pipeline import import_images
from gantrain.data.indexing.patterns import find_tars
from gantrain.data.loading.labelled import open_labelled_dataset
from gantrain.data.shards.contact_sheet import save_contact_sheet
from gantrain.data.shards.image_index import ImageIndex
from gantrain.data.shards.manifest import Manifest, load_manifest, read_manifest
from gantrain.data.shards.verify import verify_shards
from tests.conftest import small_tree
from tests.foreign_tars import (
    CONVERSION,
    encoded,
    import_by_webdataset,
    index,
    indexed_tars,
    numbered_tars,
    read_with_webdataset,
)
from tests.launching import write_config
from tests.numbered import CPU, data_config, flip_byte, open_numbered, read_numbers
from tests.shard_sets import names_in
from tests.unreliable_server import serving

MODES = pytest.mark.parametrize("mode", ["cache", "stream"])
COUNT = 23


@pytest.fixture(scope="module")
def tars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """23 images in three indexed tars."""
    return indexed_tars(tmp_path_factory.mktemp("foreign") / "set")


@pytest.fixture
def copy(tars: Path, tmp_path: Path) -> Path:
    """A set of its own for a test that damages it."""
    return Path(shutil.copytree(tars, tmp_path / "copy"))


@MODES
@pytest.mark.parametrize(
    "selection", [{}, {"classes": ["b"]}, {"limit": 9}, {"held_out": 0.25, "classes": ["a"]}]
)
def test_batches_are_those_of_the_imported_images(
    mode: str, selection: dict[str, Any], tars: Path, tmp_path: Path
) -> None:
    own = import_by_webdataset(tars, tmp_path / "own")
    batches = []
    for folder in (tars, own):
        dataset = open_numbered(folder, tmp_path / "scratch", mode=mode, **selection)
        of_ranks = [
            dataset.batches(rng, 8, CPU, torch.channels_last)
            for rng in (PositionalRNG(5, 3, 4), PositionalRNG(5, 7, 4))
        ]
        batches.append([[b.images for b in itertools.islice(each, 9)] for each in of_ranks])
    for ours, theirs in zip(*batches, strict=True):
        assert len(ours) == 9
        for a, b in zip(ours, theirs, strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize(("fit", "channels"), [("pad", 3), ("stretch", 1), ("crop", 3)])
def test_images_are_converted_as_by_an_import(fit: str, channels: int, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 4), np.uint8)
    with tarfile.open(folder / "a.tar", "w") as tar:
        for n, form in enumerate(("png", "webp")):
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, form, lossless=True)
            member = tarfile.TarInfo(f"{n}.{form}")
            member.size = len(file.getvalue())
            tar.addfile(member, io.BytesIO(file.getvalue()))
    conversion = Conversion(32, channels, (9, 200, 30), fit)  # type: ignore[arg-type]
    index(folder, conversion)
    config = data_config(folder, tmp_path, mode="cache", channels=channels)
    images = open_labelled_dataset(config).images.numpy()
    for row, sample in enumerate(read_with_webdataset(folder / "a.tar")):
        content = sample.get("png") or sample["webp"]
        np.testing.assert_array_equal(images[row], read_image(content, conversion))


@MODES
def test_worker_processes_and_ranks_yield_one_sequence(
    mode: str, tars: Path, tmp_path: Path
) -> None:
    dataset = open_numbered(tars, tmp_path, mode=mode)
    single = read_numbers(dataset, steps=70)
    assert sorted(single[:COUNT]) == list(range(COUNT))
    assert read_numbers(dataset, steps=5, ranks=3, local_batch_size=4, start=10) == single[10:70]
    parallel = open_numbered(tars, tmp_path, mode=mode, workers=2)
    assert read_numbers(parallel, steps=6, local_batch_size=5, start=4) == single[4:34]


def test_the_training_is_that_on_imported_images(tars: Path, tmp_path: Path) -> None:
    from gantrain.train import main

    own = import_by_webdataset(tars, tmp_path / "own")
    logged = []
    for name, folder, mode in (
        ("indexed", tars, "cache"),
        ("streamed", tars, "stream"),
        ("imported", own, "cache"),
        ("streamed-own", own, "stream"),
    ):
        tree = small_tree(folder, tmp_path / name, metrics={"every_kimg": 0})
        tree["data"] |= {"mode": mode, "workers": 0}
        assert main(["--config", str(write_config(tmp_path / f"{name}.yaml", tree))]) == 0
        lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        logged.append([
            {k: v for k, v in json.loads(line).items() if k.startswith("loss/")} for line in lines
        ])  # fmt: skip
    assert "loss/generator" in logged[0][0]
    assert logged[0] == logged[2]
    assert logged[1] == logged[3]


@MODES
def test_a_remote_set_is_read_like_a_local_one(mode: str, tars: Path, tmp_path: Path) -> None:
    local = read_numbers(open_numbered(tars, tmp_path / "local", mode=mode), steps=30)
    with serving(tars) as server:
        server.failures["001.index"] = ["503", "flip"]
        for _ in range(2):  # the second time from the scratch
            remote = open_numbered(server.address, tmp_path / "scratch", mode=mode)
            assert read_numbers(remote, steps=30) == local
        assert server.requests["001.tar"] == 1
        assert server.requests["001.index"] == 3


def middle(folder: Path) -> tuple[Path, ImageIndex]:
    entry = load_manifest(folder).shards[1]
    content = (folder / entry.index_name).read_bytes()
    return folder / entry.name, ImageIndex.from_bytes(content, entry.count, entry.bytes)


def remove_tar(folder: Path) -> None:
    (folder / "001.tar").unlink()


def truncate_tar(folder: Path) -> None:
    path, found = middle(folder)
    os.truncate(path, int(found.ranges[4, 0]))


def flip_image_byte(folder: Path) -> None:
    path, found = middle(folder)
    flip_byte(path, int(found.ranges[4].sum()) - 20)


def replace_tar(folder: Path) -> None:
    path, _ = middle(folder)
    path.write_bytes(bytes(path.stat().st_size))


def remove_index(folder: Path) -> None:
    (folder / "001.index").unlink()


def flip_index_byte(folder: Path) -> None:
    flip_byte(folder / "001.index", 700)


# The damage, what the error names, and the images that are lost.
DAMAGES: list[Any] = [
    pytest.param(remove_tar, "001.tar", set(range(10, 20)), id="missing"),
    pytest.param(truncate_tar, "001.tar", set(range(14, 20)), id="truncated"),
    pytest.param(flip_image_byte, "folder/014.webp", {14}, id="flipped byte"),
    pytest.param(replace_tar, "001.tar", set(range(10, 20)), id="replaced"),
    pytest.param(remove_index, "001.index", set(range(10, 20)), id="no index"),
    pytest.param(flip_index_byte, "001.index", set(range(10, 20)), id="flipped index"),
]


@MODES
@pytest.mark.parametrize(("damage", "where", "lost"), DAMAGES)
def test_a_fault_is_one_error_or_skipped_and_counted(
    mode: str,
    damage: Callable[[Path], None],
    where: str,
    lost: set[int],
    copy: Path,
    tmp_path: Path,
) -> None:
    damage(copy)
    with pytest.raises(UserError) as error:
        read_numbers(open_numbered(copy, tmp_path / "scratch", mode=mode), steps=COUNT)
    assert where in str(error.value)
    assert "gantrain data index" in str(error.value)
    assert "\n" not in str(error.value)
    dataset = open_numbered(copy, tmp_path / "scratch", mode=mode, on_error="skip")
    numbers = read_numbers(dataset, steps=3 * COUNT)
    assert set(numbers) == set(range(COUNT)) - lost
    assert dataset.log.images == len(lost)
    assert sum(where in str(fault) for fault in dataset.log.faults) == 1
    assert [where in problem for problem in verify_shards(copy, workers=1).problems] == [True]


def test_an_image_that_changes_after_the_tar_was_checked_is_noticed(
    copy: Path, tmp_path: Path
) -> None:
    read_numbers(open_numbered(copy, tmp_path / "scratch", mode="stream"), steps=COUNT)
    flip_image_byte(copy)
    dataset = open_numbered(copy, tmp_path / "scratch", mode="stream", on_error="skip")
    assert 14 not in read_numbers(dataset, steps=COUNT)
    assert "folder/014.webp" in dataset.log.faults[0].where


def test_verify_finds_a_change_outside_of_the_images(copy: Path, tmp_path: Path) -> None:
    content = (copy / "001.tar").read_bytes()
    (copy / "001.tar").write_bytes(content.replace(b"a caption", b"A caption", 1))
    (problem,) = verify_shards(copy, workers=1).problems
    assert problem == f"{copy / '001.tar'}: its bytes have changed since it was indexed"
    dataset = open_numbered(copy, tmp_path / "scratch", mode="cache")
    assert sorted(read_numbers(dataset, steps=COUNT)) == list(range(COUNT))


def test_verify_labels_and_contact_sheet_work(tars: Path, tmp_path: Path) -> None:
    report = verify_shards(tars, workers=1)
    assert report.ok
    assert report.images == COUNT
    labelled = open_labelled_dataset(data_config(tars, tmp_path, classes=["b"]))
    assert labelled.key(int(labelled.rows[0])) == "folder/001"
    assert labelled.labels(labelled.rows[:1]) == [
        {"part": "b", "name": "b", "split": "train", "file": "folder/001.png"}
    ]
    assert save_contact_sheet(tars, read_manifest(tars), tmp_path / "sheet.png") == COUNT


def test_the_identity_covers_images_labels_and_conversion(tmp_path: Path) -> None:
    folder = numbered_tars(tmp_path / "set")
    identities, contents = set(), set()
    settings: list[tuple[Conversion, dict[str, Any]]] = [
        (CONVERSION, {}),
        (CONVERSION, {"classes": "none"}),
        (Conversion(32, 1, fit="stretch"), {}),
        (Conversion(32, 1, background=(1, 2, 3)), {}),
        (Conversion(64, 1), {}),
    ]
    for conversion, options in settings:
        manifest = index(folder, conversion, overwrite=True, **options).manifest
        assert read_manifest(folder) == manifest
        identities.add(manifest.identity)
        contents.add(manifest.summary.content)
    assert len(identities) == len(contents) == len(settings)


def test_indexing_again_gives_the_same_files(tmp_path: Path) -> None:
    folder = indexed_tars(tmp_path / "set")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(UserError, match=r"manifest\.json: exists already; .* --overwrite"):
        index(folder)
    index(folder, overwrite=True)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    (folder / "002.tar").unlink()
    index(folder, overwrite=True)
    assert "002.index" not in names_in(folder)
    assert verify_shards(folder, workers=1).ok


def test_a_full_disk_keeps_the_old_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = indexed_tars(tmp_path / "set")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    original = Path.write_bytes

    def write_bytes(path: Path, content: bytes) -> int:
        if "002.index" in path.name:
            raise OSError(28, "No space left on device")
        return original(path, content)

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    with pytest.raises(UserError, match="No space left"):
        index(folder, Conversion(64, 1), overwrite=True)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_an_import_never_replaces_indexed_tars(copy: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "1.png").write_bytes(encoded(1))
    before = names_in(copy)
    with pytest.raises(UserError, match="not a set of shards"):
        import_images(tmp_path / "images", copy, size=32, workers=1, overwrite=True)
    assert names_in(copy) == before


def test_tars_that_were_not_indexed_are_no_problem(copy: Path, tmp_path: Path) -> None:
    shutil.copy(copy / "000.tar", copy / "other.tar")
    assert open_numbered(copy, tmp_path / "scratch", mode="cache").total == COUNT
    assert verify_shards(copy, workers=1).ok


def test_our_own_sets_have_no_fields_of_indexed_ones(tars: Path, tmp_path: Path) -> None:
    manifest = json.loads(read_manifest(import_by_webdataset(tars, tmp_path / "own")).to_json())
    assert manifest.keys() == {
        *("version", "source", "size", "channels", "count", "distinct", "classes", "splits"),
        "shards",
    }
    assert manifest["shards"][0].keys() == {"name", "count", "bytes", "sha256"}
    for change in ({"version": 2}, {"conversion": {"fit": "crop", "background": [0, 0, 0],
                                                   "max_megapixels": 1.0}}):  # fmt: skip
        with pytest.raises(ValueError, match="version"):
            Manifest.model_validate_json(json.dumps(manifest | change))


def test_what_cannot_be_read_is_named_and_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    members = {
        "good.png": encoded(1), "good.cls": b"0",
        "empty.png": b"", "empty.cls": b"0",
        "half.jpg": encoded(2, "jpg")[:300],
        "huge.png": encoded(3, size=(2000, 1000)),
        "text.png": b"no image",
        "alone.json": b"{}", "alone.txt": b"x",
    }  # fmt: skip
    write_tar(folder / "a.tar", members)
    write_tar(folder / "b.tar", {"x.txt": b"x"})
    write_tar(folder / "c.tar", {f"c{n}.png": encoded(n) for n in range(9)})
    os.truncate(folder / "c.tar", (folder / "c.tar").stat().st_size // 2)
    report = index(folder, Conversion(32, 1, max_megapixels=1))
    problems = dict(report.unreadable)
    assert problems.keys() == {
        *("a.tar/empty.png", "a.tar/half.jpg", "a.tar/huge.png", "a.tar/text.png"),
        *("b.tar", "c.tar"),
    }
    assert "more than the limit" in problems["a.tar/huge.png"]
    assert "cut short or broken" in problems["c.tar"]
    assert "no image in it can be used" in problems["b.tar"]
    assert [entry.name for entry in report.manifest.shards] == ["a.tar", "c.tar"]
    assert report.manifest.shards[0].count == 1
    assert 1 <= report.manifest.shards[1].count < 9
    assert verify_shards(folder, workers=1).ok


def write_tar(path: Path, members: dict[str, bytes], form: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=form) as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_tar_with_any_damage_is_an_error_or_a_valid_set(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        members: dict[str, bytes] = {}
        for key in ("l" * 110, "b", "c"):
            members |= {f"{key}.png": encoded(1), f"{key}.json": b'{"label": 1}'}
        form = data.draw(st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]))
        content = bytearray(write_tar(folder / "a.tar", members, form).read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            block = data.draw(st.integers(0, len(content) // 512 - 1))
            content[512 * block + data.draw(st.integers(0, 160))] = data.draw(st.integers(0, 255))
        for start in range(0, len(content), 512):  # so that more than the checksum is wrong
            if content[start + 257 : start + 262] == b"ustar":
                content[start + 148 : start + 156] = b" " * 8
                checksum = sum(content[start : start + 512])
                content[start + 148 : start + 156] = b"%06o\0 " % checksum
        (folder / "a.tar").write_bytes(content[: data.draw(st.integers(1, len(content)))])
        error = None
        try:
            index(folder)
        except UserError as raised:
            error = str(raised)
        if error is None:
            assert verify_shards(folder, workers=1).problems == ()
        else:
            assert "\n" not in error
            assert names_in(folder) == ["a.tar"]


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"a.txt": b"x", "a.json": b"{}", "b.txt": b"y"}, "none of its 2 samples has an image"),
        ({"README": b"x"}, "a tar without samples"),
        ({"a.png": b"x", "b.png": b"y"}, "cannot be read (not an image in a supported format)"),
        ({"a.png": b""}, "an empty file; no image can be read"),
        ({}, "a tar without samples; it contains nothing"),
    ],
)
def test_tars_without_a_usable_image_are_one_error(
    members: dict[str, bytes], words: str, tmp_path: Path
) -> None:
    path = write_tar(tmp_path / "a.tar", members)
    with pytest.raises(UserError) as error:
        index(tmp_path)
    assert words in str(error.value)
    assert str(path)[:-4] in str(error.value)
    assert names_in(tmp_path) == ["a.tar"]


def test_labels_that_are_neither_names_nor_integers(tmp_path: Path) -> None:
    label = b'{"label": [0, 1], "other": 2}'
    write_tar(tmp_path / "a.tar", {"a.png": encoded(1), "a.json": label,
                                   "b.png": encoded(2), "b.json": label})  # fmt: skip
    with pytest.raises(
        UserError, match=r"2 of 2 labels `label` .* such as that of a\.png: \[0, 1\]"
    ):
        index(tmp_path, label="label")
    with pytest.raises(UserError, match=r"no sample has .* 'kind'; .* keys label, other"):
        index(tmp_path, label="kind")
    notes: list[str] = []
    report = index(tmp_path, on_plan=lambda found, plan: notes.extend(found.notes))
    assert report.manifest.classes == {}
    assert "neither names nor integers" in notes[0]
    assert list(index(tmp_path, label="other", overwrite=True).manifest.classes) == ["2"]


def test_patterns_name_tars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = numbered_tars(tmp_path / "set", (1,) * 11)
    names = [path.name for path in find_tars([folder / "{000..010}.tar"])]
    assert names == [f"{n:03d}.tar" for n in range(11)]
    assert len(find_tars([folder / "00?.tar", folder / "000.tar", folder])) == 11
    (folder / "{1}[a].tar").write_bytes(b"")
    with pytest.raises(UserError, match="expected a name of letters"):
        find_tars([folder / "{1}[a].tar"])
    monkeypatch.chdir(folder)
    assert len(find_tars([Path("000.tar"), folder / "000.tar"])) == 1
    for bad, words in (
        ("{000..011}.tar", r"011\.tar: no such file; \{000\.\.011\}\.tar names it"),
        ("*.zip", r"\*\.zip: No such file or directory; expected a tar"),
        ("http://host/a.tar", "a URL"),
    ):
        with pytest.raises(UserError, match=words):
            find_tars([Path(bad)])
    (tmp_path / "more").mkdir()
    shutil.copy(folder / "000.tar", tmp_path / "more")
    with pytest.raises(UserError, match="in different folders"):
        find_tars([folder / "000.tar", tmp_path / "more"])


def test_links_to_tars_elsewhere_can_be_indexed(tmp_path: Path) -> None:
    """As the error for a folder that cannot be written advises."""
    numbered_tars(tmp_path / "set")
    (tmp_path / "links").mkdir()
    for path in (tmp_path / "set").iterdir():
        (tmp_path / "links" / path.name).symlink_to(path)
    index(tmp_path / "links")
    assert open_numbered(tmp_path / "links", tmp_path / "scratch", mode="stream").total == COUNT
    assert len(names_in(tmp_path / "set")) == 3
