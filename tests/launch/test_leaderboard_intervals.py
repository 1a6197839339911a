"""The intervals of the leaderboard, and which settings it says are not distinguishable."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from launch.leaderboard import Leaderboard, build_leaderboard, doubts_of
from launch.states import RunState
from launch.sweep_page import page_data
from launch.tables import print_leaderboard, print_status

METRIC = "quality/kid_random"


def write_runs(folder: Path, settings: dict[float, list[dict[str, Any]]]) -> list[RunState]:
    """Write a run for each line of metrics of each learning rate."""
    states: list[RunState] = []
    for rate, lines in settings.items():
        for seed, line in enumerate(lines):
            name = f"r{len(states)}"
            (folder / "runs" / name).mkdir(parents=True)
            line = {"images_seen": 1000, **line}
            (folder / "runs" / name / "metrics.jsonl").write_text(json.dumps(line) + "\n")
            flat = {"generator.learning_rate": rate, "seed": seed}
            states.append(RunState(run=name, state="finished", flat=flat))
    return states


def measured(value: float, half: float | None = None) -> dict[str, Any]:
    ends = {"low": -1.0, "high": 1.0} if half is not None else {}
    return {
        METRIC: value,
        **{f"interval/kid_random_{k}": value + s * (half or 0) for k, s in ends.items()},
    }


def board_of(folder: Path, settings: dict[float, list[dict[str, Any]]]) -> Leaderboard:
    return build_leaderboard(folder, write_runs(folder, settings), METRIC, "min")


def test_settings_with_several_seeds_have_the_interval_of_scipy(tmp_path: Path) -> None:
    values = {1.0: [10.0, 11.0, 12.5], 2.0: [11.0, 12.0, 14.0], 3.0: [20.0, 21.0, 22.0]}
    rates = {rate: [measured(v, 0.1) for v in scores] for rate, scores in values.items()}
    board = board_of(tmp_path, rates)
    for row, scores in zip(board.rows, values.values(), strict=True):
        expected = stats.t.interval(0.95, 2, loc=np.mean(scores), scale=stats.sem(scores))
        assert row.interval == pytest.approx(expected, rel=1e-4)
    assert [row.like_first for row in board.rows] == [None, True, False]
    assert doubts_of(board) == ["≈ Not distinguishable from the first (95%): 2."]


def test_settings_with_one_seed_have_the_interval_of_its_measurement(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rates = {
        1.0: [measured(1.0, 0.1)],
        2.0: [measured(1.12, 0.1)],
        3.0: [measured(1.3, 0.1)],
        4.0: [measured(1.4)],
    }
    board = board_of(tmp_path, rates)
    assert board.rows[0].interval == pytest.approx((0.9, 1.1))
    # Overlapping intervals may differ: |1.3 - 1.0| > √2 · 0.1, although 1.1 touches 1.2.
    assert [row.like_first for row in board.rows] == [None, True, False, None]
    first, second = doubts_of(board)
    assert first.endswith("(95%): 2.")
    assert "another seed may differ by more" in second
    print_leaderboard(board, 10)
    printed = capsys.readouterr().out
    assert "0.9 … 1.1" in printed
    assert "1.12 ≈" in printed
    assert first in printed
    page: Any = page_data("s", tmp_path, [], board)["board"]
    assert page["rows"][1][3:] == [board.rows[1].interval, True, "", ""]
    assert page["doubts"] == [first, second]


def test_boards_without_intervals_say_nothing_of_them(tmp_path: Path) -> None:
    board = board_of(tmp_path, {1.0: [measured(1.0)], 2.0: [measured(2.0)]})
    assert [row.interval for row in board.rows] == [None, None]
    assert doubts_of(board) == []


def test_the_board_says_how_far_from_the_data_each_setting_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rates = {1.0: [measured(6.0, 0.1), measured(1.0, 0.1)], 2.0: [measured(9.0, 0.1)]}
    board = board_of(tmp_path, rates)
    assert [row.quality for row in board.rows] == ["", ""]  # of unknown spread, as older runs
    print_leaderboard(board, 9)
    assert "quality " not in capsys.readouterr().out
    marks = {"event": "floor", "scores": {METRIC: 0.0}, "spread": {METRIC: 40.0}}
    for run in (tmp_path / "runs").iterdir():
        (run / "events.jsonl").write_text(json.dumps(marks) + "\n")
    states = [RunState(f"r{i}", "finished", flat={"seed": i}) for i in range(2)]
    states.append(RunState("r2", "finished", flat={"seed": 0, "generator.width": 8}))
    judged = build_leaderboard(tmp_path, states, METRIC, "min")
    assert [row.quality for row in judged.rows] == [
        "far from the data / near the data",
        "far from the data",
    ]
    print_leaderboard(judged, 9)
    printed = capsys.readouterr().out
    assert "far from the data / near" in printed
    assert "trend" not in printed  # of a single measurement


def test_the_board_judges_by_what_was_measured_until_there(tmp_path: Path) -> None:
    states = write_runs(tmp_path, {1.0: [measured(1.0)]})
    lines = [{"images_seen": 1000 * i, **measured(v)} for i, v in enumerate((9.0, 1.0, 5.0), 1)]
    run = tmp_path / "runs" / "r0"
    (run / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    marks = {"event": "floor", "scores": {METRIC: 0.0}, "spread": {METRIC: 40.0}}
    (run / "events.jsonl").write_text(json.dumps(marks) + "\n")
    (early,) = build_leaderboard(tmp_path, states, METRIC, "min", 2).rows
    assert (early.quality, early.trend) == ("near the data", "improving")
    board = build_leaderboard(tmp_path, states, METRIC, "min", 3)
    assert (board.rows[0].quality, board.rows[0].trend) == (
        "far from the data",
        "worse than its best",
    )
    (card,) = page_data("s", tmp_path, states, board)["runs"]
    assert (card["quality"], card["trend"]) == ("far from the data", "worse than its best")
    assert "5 at 3 kimg, 5 times worse than its best, 1 at 2 kimg" in card["evidence"]


def test_status_says_training_and_quality_unless_no_run_does(
    capsys: pytest.CaptureFixture[str],
) -> None:
    old = RunState("old", "finished")
    new = RunState("new", "running", training="no fault seen", quality="near the data, flat")
    print_status([old, new], [], 9)
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("training", "no fault seen", "near the data, flat"))
    print_status([old], [], 9)
    assert "quality" not in capsys.readouterr().out
