"""Reading and verifying sets of shards."""

import json
import os
import tarfile
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gantrain.common.errors import UserError
from gantrain.data.shards.manifest import read_manifest
from gantrain.data.shards.reader import iterate_shard
from gantrain.data.shards.samples import Sample
from gantrain.data.shards.verify import verify_shards
from tests.shard_sets import make_samples, write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A set of ten samples in shards of four, four and two."""
    write(tmp_path / "set", make_samples(10), images_per_shard=4)
    return tmp_path / "set"


def edit_manifest(folder: Path, *path: str | int, value: object) -> None:
    file = folder / "manifest.json"
    content = json.loads(file.read_text())
    node = content
    for step in path[:-1]:
        node = node[step]
    node[path[-1]] = value
    file.write_text(json.dumps(content))


# Reading


def test_the_error_for_a_missing_set_names_the_commands_that_make_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no such folder.*gantrain data render"):
        read_manifest(tmp_path / "none")
    with pytest.raises(UserError, match=r"no manifest\.json in it.*gantrain data import"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["version"], 4, r"version: 4 found; expected 1, 2 or 3"),
        (["version"], None, r"version: null found; expected 1, 2 or 3"),
        (["count"], "ten", r"count: 'ten' found; expected a whole number"),
        (["count"], 0, r"count: 0 found; expected .*greater than or equal to 1"),
        (["count"], 11, r"counts of shards do not add up to count"),
        (["shards"], [], r"shards: \[\] found"),
        (["shards", 0, "name"], "../x.tar", r"shards\.0\.name: '\.\./x\.tar'"),
        (["shards", 0, "name"], "/etc/x.tar", r"shards\.0\.name"),
        (["shards", 0, "name"], "shard-000001.tar", r"lists a name twice"),
        (["shards", 1, "sha256"], "abc", r"shards\.1\.sha256"),
        (["shards", 1, "extra"], 1, r"unknown key 'shards\.1\.extra'"),
        (["splits"], {"train": 10}, r"splits lacks 'validation'"),
        (["splits", "validation"], 3, r"counts of splits do not add up"),
        (["distinct"], 11, r"distinct is more than count"),
        (["distinct"], None, r"version 3, but distinct is None"),
        (["channels"], 2, r"channels: 2 found; expected 1 or 3"),
        (["classes", "3001", "count"], 9, r"counts of classes add up to more"),
    ],
)
def test_an_invalid_manifest_is_one_sentence_about_the_key(
    folder: Path, path: list[str | int], value: object, message: str
) -> None:
    edit_manifest(folder, *path, value=value)
    with pytest.raises(UserError, match=rf"manifest\.json: .*{message}") as caught:
        read_manifest(folder)
    assert "\n" not in str(caught.value)


def test_an_unknown_version_is_reported_before_unknown_keys(folder: Path) -> None:
    content = {"version": 7, "tensors": []}
    (folder / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="version: 7 found; expected 1"):
        read_manifest(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 10_000, b"[]", b"null"])
def test_a_manifest_that_is_not_an_object_is_one_error(folder: Path, content: bytes) -> None:
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(UserError, match=r"manifest\.json: "):
        read_manifest(folder)


def test_files_that_do_not_match_the_manifest_are_reported(folder: Path) -> None:
    shard = folder / "shard-000001.tar"
    content = shard.read_bytes()
    os.truncate(shard, len(content) - 512)
    with pytest.raises(UserError, match=r"shard-000001\.tar: cut short: \d+ bytes"):
        read_manifest(folder)
    shard.unlink()
    with pytest.raises(UserError, match=r"shard-000001\.tar: in the manifest, but not readable"):
        read_manifest(folder)
    shard.write_bytes(content)
    (folder / "extra.tar").write_bytes(content)
    with pytest.raises(UserError, match=r"extra\.tar: not in the manifest"):
        read_manifest(folder)
    (folder / "extra.tar").unlink()
    (folder / "notes.txt").write_text("not a shard")
    assert read_manifest(folder).count == 10


def test_the_error_for_a_truncated_shard_names_the_last_member(folder: Path) -> None:
    manifest = read_manifest(folder)
    shard = folder / manifest.shards[0].name
    with tarfile.open(shard) as tar:
        third = tar.getmember("view 002.png")
    os.truncate(shard, third.offset_data + 10)
    samples = iterate_shard(folder, manifest, manifest.shards[0])
    assert [next(samples), next(samples)] == make_samples(2)
    with pytest.raises(UserError, match=r"shard-000000\.tar: .*view 002\.png"):
        next(samples)


@pytest.mark.parametrize(("count", "actual"), [(3, "more samples"), (5, "4 samples")])
def test_a_shard_must_match_its_entry(folder: Path, count: int, actual: str) -> None:
    manifest = read_manifest(folder)
    entry = manifest.shards[0].model_copy(update={"count": count})
    with pytest.raises(UserError, match=rf"contains {actual}; .* lists {count}"):
        list(iterate_shard(folder, manifest, entry))


# Verifying


def test_a_valid_set_verifies_with_several_processes(folder: Path) -> None:
    progress: list[tuple[int, int]] = []
    report = verify_shards(folder, workers=2, on_progress=lambda *each: progress.append(each))
    assert report.ok
    assert report.images == 10
    assert progress == [(4, 10), (8, 10), (10, 10)]


def replace_shard(folder: Path, index: int, samples: list[Sample]) -> None:
    """Replace the samples of a shard and update its length and hash, as a careless tool would."""
    other = write(folder.parent / "other", samples)
    name = json.loads((folder / "manifest.json").read_text())["shards"][index]["name"]
    (folder.parent / "other" / other.shards[0].name).replace(folder / name)
    edit_manifest(folder, "shards", index, "bytes", value=other.shards[0].bytes)
    edit_manifest(folder, "shards", index, "sha256", value=other.shards[0].sha256)


def test_verify_lists_every_problem(folder: Path) -> None:
    flipped = folder / "shard-000000.tar"
    content = bytearray(flipped.read_bytes())
    content[content.index(b"IDAT") + 6] ^= 0xFF
    flipped.write_bytes(content)
    os.truncate(folder / "shard-000001.tar", 1024)
    (folder / "extra.tar").touch()
    report = verify_shards(folder, workers=1)
    text = "\n".join(report.problems)
    assert not report.ok
    assert "shard-000000.tar: its bytes have changed" in text
    assert "shard-000000.tar: view 000.png: the image does not decode" in text
    assert "shard-000001.tar: cut short" in text
    assert "extra.tar: not in the manifest" in text
    assert report.images == 3 + 2


def test_verify_finds_keys_that_occur_in_two_shards(folder: Path) -> None:
    replace_shard(folder, 1, make_samples(4))
    text = "\n".join(verify_shards(folder, workers=1).problems)
    assert text.count("is a duplicate") == 4


def test_verify_finds_labels_that_do_not_match_the_manifest(folder: Path) -> None:
    plain = [Sample(sample.key, sample.image, {}) for sample in make_samples(8)[4:]]
    replace_shard(folder, 1, plain)
    text = "\n".join(verify_shards(folder, workers=1).problems)
    assert "3 images of class '3001'; the manifest lists 5 of 'brick 0'" in text
    assert "1 image for validation; the manifest lists 2" in text


def test_verify_finds_a_count_that_does_not_match_the_entry(folder: Path) -> None:
    replace_shard(folder, 1, make_samples(8)[5:])
    problems = verify_shards(folder, workers=1).problems
    assert any("shard-000001.tar: contains 3 samples; the manifest lists 4" in p for p in problems)


# Arbitrary bytes

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_manifest_is_read_or_rejected(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory, "set")
        write(folder, make_samples(3), images_per_shard=2)
        file = folder / "manifest.json"
        content = json.loads(file.read_text())
        if data.draw(st.booleans()):
            key = data.draw(st.sampled_from([*content, "other"]))
            content[key] = data.draw(json_values)
            file.write_text(json.dumps(content))
        else:
            file.write_bytes(data.draw(st.binary(max_size=60)))
        try:
            manifest = read_manifest(folder)
        except UserError:
            return
        assert manifest.count == 3
        assert [entry.count for entry in manifest.shards] == [2, 1]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_shard_is_read_or_rejected(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory, "set")
        manifest = write(folder, make_samples(3))
        shard = folder / manifest.shards[0].name
        content = bytearray(shard.read_bytes())
        if data.draw(st.integers(0, 4)) == 0:
            content = bytearray(data.draw(st.binary(max_size=2000)))
        else:
            for _ in range(data.draw(st.integers(1, 3))):
                content[data.draw(st.integers(0, len(content) - 1))] = data.draw(
                    st.integers(0, 255)
                )
            content = content[: data.draw(st.just(len(content)) | st.integers(0, len(content)))]
        same = bytes(content) == shard.read_bytes()
        shard.write_bytes(content)
        with suppress(UserError):
            assert len(list(iterate_shard(folder, manifest, manifest.shards[0]))) == 3
        report = verify_shards(folder, workers=1)
        assert report.ok == same
