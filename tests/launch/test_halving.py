"""Successive halving from the run directories, and the leaderboard."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch.curves import value_at
from launch.halving import compare, decide, read_rungs, rungs
from launch.leaderboard import build_leaderboard
from launch.states import RunState
from launch.sweepfile import EarlyStop

RULE = EarlyStop(metric="m", direction="min", min_kimg=1, factor=3)


def curve(*values: float, every: int = 1000) -> list[dict[str, Any]]:
    return [{"images_seen": (i + 1) * every, "m": value} for i, value in enumerate(values)]


def test_rungs_grow_by_the_factor_and_exclude_the_end() -> None:
    assert rungs(RULE, 27_000) == [1000, 3000, 9000]
    assert rungs(RULE, 1000) == []


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30), st.integers(2, 4))
def test_the_best_run_always_continues(values: list[float], factor: int) -> None:
    rule = EarlyStop(metric="m", min_kimg=1, factor=factor)
    best = min(values)
    others = list(values)
    others.remove(best)
    assert compare(best, others, rule, 1000) is None


@given(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=30, unique=True))
def test_a_third_continues_once_all_have_reached_the_rung(values: list[float]) -> None:
    kept = [
        v for i, v in enumerate(values) if compare(v, values[:i] + values[i + 1 :], RULE, 1) is None
    ]
    assert len(kept) == len(values) // 3
    assert max(kept) <= min(set(values) - set(kept))


def test_direction_and_nan() -> None:
    highest = EarlyStop(metric="m", direction="max", min_kimg=1, factor=3)
    assert compare(9.0, [1.0, 2.0], highest, 1) is None
    verdict = compare(1.0, [9.0, 2.0], highest, 1)
    assert verdict is not None
    assert (verdict.rank, verdict.peers, verdict.bar) == (3, 3, 9.0)
    assert compare(math.nan, [], RULE, 1) is not None
    assert compare(1.0, [math.nan, math.nan], RULE, 1) is None


def test_runs_decide_from_each_others_files(tmp_path: Path) -> None:
    runs = [tmp_path / name for name in ("a", "b", "c")]
    for folder in runs:
        folder.mkdir()
    # Two runs are too few to cut; of three, the worst is stopped.
    assert decide(runs[0], curve(1.0, 1.0), RULE, 27_000) is None
    assert decide(runs[1], curve(2.0, 2.0), RULE, 27_000) is None
    verdict = decide(runs[2], curve(3.0, 3.0), RULE, 27_000)
    assert verdict is not None
    assert "ranks 3 of 3" in verdict.describe("m")
    # A run that passed a rung is not compared there again, although it would be stopped now.
    assert decide(runs[1], curve(2.0, 2.0), RULE, 27_000) is None
    assert {r: e.passed for r, e in read_rungs(runs[1]).items()} == {1000: True}
    # A run that was killed before it recorded that it passed is compared when it resumes.
    assert not read_rungs(runs[2])[1000].passed
    assert decide(runs[2], curve(3.0), RULE, 27_000) is not None


def test_value_at_is_the_mean_over_the_last_tenth() -> None:
    lines = curve(*range(1, 101), every=10)
    assert value_at(lines, "m", 1000) == pytest.approx(sum(range(91, 101)) / 10)
    assert value_at(lines, "m", 5) is None
    assert value_at(lines, "none", 1000) is None
    # A metric logged less often has its last value returned.
    assert value_at([{"images_seen": 10, "m": 7.0}], "m", 1000) == 7.0


def state(run: str, flat: dict[str, Any], finished: bool = True) -> RunState:
    return RunState(run=run, state="finished" if finished else "running", flat=flat)


def test_leaderboard_compares_at_equal_images(tmp_path: Path) -> None:
    states = []
    for index, (lr, seed, length) in enumerate(
        [(1e-4, 0, 4), (1e-4, 1, 4), (2e-4, 0, 8), (2e-4, 1, 4), (3e-4, 0, 2)]
    ):
        folder = tmp_path / "runs" / f"r{index}"
        folder.mkdir(parents=True)
        # The longer run would win at its own end, but the others have not reached it.
        values = [lr * 1e4 + seed * 0.2] * 4 + [0.0] * (length - 4)
        lines = curve(*values[:length])
        (folder / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
        flat = {"generator.learning_rate": lr, "seed": seed}
        states.append(state(f"r{index}", flat, finished=length >= 4))
    board = build_leaderboard(tmp_path, states, "m", "min")
    assert board.images == 4000
    assert board.keys == ["generator.learning_rate"]
    assert [row.values["generator.learning_rate"] for row in board.rows] == [1e-4, 2e-4]
    assert board.rows[0].mean == pytest.approx(1.1)
    assert board.rows[0].spread == pytest.approx(0.1414, abs=1e-3)
    assert board.behind == ["r4"]
    assert [effect.runs for effect in board.effects] == [2, 2]
    assert board.effects[0].against_mean == pytest.approx(-0.5)
    highest = build_leaderboard(tmp_path, states, "m", "max", kimg=2)
    assert highest.images == 2000
    assert highest.behind == []
    assert highest.rows[0].values["generator.learning_rate"] == 3e-4
