"""Check a machine with a GPU and write what it can do: `make gpu`, `python -m benchmarks.gpu`.

Runs the tests marked gpu, then benchmarks/train.py beside plain PyTorch and benchmarks/limit.py,
all on the device, and writes docs/gpu/DEVICE.md and DEVICE.json, anew after each stage. Needs no
network, and ends after --minutes at the latest: the training measures less if there is less time,
a stage that takes longer than its share is ended, and the report has what it has done until then.
Without a GPU, each stage is skipped by name. --device cpu is a rehearsal on a CPU, with tiny
networks.
"""

import argparse
import json
import platform
import re
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from benchmarks.gpu_report import markdown
from benchmarks.stages import GRACE_SECONDS, Outcome, Stage, run
from gantrain.common.pools import affinity

_ROOT = Path(__file__).parent.parent
_OUT = _ROOT / "docs" / "gpu"
# Those that take longest come last.
_TESTS = (
    "tests/gpu/test_data.py",
    "tests/common/test_device_rng.py",
    "tests/models/test_layer_norm.py",
    "tests/training/test_no_sync.py",
    "tests/gpu/test_training.py",
    "tests/gpu/test_compile.py",
)
_PROCESSES = 12  # of the tests, at most: each takes some hundred MB of the GPU
_TEST_SECONDS = 90  # after which a test fails, so that the others run
_OUTPUT_LINES = 100  # that the report keeps of a stage that has not ended well


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
    import torch  # on the clock

    # Stages inherit it, who are interrupted; the background of a script ignores it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Raise SystemExit wherever the check is, so that its stage is ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with tempfile.TemporaryDirectory() as scratch:
        stages = stages_on(options.device, Path(scratch))
        if options.device == "cuda" and not torch.cuda.is_available():
            for stage in stages:
                print(f"skipped: {stage.name} (torch {torch.__version__} finds no GPU)")
            return
        # In another process, so that this one leaves the GPU to the stages.
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            device = pool.submit(describe_device, options.device).result()
        outcomes = check(device, stages, deadline, options.out)
    if any(outcome.status != 0 for outcome in outcomes):
        sys.exit(1)


def check(
    device: dict[str, Any], stages: Sequence[Stage], deadline: float, folder: Path
) -> list[Outcome]:
    """Run the stages until the deadline, of the monotonic clock; write the report after each."""
    outcomes: list[Outcome] = []
    written: list[Path] = []
    for stage in stages:
        left = deadline - time.monotonic() - GRACE_SECONDS
        outcomes.append(run(stage, max(left * stage.share, 1.0)))
        outcome = outcomes[-1]
        print(f"{stage.name}: {outcome.describe()}, {outcome.seconds:.0f} s", flush=True)
        if outcome.status != 0:
            print(outcome.output[-4000:], flush=True)
        written = write_report(collect(device, stages, outcomes), folder)
    print("\n".join(str(path) for path in written))
    return outcomes


def stages_on(device: str, scratch: Path) -> list[Stage]:
    """Return the stages of the check on cuda, or of its rehearsal on cpu."""
    on_gpu = device == "cuda"
    width, batch, size = ("64", "128", "64") if on_gpu else ("4", "8", "32")
    python = [sys.executable, "-m"]
    cells = ["--objective", "dcgan", "wgan-gp", "--width", width, "--batch", batch, "--size", size]
    junit, train, limit = (scratch / name for name in ("tests.xml", "train.json", "limit.txt"))
    tests = ["-m", "gpu", *_tests_in_order()] if on_gpu else [_TESTS[0]]
    rounds: tuple[str, ...] = ("--rounds", "5", "--seconds", "2", "--warmup", "20")
    seconds: tuple[str, ...] = ("--seconds", "0.05")
    if not on_gpu:
        # With more threads than a busy machine has cores, each of them waits for the others.
        one_thread = ("--threads", "1")
        rounds = (
            *("--precision", "fp32", "--rounds", "1", "--seconds", "0.1", "--warmup", "1"),
            *one_thread,
        )
        seconds = ("--seconds", "0.001", *one_thread)
    return [
        Stage(
            "tests",
            [
                *(*python, "pytest", "-v", "-p", "no:cacheprovider", f"--timeout={_TEST_SECONDS}"),
                *(*tests, f"--junitxml={junit}"),
            ],
            0.55,
            junit,
        ),
        Stage(
            "training",
            [
                *(*python, "benchmarks.train", "--device", device, *cells, "--ranks", "1"),
                *("--implementations", "plain", "ours", *rounds, "--out", str(train)),
            ],
            0.75,
            train,
            limited=True,
        ),
        Stage(
            "convolutions alone",
            [*python, "benchmarks.limit", "--device", device, *cells, *seconds],
            1.0,
            limit,
        ),
    ]


def _tests_in_order() -> list[str]:
    """Return the files with tests; where several processes share them, the longest first."""
    cores = len(affinity())
    if cores < 4 or find_spec("xdist") is None:
        return list(_TESTS)
    processes = str(min(cores - 2, _PROCESSES))
    # By default a process keeps the tests that it is to run next, even if it has a long one.
    return ["--numprocesses", processes, "--dist", "worksteal", *reversed(_TESTS)]


def collect(
    device: dict[str, Any], stages: Sequence[Stage], outcomes: Sequence[Outcome]
) -> dict[str, Any]:
    """Return the report of the stages that have run, of plain values."""
    tests, train, limit = stages
    done = {outcome.name: outcome.output for outcome in outcomes if outcome.status == 0}
    return {
        "device": device,
        "stages": [
            {
                **asdict(outcome),
                "command": outcome.command.replace(f"{stage.out.parent}/", ""),
                "output": end_of_output(outcome),
            }
            for stage, outcome in zip(stages, outcomes, strict=False)
        ],
        "tests": read_tests(tests.out),
        "cells": read_cells(train.out),
        "limit": done.get(limit.name, "").splitlines(),
    }


def end_of_output(outcome: Outcome) -> str:
    """Return the last lines of a stage that has not ended well; nothing of another."""
    if outcome.status == 0:
        return ""
    return "\n".join(outcome.output.splitlines()[-_OUTPUT_LINES:])


def read_cells(path: Path) -> list[dict[str, Any]]:
    """Return the cells of benchmarks/train.py of which something was measured."""
    if not path.exists():
        return []
    cells: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["implementations"]]


def describe_device(device: str) -> dict[str, Any]:
    """Return the names and versions of what was measured."""
    import torch

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
        if case.get("name") is None:  # pytest was interrupted in it
            continue
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
