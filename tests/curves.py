"""Helpers that read a run directory."""

from pathlib import Path
from typing import Any

import pytest
import torch

from gantrain.runs.checkpoint import read_newest
from gantrain.runs.metrics_file import read_metrics
from gantrain.runs.records import read_events, read_status


def curve(run_dir: Path) -> list[dict[str, float]]:
    """Return the lines of metrics without those that depend on the clock."""
    lines = read_metrics(run_dir)
    return [{k: v for k, v in line.items() if not k.startswith("speed/")} for line in lines]


def events(run_dir: Path, *kinds: str) -> list[dict[str, Any]]:
    """Return the events of these kinds, or all events."""
    return [line for line in read_events(run_dir) if not kinds or line["event"] in kinds]


def status(run_dir: Path) -> dict[str, Any]:
    """Return the content of status.json."""
    return read_status(run_dir)


def assert_similar_curves(one: Path, other: Path, *, lines: int) -> None:
    """Assert that two runs logged so many lines, equal to float tolerance.

    What pairs of a class tell is left out: each rank knows those among its own images only.
    """
    mine, theirs = (
        [{name: x for name, x in line.items() if "_class_" not in name} for line in curve(run)]
        for run in (one, other)
    )
    assert len(mine) == len(theirs) == lines
    for a, b in zip(mine, theirs, strict=True):
        assert a == pytest.approx(b, rel=1e-3, abs=1e-6)


def assert_same_end(one: Path, other: Path) -> None:
    """Assert that two runs have the same curve, networks, EMA and optimizers, bit for bit."""
    assert curve(one) == curve(other)
    (a, _), (b, _) = read_newest(one), read_newest(other)
    assert a is not None
    assert b is not None
    for file, tensors in a.tensors.items():
        assert [n for n, t in tensors.items() if not torch.equal(t, b.tensors[file][n])] == []
