"""A sweep directory that two users of a group share, or that cannot be written."""

import errno
import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from launch.__main__ import app
from launch.attempts import Attempt, write_end, write_start
from tests.launch.conftest import base_tree

GROUP, ONE, OTHER, STRANGER = 54_000, 54_001, 54_002, 54_003


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sweep file in a folder that everybody can read; jobs are not started."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("launch.local_job.start", lambda *_, **__: "1")
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base_tree(Path("squares"))))
    (tmp_path / "cluster.yaml").write_text("executor: local\n")
    tree = {"name": "s", "base": "base.yaml", "cluster": "cluster.yaml", "dir": "shared/sweep"}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(tree))
    return tmp_path


@contextmanager
def user(number: int, group: int, umask: int = 0o022) -> Iterator[None]:
    """Act as this user within the block."""
    before, groups = os.umask(umask), os.getgroups()
    os.setgroups([GROUP] if group == GROUP else [])
    os.setresgid(group, group, 0)
    os.setresuid(number, number, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)
        os.setresgid(0, 0, 0)
        os.setgroups(groups)
        os.umask(before)


def invoke(*arguments: str, status: int = 0) -> str:
    result = CliRunner().invoke(app, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == status, result.output
    if status:
        assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr if status else result.stdout


@pytest.fixture
def shared(folder: Path) -> Path:
    """A folder of the group, which its users may write to."""
    if os.geteuid():
        pytest.skip("only root can become other users")
    for parent in (folder, *folder.parents):
        if parent.is_relative_to(tempfile.gettempdir()):
            parent.chmod(parent.stat().st_mode | 0o055)
    # Import what other users may not be allowed to.
    warm = yaml.safe_load((folder / "sweep.yaml").read_text())
    (folder / "warm.yaml").write_text(yaml.safe_dump({**warm, "dir": "warm"}))
    for command in ("sweep", "status", "doctor", "report", "retry", "cancel"):
        invoke(command, "warm.yaml", *(["--all"] if command == "cancel" else []))
    (folder / "warm.yaml").chmod(0o644)
    path = folder / "shared"
    path.mkdir()
    os.chown(path, ONE, GROUP)
    path.chmod(0o2775)
    return path


def test_two_users_of_a_group_share_a_sweep(folder: Path, shared: Path) -> None:
    with user(ONE, GROUP):
        (run,) = json.loads(invoke("sweep", "sweep.yaml", "--json"))["submitted"]
        directory = shared / "sweep" / "runs" / run
        write_start(directory, Attempt(job="1_0", token=token_of(shared / "sweep"), time=1.0))
        write_end(directory, "failed", 1)
    with user(OTHER, GROUP):
        assert json.loads(invoke("retry", "sweep.yaml", "--json"))["submitted"] == [run]
        invoke("cancel", "sweep.yaml", "--all")
        invoke("report", "sweep.yaml")
    with user(ONE, GROUP):
        assert json.loads(invoke("retry", "sweep.yaml", run, "--json"))["submitted"] == [run]
        invoke("report", "sweep.yaml")
    for path in shared.rglob("*"):
        assert path.stat().st_mode & 0o020, path
        assert path.stat().st_gid == GROUP, path


def test_a_sweep_of_another_user_is_one_line(folder: Path, shared: Path) -> None:
    with user(ONE, GROUP):
        (run,) = json.loads(invoke("sweep", "sweep.yaml", "--json"))["submitted"]
    with user(STRANGER, STRANGER):
        for arguments in (["sweep", "sweep.yaml"], ["retry", "sweep.yaml"]):
            error = invoke(*arguments, status=2)
            assert error.startswith("launch: ")
            assert "ledger.lock: Permission denied; " in error
            assert "belongs to 54001" in error
        assert "Permission denied" in invoke("cancel", "sweep.yaml", "--all", status=2)
        assert run in invoke("status", "sweep.yaml")
        assert "Permission denied" in invoke("report", "sweep.yaml", status=2)


def token_of(sweep: Path) -> str:
    lines = [json.loads(line) for line in (sweep / "ledger.jsonl").read_text().split("\n") if line]
    return str(lines[-1]["token"])


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_without_locks_is_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    error = invoke("sweep", "sweep.yaml", status=2)
    assert "does not support locks" in error
    assert not (folder / "shared" / "sweep" / "ledger.jsonl").exists()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_a_disk_that_cannot_be_written_is_one_line_and_can_be_tried_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    write = Path.write_bytes

    def refuse(path: Path, content: bytes) -> int:
        if path.name == ".runs.jsonl.tmp":
            raise OSError(number, os.strerror(number), str(path))
        return write(path, content)

    with monkeypatch.context() as context:
        context.setattr(Path, "write_bytes", refuse)
        assert os.strerror(number) in invoke("sweep", "sweep.yaml", status=2)
    assert len(json.loads(invoke("sweep", "sweep.yaml", "--json"))["submitted"]) == 1
