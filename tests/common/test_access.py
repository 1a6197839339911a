"""Permissions of new files, and errors of the operating system in words."""

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from gantrain.common.access import explain, follow_group_access
from gantrain.common.files import append_json, replacing_folder, write_json
from gantrain.common.tensors import save_tensors

PACKAGE = Path(__file__).parents[2] / "gantrain"


@pytest.fixture(autouse=True)
def _umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o002, 0o022, 0o027, 0o077])
def test_every_kind_of_file_has_the_rights_that_the_umask_leaves(
    tmp_path: Path, umask: int
) -> None:
    os.umask(umask)
    save_tensors({"a": torch.ones(2)}, tmp_path / "a.safetensors", {"key": "value"})
    save_tensors({"a": torch.ones(2)}, tmp_path / "a.safetensors")  # replaces it
    write_json(tmp_path / "b.json", {})
    append_json(tmp_path / "c.jsonl", {})
    with replacing_folder(tmp_path / "folder") as staging:
        save_tensors({"a": torch.ones(2)}, staging / "d.safetensors")
    for name in ("a.safetensors", "b.json", "c.jsonl", "folder/d.safetensors"):
        assert mode_of(tmp_path / name) == 0o666 & ~umask, name
    assert mode_of(tmp_path / "folder") == 0o777 & ~umask


def test_no_other_module_writes_tensors() -> None:
    users = [p.name for p in PACKAGE.rglob("*.py") if "torch import save_file" in p.read_text()]
    assert users == ["tensors.py"]


@pytest.mark.parametrize(
    ("mode", "expected"), [(0o2775, 0o664), (0o2755, 0o644), (0o775, 0o644), (0o755, 0o644)]
)
def test_files_in_a_folder_that_a_group_shares_can_be_written_by_it(
    tmp_path: Path, mode: int, expected: int
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(mode)
    follow_group_access(shared / "sweep" / "runs")  # not there yet
    write_json(shared / "a.json", {})
    assert mode_of(shared / "a.json") == expected


def test_errors_say_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "file"
    denied = explain(PermissionError(errno.EACCES, "Permission denied", str(path)))
    assert denied.startswith(f"{path}: Permission denied; {tmp_path} belongs to ")
    assert "drwx" in denied
    assert "chmod" in denied
    full = explain(OSError(errno.ENOSPC, "No space left on device", str(path)))
    assert full == f"{path}: No space left on device; free some space and try again."
    assert explain(OSError(errno.EIO, "Input/output error")) == "Input/output error."
    with pytest.raises(IsADirectoryError) as error:
        tmp_path.open()
    assert "a directory is where a file belongs" in explain(error.value)
