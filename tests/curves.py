"""Helpers that read a run directory."""

import json
from pathlib import Path
from typing import Any

import torch

from gantrain.runs.checkpoint import read_newest
from gantrain.runs.records import read_metrics


def curve(run_dir: Path) -> list[dict[str, float]]:
    """The metrics without what a clock decides."""
    lines = read_metrics(run_dir)
    return [{k: v for k, v in line.items() if not k.startswith("speed/")} for line in lines]


def events(run_dir: Path, *kinds: str) -> list[dict[str, Any]]:
    """The events of these kinds, or all."""
    lines = [json.loads(line) for line in (run_dir / "events.jsonl").open()]
    return [line for line in lines if not kinds or line["event"] in kinds]


def status(run_dir: Path) -> dict[str, Any]:
    """How the run says that it stands."""
    content: dict[str, Any] = json.loads((run_dir / "status.json").read_text())
    return content


def assert_same_end(one: Path, other: Path) -> None:
    """Both runs have the same curve, networks, EMA and optimizers, bit for bit."""
    assert curve(one) == curve(other)
    (a, _), (b, _) = read_newest(one), read_newest(other)
    assert a is not None
    assert b is not None
    for file, tensors in a.tensors.items():
        assert [n for n, t in tensors.items() if not torch.equal(t, b.tensors[file][n])] == []
