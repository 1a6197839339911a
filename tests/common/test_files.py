"""Atomic writes of files and folders, and file locks."""

import os
from pathlib import Path

import pytest

from gantrain.common.files import remove_leftovers, replacing, replacing_folder
from gantrain.common.locks import file_lock


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_concurrent_writers_of_one_file_do_not_disturb_each_other(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with replacing(path, concurrent=True) as first, replacing(path, concurrent=True) as second:
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"  # the outer block ended last
    assert names_in(tmp_path) == ["file"]


def test_a_failed_write_leaves_the_old_file_and_the_old_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "old").touch()
    with pytest.raises(UnicodeEncodeError), replacing(tmp_path / "file") as temporary:
        temporary.write_text("new \ud800")
    with pytest.raises(FileNotFoundError), replacing_folder(tmp_path / "folder") as staging:
        (staging / "missing" / "new").touch()
    assert (tmp_path / "file").read_text() == "old"
    assert names_in(tmp_path / "folder") == ["old"]
    assert names_in(tmp_path) == ["file", "folder"]


def test_a_folder_replaces_an_older_one(tmp_path: Path) -> None:
    for name in ("first", "second"):
        with replacing_folder(tmp_path / "folder") as staging:
            (staging / "nested").mkdir()
            (staging / "nested" / name).touch()
    assert names_in(tmp_path / "folder" / "nested") == ["second"]
    assert names_in(tmp_path) == ["folder"]


def test_leftovers_are_removed_and_a_folder_set_aside_is_restored(tmp_path: Path) -> None:
    folder = tmp_path / "a[b]"  # a name that is also a glob pattern
    (tmp_path / ".a[b].old-0a1b2c3d").mkdir()
    (tmp_path / ".a[b].partial-0a1b2c3d").mkdir()
    (tmp_path / ".ab.partial-0a1b2c3d").mkdir()
    remove_leftovers(folder)
    assert names_in(tmp_path) == [".ab.partial-0a1b2c3d", "a[b]"]
    remove_leftovers(tmp_path / "missing" / "folder")


def test_a_lock_excludes_others_until_it_is_released(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "lock"
    with file_lock(path, wait=False, remove=True) as descriptor:
        assert descriptor is not None
        assert os.path.samestat(os.fstat(descriptor), path.stat())
        with pytest.raises(BlockingIOError), file_lock(path, wait=False):
            pass
    assert not path.exists()
    with file_lock(path, wait=True):
        pass
    assert path.exists()


def test_the_temporary_file_of_a_dead_writer_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with replacing(path) as temporary:
        left = temporary
        temporary.write_text("complete")
    left.write_text("of a process that died")
    with replacing(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]
