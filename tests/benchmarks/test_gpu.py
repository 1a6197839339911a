"""The check of a GPU machine: its report, its time limit, and what it does without a GPU."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.gpu import Stage, read_tests, run, stages_on, write_report
from tests.launching import ROOT, environment

ROUND = {"images": 100, "seconds": 0.5, "memory": 2 * 10**9}
REPORT: dict[str, Any] = {
    "device": {"name": "NVIDIA H100 80GB HBM3", "count": 1, "torch": "2.11.0", "cuda": "13.0"},
    "stages": [
        {"name": "tests", "command": "python -m pytest", "seconds": 61.2, "status": 1},
        {"name": "training", "command": "python -m x", "seconds": 99.0, "status": None},
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


def test_a_stage_that_takes_too_long_is_ended_with_what_it_has_printed() -> None:
    program = "import time; print('so far', flush=True); time.sleep(600)"
    stage = Stage("slow", [sys.executable, "-c", program], 1.0, Path("none"))
    started = time.monotonic()
    outcome = run(stage, 3.0)
    assert time.monotonic() - started < 60
    assert outcome.status is None
    assert outcome.output == "so far\n"


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
