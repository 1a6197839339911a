"""run.json: what it says of real trainings, and what becomes of it when something fails."""

import json
import os
import shlex
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import gantrain
from gantrain.cli import main as cli
from gantrain.common.code_state import digest_files, git_state, package_files
from gantrain.runs.failures import Failures
from gantrain.runs.overview import read_overview
from gantrain.runs.paths import CONFIG, PROVENANCE
from gantrain.runs.provenance import AttemptRecord, Setting, read_attempts, wall_seconds
from tests.conftest import small_tree
from tests.curves import events, status
from tests.end_faults import before_work
from tests.launching import Train, write_config

SETTING = Setting(ranks=2, ranks_here=2, device="cpu", precision="bf16", threads=3)


def git(folder: Path, *words: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b")
    done = subprocess.run(
        ["git", "-C", str(folder), *identity, *words], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def record(run_dir: Path, images_seen: int = 0) -> AttemptRecord:
    run_dir.mkdir(exist_ok=True)
    return AttemptRecord(run_dir, images_seen, SETTING, Failures(run_dir, 0, lambda: images_seen))


def test_a_stopped_run_says_how_to_continue_it_and_keeps_both_starts(
    shards: Path,
    tmp_path: Path,
    train: Train,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = tmp_path / "my runs" / "first"
    run.parent.mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef")
    monkeypatch.setattr("sys.orig_argv", ["python", "train.py", "key=0123456789abcdef"])
    metrics = {"every_kimg": 50, "samples": 32, "features": "random"}
    tree = small_tree(shards, Path("my runs/first"), metrics=metrics)
    config = write_config(tmp_path / "c.yaml", tree)
    with monkeypatch.context() as patched:
        before_work("measure", lambda: signal.raise_signal(signal.SIGTERM), patched.setattr)
        done = train(config)
    assert done.returncode == 75
    *_, ended, training, quality, _, again, report, error = done.stderr.splitlines()
    assert ended.startswith("preempted at 0.16 of 0.16 kimg after ")
    assert (training, quality[:8]) == ("training: too early to say", "quality:")
    assert again == "next: gantrain train 'my runs/first/config.yaml'"
    assert report == "next: gantrain report 'my runs/first'"
    assert error.startswith("gantrain: Preempted by SIGTERM at 160 images")
    (first,) = read_attempts(run)
    assert first["state"] == "preempted"
    assert first["command"] == ["python", "train.py", "key=***"]
    assert "0123456789abcdef" not in (run / PROVENANCE).read_text()
    assert first["versions"]["torch"] == torch.__version__
    assert first["code"]["digest"] == digest_files(package_files(Path(gantrain.__path__[0])))

    for _ in range(2):  # the second time, nothing is left to do
        with pytest.raises(SystemExit) as end:
            cli.main(shlex.split(again.removeprefix("next: "))[1:])
        assert end.value.code == 0
        lines = capsys.readouterr().err.splitlines()
        assert lines[-4].startswith("quality: far from the data (KID ")
        assert lines[-1] == "next: gantrain sample 'my runs/first' --best"
    kept, second = read_attempts(run)
    assert kept == first
    assert (second["state"], second["images_seen_at_start"]) == ("finished", 160)
    overview = read_overview(run)
    assert overview.wall_seconds == pytest.approx(
        sum(each["end"] - each["start"] for each in (first, second))
    )
    assert status(run)["state"] == "finished"


def test_a_killed_start_ends_with_its_last_heartbeat(tmp_path: Path) -> None:
    run = tmp_path / "run"
    killed = record(run)
    killed._thread.join()
    (run / "ranks").mkdir()
    beat = run / "ranks" / "rank-0000.json"
    beat.write_text("{}")
    start = read_attempts(run)[0]["start"]
    os.utime(beat, (start + 100, start + 100))
    second = record(run, 64)
    second.end("finished", 160, "")
    first, newest = read_attempts(run)
    assert first["last_heartbeat"] == pytest.approx(start + 100)
    assert "end" not in first
    assert newest["images_seen"] == 160
    assert wall_seconds([first, newest]) == pytest.approx(100, abs=5)


@pytest.mark.parametrize("content", ["{", "[]", '{"version": 2, "attempts": []}', '{"version": 1}'])
def test_a_file_that_cannot_be_read_is_left_as_it_is(tmp_path: Path, content: str) -> None:
    (tmp_path / PROVENANCE).write_text(content)
    attempt = record(tmp_path)
    attempt.end("finished", 1, "")
    assert (tmp_path / PROVENANCE).read_text() == content
    (failed,) = events(tmp_path, "service_failed")
    assert failed["service"] == PROVENANCE
    assert read_attempts(tmp_path) == []


def test_values_that_are_not_valid_are_left_out(tmp_path: Path) -> None:
    attempts = [7, {"end": 3}, {"start": 5.0, "ranks": "many", "hardware": 3, "later": 1}]
    (tmp_path / PROVENANCE).write_text(json.dumps({"version": 1, "attempts": attempts}))
    problems: list[str] = []
    assert read_attempts(tmp_path, problems) == [{"start": 5.0, "later": 1}]
    assert len(problems) == 2
    assert read_overview(tmp_path).machine == ""


def test_the_training_does_not_wait_for_a_slow_git(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gantrain.runs.provenance.git_state", lambda _: time.sleep(1))
    start = time.monotonic()
    attempt = record(tmp_path)
    assert attempt.take_facts() is None
    assert time.monotonic() - start < 0.9
    attempt.end("finished", 1, "")
    assert (attempt.take_facts() or {})["ranks"] == 2
    assert attempt.take_facts() is None


def test_the_users_project_is_told_from_the_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    assert git_state(project) is None
    git(project, "init", "-q")
    assert git_state(project) is None  # no commit yet
    (project / "a.yaml").write_text("1")
    git(project, "add", "a.yaml")
    git(project, "commit", "-qm", "first")
    (project / "untracked").touch()
    monkeypatch.chdir(project)
    for change in (False, True):
        if change:
            (project / "a.yaml").write_text("2")
        attempt = record(project / "run")
        attempt.end("finished", 1, "")
        found = read_attempts(project / "run")[-1]
        assert found["project"] == {
            "folder": git(project, "rev-parse", "--show-toplevel"),
            "commit": git(project, "rev-parse", "HEAD"),
            "changed": change,
        }
        assert found["code"]["commit"] != found["project"]["commit"]


def start_of(**changes: Any) -> dict[str, Any]:
    return {"start": 1.0, "end": 2.0, "ranks": 1, "ranks_here": 1, **changes}


def continuation_of(run: Path, start: dict[str, Any]) -> str:
    run.mkdir(parents=True, exist_ok=True)
    (run / CONFIG).touch()
    (run / PROVENANCE).write_text(json.dumps({"version": 1, "attempts": [start]}))
    return read_overview(run).continuation


def test_the_command_that_continues_fits_how_the_run_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "run"
    here = {"folder": str(tmp_path), "run_dir": str(run)}
    assert continuation_of(run, start_of(**here)) == "gantrain train run/config.yaml"
    two = start_of(ranks=2, ranks_here=2, **here)
    assert continuation_of(run, two) == "gantrain train run/config.yaml --ranks 2"
    moved = start_of(**{**here, "run_dir": "/old"})
    assert continuation_of(run, moved).endswith(f" output.run_dir={run}")
    elsewhere = start_of(**{**here, "folder": "/a b"})
    expected = f"cd '/a b' && gantrain train {run}/config.yaml"
    assert continuation_of(run, elsewhere) == expected
    words = ["torchrun", "--nnodes", "2", "gantrain/train.py"]
    machines = start_of(ranks=4, ranks_here=2, launcher=words, **here)
    assert continuation_of(run, machines) == shlex.join(words)
    assert continuation_of(run, start_of(slurm={"job": "7"}, **here)) == ""
    swept = tmp_path / "sweep" / "runs" / "a1"
    swept.mkdir(parents=True)
    (swept / "attempts.jsonl").touch()
    assert continuation_of(swept, start_of(**here)) == "gantrain launch retry sweep a1"
