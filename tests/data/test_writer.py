"""Writing sets of shards: atomicity, and compatibility with other readers."""

import io
import resource
import shlex
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gantrain.common.errors import UserError
from gantrain.data.shards.manifest import read_manifest
from gantrain.data.shards.samples import Label, Sample, check_key
from gantrain.data.shards.verify import verify_shards
from gantrain.data.shards.writer import write_shards
from tests.shard_sets import make_samples, names_in, png, read_all, write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A set of ten samples in shards of four, four and two."""
    write(tmp_path / "set", make_samples(10), images_per_shard=4)
    return tmp_path / "set"


def test_the_manifest_describes_what_was_written(folder: Path) -> None:
    manifest = read_manifest(folder)
    assert [entry.count for entry in manifest.shards] == [4, 4, 2]
    assert manifest.count == 10
    assert manifest.splits == {"train": 8, "validation": 2}
    assert {part: (each.name, each.count) for part, each in manifest.classes.items()} == {
        "3001": ("brick 0", 5),
        "3002": ("brick 1", 5),
    }
    assert read_all(folder) == make_samples(10)
    assert names_in(folder.parent) == ["set"]


def test_equal_samples_give_equal_bytes_at_any_time(tmp_path: Path) -> None:
    first = write(tmp_path / "a", make_samples(9), images_per_shard=4)
    time.sleep(1.1)  # tar has timestamps in seconds
    second = write(tmp_path / "b", make_samples(9), images_per_shard=4)
    assert first.identity == second.identity
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
    other = write(tmp_path / "c", make_samples(8), images_per_shard=4)
    assert other.identity != first.identity


@pytest.mark.parametrize("channels", [1, 3])
def test_plain_webdataset_reads_the_same_pixels(tmp_path: Path, channels: int) -> None:
    samples = make_samples(7, channels=channels)
    manifest = write(tmp_path / "set", samples, channels=channels, images_per_shard=3)
    urls = [str(tmp_path / "set" / entry.name) for entry in manifest.shards]
    read = list(webdataset.WebDataset(urls, shardshuffle=False).decode("pil"))
    assert [each["__key__"] for each in read] == [sample.key for sample in samples]
    assert [each["json"] for each in read] == [sample.label for sample in samples]
    for each, sample in zip(read, samples, strict=True):
        with Image.open(io.BytesIO(sample.image)) as expected:
            assert np.array_equal(np.asarray(each["png"]), np.asarray(expected.convert("RGB")))


def test_plain_tarfile_reads_the_same_members(folder: Path) -> None:
    with tarfile.open(folder / "shard-000001.tar") as tar:
        names = tar.getnames()
        first = tar.extractfile(names[0])
        assert first is not None
        assert first.read() == png(4)
    assert names == [f"view {i:03d}.{end}" for i in range(4, 8) for end in ("png", "json")]


labels = st.dictionaries(
    st.text(max_size=8),
    st.text(max_size=20) | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    max_size=4,
).filter(lambda label: not {"split", "part", "name"} & label.keys())
classes = st.fixed_dictionaries(
    {},
    optional={
        "part": st.text(st.characters(codec="utf-8"), max_size=6) | st.integers(0, 9),
        "name": st.text(st.characters(codec="utf-8"), max_size=6),
        "split": st.sampled_from(["train", "validation"]),
    },
)


def is_key(text: str) -> bool:
    try:
        check_key(text)
    except UserError:
        return False
    return True


keys = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1)


@settings(max_examples=60, deadline=None)
@given(
    named=st.dictionaries(keys.filter(is_key), st.tuples(labels, classes), min_size=1, max_size=12),
    images_per_shard=st.integers(1, 14),
)
def test_any_samples_survive_a_round_trip(
    named: dict[str, tuple[Label, Label]], images_per_shard: int
) -> None:
    samples = [
        Sample(key, png(i), {**label, **part})
        for i, (key, (label, part)) in enumerate(named.items())
    ]
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory, "set")
        manifest = write(folder, samples, images_per_shard=images_per_shard)
        assert read_manifest(folder) == manifest
        assert read_all(folder) == samples
        assert all(entry.count <= images_per_shard for entry in manifest.shards)
        assert verify_shards(folder, workers=1).problems == ()
        urls = [str(folder / entry.name) for entry in manifest.shards]
        read = webdataset.WebDataset(urls, shardshuffle=False, empty_check=False)
        assert [each["__key__"] for each in read] == [sample.key for sample in samples]


@pytest.mark.parametrize(
    ("samples", "options", "message"),
    [
        ([], {}, "no images to write"),
        (make_samples(2) + make_samples(1), {}, "'view 000' is a duplicate"),
        (make_samples(2), {"size": 8}, "expected an 8-bit L PNG of 8x8"),
        (make_samples(2), {"channels": 2}, r"channels is 2; expected 1 \(grey\) or 3"),
        (make_samples(2), {"images_per_shard": 0}, "images_per_shard is 0"),
        (make_samples(2), {"size": 0}, "size is 0"),
        ([Sample("a.b", png(1), {})], {}, "'a.b'"),
        ([Sample("a", png(1), {"split": "test"})], {}, "'a': the label's split is 'test'"),
        ([Sample("a", png(1), {"part": "\ud800"})], {}, "UTF-8"),
    ],
)
def test_invalid_samples_and_settings_are_rejected_and_leave_nothing(
    tmp_path: Path, samples: list[Sample], options: dict[str, int], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        write(tmp_path / "set", samples, **options)
    assert names_in(tmp_path) == []


def test_an_error_of_the_source_propagates_and_leaves_nothing(tmp_path: Path) -> None:
    def breaking() -> Iterator[Sample]:
        yield from make_samples(3)
        raise FileNotFoundError("a texture")

    with pytest.raises(FileNotFoundError, match="a texture"):
        write_shards(tmp_path / "set", breaking(), size=4, channels=1, source="")
    assert names_in(tmp_path) == []


def test_a_non_empty_target_is_rejected_before_the_first_sample(folder: Path) -> None:
    def never() -> Iterator[Sample]:
        raise AssertionError("a sample was requested")
        yield

    with pytest.raises(UserError, match=r"already contains manifest\.json.*--overwrite"):
        write_shards(folder, never(), size=4, channels=1, source="")
    (folder.parent / "file").write_text("")
    with pytest.raises(UserError, match="a file; expected a new or empty folder"):
        write_shards(folder.parent / "file", never(), size=4, channels=1, source="")


def test_overwrite_keeps_the_old_set_if_the_new_one_fails(folder: Path) -> None:
    before = read_manifest(folder)
    with pytest.raises(UserError, match="is a duplicate"):
        write(folder, make_samples(3) + make_samples(1), overwrite=True)
    assert read_manifest(folder) == before
    write(folder, make_samples(3), overwrite=True)
    assert read_all(folder) == make_samples(3)
    assert names_in(folder.parent) == ["set"]


def test_overwrite_does_not_replace_other_folders(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match=r"it contains thesis\.tex"):
        write(home, make_samples(1), overwrite=True)
    assert (home / "thesis.tex").read_text() == "years of work"


def test_a_symlink_to_an_empty_folder_can_be_the_target(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    write(tmp_path / "link", make_samples(2))
    assert (tmp_path / "link").is_symlink()
    assert read_all(tmp_path / "real") == make_samples(2)


# Killed writers

WRITER = """
import os, sys, time
from pathlib import Path
from gantrain.data.shards.samples import Sample
from gantrain.data.shards.writer import write_shards

folder, pause, renames_before_death = Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
rename, renames = Path.rename, []
def counted(self, target):
    if len(renames) == renames_before_death: os.kill(os.getpid(), 9)
    renames.append(target)
    rename(self, target)
Path.rename = counted

def samples():
    image = bytes.fromhex(sys.argv[4])
    for i in range(4000):
        yield Sample(str(i), image, {})
        if i == 700: print("half", flush=True); time.sleep(pause)

write_shards(folder, samples(), size=4, channels=1, source="", images_per_shard=50, overwrite=True)
if len(renames) == renames_before_death: os.kill(os.getpid(), 9)
"""


def writer_command(folder: Path, *, pause: float = 0, renames_before_death: int = 9) -> list[str]:
    settings = (str(folder), str(pause), str(renames_before_death), png(1).hex())
    return [sys.executable, "-c", WRITER, *settings]


@contextmanager
def half_done_writer(folder: Path, *, pause: float) -> Iterator[None]:
    """Start a writer of 4000 samples, wait until it is half done, and kill it after the block."""
    command = writer_command(folder, pause=pause)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        try:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "half\n"
            yield
        finally:
            writer.kill()


def test_a_killed_writer_leaves_no_set_and_the_next_one_cleans_up(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    with (
        half_done_writer(folder, pause=60),
        pytest.raises(UserError, match="another process is writing this folder"),
    ):
        write(folder, make_samples(2))
    assert not folder.exists()
    assert names_in(tmp_path) != []  # hidden leftovers
    write(folder, make_samples(2))
    assert names_in(tmp_path) == ["set"]
    assert read_all(folder) == make_samples(2)


@pytest.mark.parametrize("delay", [0.0, 0.05, 0.1, 0.2])
def test_a_writer_killed_at_any_time_leaves_a_complete_set(folder: Path, delay: float) -> None:
    with half_done_writer(folder, pause=0):
        time.sleep(delay)
    assert len(read_all(folder)) in (10, 4000)


@pytest.mark.parametrize(("renames", "left"), [(0, 10), (1, None), (2, 4000)])
def test_a_writer_killed_around_its_renames(folder: Path, renames: int, left: int | None) -> None:
    command = writer_command(folder, renames_before_death=renames)
    writer = subprocess.run(command, check=False, capture_output=True)
    assert writer.returncode == -signal.SIGKILL
    if left is None:  # between the two renames of an overwrite, the documented gap
        assert not folder.exists()
        with pytest.raises(UserError, match="already contains"):
            write(folder, make_samples(2))
        left = 10  # the next writer has restored the old set
    assert len(read_all(folder)) == left


def test_a_set_renamed_aside_by_a_dead_writer_is_restored(folder: Path) -> None:
    folder.rename(folder.parent / ".set.old-0a1b2c3d")
    (folder.parent / ".set.partial-0a1b2c3d").mkdir()
    with pytest.raises(UserError, match="already contains"):
        write(folder, make_samples(2))
    assert names_in(folder.parent) == ["set"]
    assert read_all(folder) == make_samples(10)


def test_a_full_disk_is_one_error_and_leaves_nothing(tmp_path: Path) -> None:
    small_disk = f"mount -t tmpfs -o size=256k none {tmp_path}"
    write_there = shlex.join(writer_command(tmp_path / "set"))
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    try:
        subprocess.run([*command, small_disk], check=True, capture_output=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("cannot mount a small disk here")
    result = subprocess.run(
        [*command, f"{small_disk}; {write_there}; ls -A {tmp_path}"],
        capture_output=True,
        text=True,
        check=False,
    )
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("gantrain.common.errors.UserError:")
    assert "set: cannot be written (No space left on device)" in last
    assert "Exception ignored" not in result.stderr
    assert result.stdout == ""


def test_a_file_size_limit_is_one_error_and_leaves_nothing(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16_384, hard))
    try:
        with pytest.raises(UserError, match=r"set: cannot be written .*Free some space"):
            write(tmp_path / "set", make_samples(50))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names_in(tmp_path) == []
