"""The check of a GPU machine: its report, its time limit, and what it does without a GPU."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.gpu import check, read_tests, stages_on, write_report
from benchmarks.stages import Stage, run
from tests.launching import ROOT, environment


def stage(
    name: str, command: str, seconds: float, status: int | None, output: str = ""
) -> dict[str, Any]:
    """Return what a report says of a stage."""
    named = {"name": name, "command": command, "seconds": seconds}
    return {**named, "status": status, "output": output}


ROUND = {"images": 100, "seconds": 0.5, "memory": 2 * 10**9}
REPORT: dict[str, Any] = {
    "device": {"name": "NVIDIA H100 80GB HBM3", "count": 1, "torch": "2.11.0", "cuda": "13.0"},
    "stages": [
        stage("tests", "python -m pytest", 61.2, 1),
        stage("training", "python -m x", 99.0, None, "dcgan ours: 3 iterations a round"),
    ],
    "tests": [
        {"name": "tests.gpu::a", "outcome": "passed", "reason": ""},
        {"name": "tests.gpu::b", "outcome": "failure", "reason": "assert 1 == 2"},
    ],
    "cells": [
        {
            "objective": "dcgan",
            "width": 64,
            "batch": 128,
            "ranks": 1,
            "size": 64,
            "set": "",
            "implementations": {
                "plain bf16": {"rounds": [ROUND, ROUND]},
                "ours bf16": {"rounds": [{**ROUND, "seconds": 0.25}] * 2},
            },
        }
    ],
    "limit": ["bf16: fastest square matrix product 900,000 GFLOP/s, cuda"],
}


def test_the_report_says_what_ran_what_failed_and_what_was_measured(tmp_path: Path) -> None:
    page, data = write_report(REPORT, tmp_path)
    assert page.name == "NVIDIA-H100-80GB-HBM3.md"
    assert json.loads(data.read_text(encoding="utf-8")) == REPORT
    text = page.read_text(encoding="utf-8")
    for words in (
        "# NVIDIA H100 80GB HBM3",
        "torch 2.11.0",
        "| tests | `python -m pytest` | 61 | failed with status 1 |",
        "ended, since it took too long",
        "dcgan ours: 3 iterations a round",
        "1 passed, 1 failure",
        "- failure: `tests.gpu::b`: assert 1 == 2",
        "| dcgan | 64 | 128 | 1 | bf16 | 200 ±0% | not run | 400 ±0% | 2.00 ±0.00 |",
        "900,000 GFLOP/s",
    ):
        assert words in text


def test_a_report_without_results_says_so(tmp_path: Path) -> None:
    page, _ = write_report({**REPORT, "tests": [], "cells": [], "limit": []}, tmp_path)
    assert page.read_text(encoding="utf-8").count("No result.") == 2


def test_the_outcomes_of_tests_are_read_from_their_file(tmp_path: Path) -> None:
    path = tmp_path / "tests.py"
    path.write_text(
        "import pytest\n"
        "def test_good(): pass\n"
        "def test_bad(): assert 1 == 2\n"
        "@pytest.mark.skip(reason='one GPU')\ndef test_left_out(): pass\n",
        encoding="utf-8",
    )
    out = tmp_path / "out.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-c", "/dev/null", str(path)]
    subprocess.run([*command, f"--junitxml={out}"], capture_output=True, check=False)
    found = {test["name"].split("::")[1]: test for test in read_tests(out)}
    assert {name: test["outcome"] for name, test in found.items()} == {
        "test_good": "passed",
        "test_bad": "failure",
        "test_left_out": "skipped",
    }
    assert found["test_left_out"]["reason"] == "one GPU"
    out.write_text(out.read_text(encoding="utf-8")[:100], encoding="utf-8")
    assert read_tests(out) == []  # of tests that were ended


def shell_stage(name: str, program: str, folder: Path, share: float = 1.0) -> Stage:
    """Return a stage that runs a program of the shell, whose $0 is the file to write."""
    out = folder / f"{name}.out"
    return Stage(name, ["sh", "-c", program, str(out)], share, out)


def test_a_stage_that_takes_too_long_is_interrupted(tmp_path: Path) -> None:
    program = "trap 'echo interrupted; exit 1' INT; echo so far; sleep 600 & wait"
    outcome = run(shell_stage("slow", program, tmp_path), 2.0)
    assert outcome.status is None
    assert outcome.output == "so far\ninterrupted\n"


def test_a_stage_that_is_not_to_be_interrupted_is_ended_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.stages.GRACE_SECONDS", 0.5)
    program = "trap '' INT; setsid sleep 600 & echo so far $!; wait"
    outcome = run(shell_stage("slow", program, tmp_path), 2.0)
    assert outcome.status is None
    *words, child = outcome.output.split()
    assert words == ["so", "far"]
    assert is_gone(int(child))


def is_gone(pid: int) -> bool:
    """Whether a process that was killed has ended, if not been waited for by its parent."""
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        except OSError:
            return True
        if state[0] in "ZX":
            return True
        time.sleep(0.1)
    return False


def test_interrupted_tests_leave_the_outcomes_of_those_before(tmp_path: Path) -> None:
    path, out = tmp_path / "tests.py", tmp_path / "out.xml"
    path.write_text(
        "import os, signal\n"
        "def test_quick(): pass\n"
        "def test_endless(): os.kill(os.getpid(), signal.SIGINT)\n"
        "def test_never_run(): pass\n",
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "pytest", "-v", "-c", "/dev/null", str(path)]
    outcome = run(Stage("tests", [*command, f"--junitxml={out}"], 1.0, out), 300.0)
    assert outcome.status == pytest.ExitCode.INTERRUPTED
    (test,) = read_tests(out)
    assert test["name"].endswith("::test_quick")
    assert "::test_endless" in outcome.output  # which is in the report


def test_whatever_happens_to_a_stage_the_report_has_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("benchmarks.stages.GRACE_SECONDS", 0.5)
    monkeypatch.setattr("benchmarks.gpu.GRACE_SECONDS", 0.5)
    some = tmp_path / "some.json"
    no_rounds = {**REPORT["cells"][0], "implementations": {}}
    some.write_text(json.dumps({"cells": [*REPORT["cells"], no_rounds]}), encoding="utf-8")
    stages = [
        shell_stage("tests", "echo no CUDA; exit 3", tmp_path, 0.5),
        shell_stage("training", f"cp {some} $0; echo second cell; sleep 600", tmp_path, 0.5),
        shell_stage("convolutions alone", "echo 900,000 GFLOP/s", tmp_path),
    ]
    started = time.monotonic()
    outcomes = check(REPORT["device"], stages, started + 8.0, tmp_path / "gpu")
    assert time.monotonic() - started < 60
    assert [outcome.status for outcome in outcomes] == [3, None, 0]
    page, data = (Path(line) for line in capfd.readouterr().out.splitlines()[-2:])
    report = json.loads(data.read_text(encoding="utf-8"))
    assert report["cells"] == REPORT["cells"]
    assert str(tmp_path) not in data.read_text(encoding="utf-8")  # but names in it
    assert [stage["output"] for stage in report["stages"]] == ["no CUDA", "second cell", ""]
    for words in ("failed with status 3", "second cell", "400 ±0%", "900,000 GFLOP/s"):
        assert words in page.read_text(encoding="utf-8")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_each_stage_is_skipped_by_name(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", "--out", str(tmp_path / "gpu")],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    names = [stage.name for stage in stages_on("cuda", tmp_path)]
    lines = done.stdout.splitlines()
    assert [line.split(" (")[0] for line in lines] == [f"skipped: {name}" for name in names]
    assert not (tmp_path / "gpu").exists()


def test_the_stages_name_tests_and_options_that_exist(tmp_path: Path) -> None:
    for device in ("cuda", "cpu"):
        tests, *benchmarks = stages_on(device, tmp_path)
        assert all((ROOT / word).exists() for word in tests.command if word.startswith("tests/"))
        for stage in benchmarks:
            module = stage.command[2]
            text = (ROOT / module.replace(".", "/")).with_suffix(".py").read_text(encoding="utf-8")
            for word in stage.command[3:]:
                assert not word.startswith("--") or f'"{word}"' in text
