"""Check a machine with a GPU and write what it can do: `make gpu`, `python -m benchmarks.gpu`.

Runs the tests marked gpu, then benchmarks/train.py beside plain PyTorch and benchmarks/limit.py,
all on the device, and writes docs/gpu/DEVICE.md and DEVICE.json. Needs no network, and ends after
--minutes at the latest: a stage that takes longer is ended, and the report says so. Without a GPU,
each stage is skipped by name. --device cpu is a rehearsal on a CPU, with tiny networks.
"""

import argparse
import contextlib
import json
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import torch

from benchmarks.gpu_report import markdown

_ROOT = Path(__file__).parent.parent
_OUT = _ROOT / "docs" / "gpu"
_TESTS = ("tests/gpu", "tests/training/test_no_sync.py")
_END_SECONDS = 5.0  # for a stage that is ended


@dataclass(frozen=True)
class Stage:
    """A command of the check.

    share: of the minutes that are left when it starts. out: the file that it writes.
    """

    name: str
    command: list[str]
    share: float
    out: Path


@dataclass(frozen=True)
class Outcome:
    """What became of a stage. status: its exit status, None if it took too long."""

    name: str
    command: str
    seconds: float
    status: int | None
    output: str


def main() -> None:
    """Check the device, write the report, and exit with status 1 if a stage failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--out", type=Path, default=_OUT, help="folder of the report")
    parser.add_argument("--minutes", type=float, default=8.0, help="longest duration")
    options = parser.parse_args()
    deadline = time.monotonic() + 60 * options.minutes
    with tempfile.TemporaryDirectory() as scratch:
        stages = stages_on(options.device, Path(scratch))
        if options.device == "cuda" and not torch.cuda.is_available():
            for stage in stages:
                print(f"skipped: {stage.name} (torch {torch.__version__} finds no GPU)")
            return
        outcomes = []
        for stage in stages:
            left = deadline - time.monotonic() - _END_SECONDS
            outcomes.append(run(stage, max(left * stage.share, 1.0)))
            print(f"{stage.name}: {describe_outcome(outcomes[-1])}", flush=True)
        report = collect(options.device, stages, outcomes)
    written = write_report(report, options.out)
    print("\n".join(str(path) for path in written))
    if any(outcome.status != 0 for outcome in outcomes):
        sys.exit(1)


def stages_on(device: str, scratch: Path) -> list[Stage]:
    """Return the stages of the check on cuda, or of its rehearsal on cpu."""
    on_gpu = device == "cuda"
    width, batch = ("64", "128") if on_gpu else ("4", "8")
    python = [sys.executable, "-m"]
    cells = ["--objective", "dcgan", "wgan-gp", "--width", width, "--batch", batch]
    tests = [*python, "pytest", "-q", "-p", "no:cacheprovider", "-m", "gpu", *_TESTS]
    if not on_gpu:
        tests = [*python, "pytest", "-q", "-p", "no:cacheprovider", "tests/gpu/test_data.py"]
    junit, train, limit = (scratch / name for name in ("tests.xml", "train.json", "limit.txt"))
    rounds = ("--rounds", "5", "--seconds", "2", "--warmup", "20")
    if not on_gpu:
        rounds = ("--rounds", "1", "--seconds", "0.1", "--warmup", "1")
    seconds = "0.05" if on_gpu else "0.001"
    return [
        Stage("tests", [*tests, f"--junitxml={junit}"], 0.55, junit),
        Stage(
            "training",
            [
                *(*python, "benchmarks.train", "--device", device, *cells, "--ranks", "1"),
                *("--implementations", "plain", "ours", *rounds, "--out", str(train)),
            ],
            0.75,
            train,
        ),
        Stage(
            "convolutions alone",
            [*python, "benchmarks.limit", "--device", device, *cells, "--seconds", seconds],
            1.0,
            limit,
        ),
    ]


def run(stage: Stage, seconds: float) -> Outcome:
    """Run a stage for so many seconds at most, and end it with all that it started."""
    started = time.monotonic()
    process = subprocess.Popen(
        stage.command,
        cwd=_ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    status: int | None = None
    try:
        output, _ = process.communicate(timeout=seconds)
        status = process.returncode
    except subprocess.TimeoutExpired:
        # SIGTERM first: the benchmark ends its processes, which have sessions of their own.
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_END_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
    command = " ".join(["python", *stage.command[1:]])
    return Outcome(stage.name, command, time.monotonic() - started, status, output)


def describe_outcome(outcome: Outcome) -> str:
    """Return what became of a stage in a few words, with the end of its output if it failed."""
    seconds = f"{outcome.seconds:.0f} s"
    if outcome.status == 0:
        return f"done in {seconds}"
    if outcome.status is None:
        return f"ended after {seconds}, since it took too long"
    return f"failed with status {outcome.status} after {seconds}:\n{outcome.output[-4000:]}"


def collect(device: str, stages: Sequence[Stage], outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return the report, of plain values."""
    tests, train, _ = (stage.out for stage in stages)
    by_name = {outcome.name: outcome for outcome in outcomes}
    return {
        "device": describe_device(device),
        "stages": [{**asdict(outcome), "output": ""} for outcome in outcomes],
        "tests": read_tests(tests),
        "cells": json.loads(train.read_text(encoding="utf-8"))["cells"] if train.exists() else [],
        "limit": by_name["convolutions alone"].output.splitlines(),
    }


def describe_device(device: str) -> dict[str, Any]:
    """Return the names and versions of what was measured."""
    described: dict[str, Any] = {
        "name": f"CPU {platform.machine()}",
        "count": 1,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    if device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        described |= {
            "name": properties.name,
            "count": torch.cuda.device_count(),
            "memory_gb": round(properties.total_memory / 1e9, 1),
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
            "capability": ".".join(str(n) for n in torch.cuda.get_device_capability(0)),
        }
    return described


def read_tests(path: Path) -> list[dict[str, str]]:
    """Return name and outcome of each test of a JUnit file; none if there is no whole file."""
    try:
        tree = ElementTree.parse(path)
    except (OSError, ElementTree.ParseError):
        return []
    tests = []
    for case in tree.iter("testcase"):
        found = [child for child in case if child.tag in ("failure", "error", "skipped")]
        tests.append(
            {
                "name": f"{case.get('classname')}::{case.get('name')}",
                "outcome": found[0].tag if found else "passed",
                "reason": (found[0].get("message") or "").split("\n")[0] if found else "",
            }
        )
    return tests


def write_report(report: dict[str, Any], folder: Path) -> list[Path]:
    """Write DEVICE.md and DEVICE.json, and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"[^A-Za-z0-9]+", "-", report["device"]["name"]).strip("-")
    texts = {".md": markdown(report), ".json": json.dumps(report, indent=1) + "\n"}
    paths = [folder / f"{name}{suffix}" for suffix in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        path.write_text(text, encoding="utf-8")
    return paths


if __name__ == "__main__":
    main()
