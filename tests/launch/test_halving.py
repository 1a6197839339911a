"""Successive halving from the run directories, and the leaderboard."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gantrain.common.errors import UserError
from launch.attempts import EARLY_STOP, read_marker, write_marker
from launch.curves import images_with, value_at
from launch.halving import compare, decide, read_rungs, rungs, values_of_others
from launch.leaderboard import (
    build_leaderboard,
    choose_direction,
    logged_metrics,
    require_metric,
)
from launch.states import RunState
from launch.sweepfile import EarlyStop
from launch.tables import print_leaderboard

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


QUALITY = EarlyStop(metric="quality/fid", min_kimg=1, factor=3)


def lines_with(*values: float | None, every: int = 1000) -> list[dict[str, Any]]:
    """Lines of a run that measures at each; None where the value was not finite."""
    rest = {"loss/generator": 1.0, "quality/swd": 0.5}
    return [
        {"images_seen": (i + 1) * every, **rest} | ({} if v is None else {"quality/fid_random": v})
        for i, v in enumerate(values)
    ]


def test_metric_that_turns_nan_does_not_pass_on_old_values(tmp_path: Path) -> None:
    lines = lines_with(1.0, 2.0, None, 4.0)
    metric = "quality/fid_random"
    assert [value_at(lines, metric, images) for images in (999, 1000, 2500, 4000)] == [
        *(None, 1.0, 2.0, 4.0)
    ]
    assert math.isnan(value_at(lines, metric, 3000) or 0)
    assert images_with(lines[:3], metric) == 3000
    # An explicit null, as in files of other writers, is no value either.
    assert math.isnan(value_at([*lines, {"images_seen": 5000, metric: None}], metric, 5000) or 0)
    # Lines between measurements do not have the metric, and it is not missing there.
    between = [*lines[:2], {"images_seen": 2500, "loss/generator": 1.0}]
    assert value_at(between, metric, 2500) == 2.0
    assert images_with(between, metric) == 2000
    # Skipped steps are logged where there are some.
    skipped = [{"images_seen": 1000, "health/skipped_steps": 3.0, "health/diagnosis": 0.0}]
    skipped += [{"images_seen": 2000, "health/diagnosis": 0.0}]
    assert value_at(skipped, "health/skipped_steps", 2000) == 0.0

    runs = [tmp_path / name for name in ("a", "b", "c")]
    for folder in runs:
        folder.mkdir()
    assert decide(runs[0], lines_with(5.0), QUALITY, 27_000) is None
    assert decide(runs[1], lines_with(6.0, 6.0, 6.0), QUALITY, 27_000) is None
    # The best of all until its metric turned NaN before the second rung.
    assert decide(runs[2], lines_with(1.0, 1.0), QUALITY, 27_000) is None
    verdict = decide(runs[2], lines_with(1.0, 1.0, None), QUALITY, 27_000)
    assert verdict is not None
    assert verdict.describe("quality/fid") == "quality/fid nan at 3,000 images ranks 2 of 2"
    write_marker(runs[2], EARLY_STOP, reason="", **verdict.to_json())
    marker = read_marker(runs[2], EARLY_STOP)
    assert marker is not None
    assert (marker["value"], marker["rank"]) == (None, 2)
    # Never finite, where others are.
    (tmp_path / "d").mkdir()
    verdict = decide(tmp_path / "d", lines_with(None), QUALITY, 27_000)
    assert verdict is not None
    assert math.isnan(verdict.value)


def test_rung_without_a_measurement_does_not_end_halving(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Measured from 5,000 images on, so that the rungs at 1,000 and 3,000 have nothing to compare.
    def line(images: int) -> dict[str, Any]:
        measured = {"quality/fid_random": float(images)} if images >= 5000 else {}
        return {"images_seen": images, "loss/generator": 1.0, **measured}

    folder = tmp_path / "a"
    folder.mkdir()
    assert decide(folder, [line(1000)], QUALITY, 27_000) is None
    assert read_rungs(folder) == {}  # the value may come with the next line
    lines = [line(1000), line(2000), line(4000), line(6000)]
    assert decide(folder, lines, QUALITY, 27_000) is None
    assert caplog.messages == [
        f"launch: halving: no value of quality/fid by {rung:,} images; the run continues"
        for rung in (1000, 3000)
    ]
    assert decide(folder, [*lines, line(9000)], QUALITY, 27_000) is None
    assert read_rungs(folder)[9000].value == 9000.0
    (tmp_path / "b").mkdir()
    assert values_of_others(tmp_path / "b", 1000) == []
    # A value a little after the rung is the rung's: iterations do not end at round numbers.
    late = [{"images_seen": 1024, "quality/fid_random": 7.0}]
    assert decide(tmp_path / "b", late, QUALITY, 27_000) is None
    assert read_rungs(tmp_path / "b")[1000].value == 7.0


def test_value_at_is_the_mean_over_the_last_tenth_or_the_last_measurement() -> None:
    lines = curve(*range(1, 101), every=10)
    assert value_at(lines, "m", 1000) == pytest.approx(sum(range(91, 101)) / 10)
    assert value_at(lines, "m", 5) is None
    quality = [{"images_seen": seen, "quality/fid": seen / 10} for seen in (910, 950, 1000)]
    assert value_at(quality, "quality/fid", 1000) == 100.0
    assert value_at(quality, "quality/fid", 999) == 95.0
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


def test_leaderboard_where_nothing_is_measured_yet_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    states = []
    for run, first in (("a", 2), ("b", 3)):
        folder = tmp_path / "runs" / run
        folder.mkdir(parents=True)
        lines = [{"images_seen": 1000 * i, "loss/generator": 1.0} for i in range(1, 5)]
        for line in lines[first - 1 :]:
            line["quality/fid_random"] = 5.0
        (folder / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
        states.append(state(run, {"seed": 0 if run == "a" else 1, "generator.width": first}))
    metric = "quality/fid_random"
    for kimg, said in (
        (1, "no run has measured quality/fid_random by then; the first measurement is at 2 kimg"),
        (9, "no run has measured quality/fid_random that far; the furthest measurement is at 4"),
    ):
        with pytest.raises(UserError, match=f"--kimg {kimg}: {said}"):
            build_leaderboard(tmp_path, states, metric, "min", kimg=kimg)
    board = build_leaderboard(tmp_path, states, metric, "min", kimg=2)
    assert ([row.runs for row in board.rows], board.later) == ([["a"]], ["b"])
    print_leaderboard(board, 9)
    assert "1 runs measured it only later and are left out." in capsys.readouterr().out
    print_leaderboard(build_leaderboard(tmp_path, [], metric, "min"), 9)
    assert capsys.readouterr().out == "no run has measured quality/fid_random yet\n"


def test_leaderboard_ranks_nan_last_and_leaves_out_what_does_not_measure(tmp_path: Path) -> None:
    curves = {
        "good": lines_with(3.0, 2.0, 1.0),
        "turned": lines_with(0.1, None, None),
        "never": lines_with(None, None, None),
        "behind": lines_with(0.5),
        "planned": [],
        "other": [{"images_seen": 3000, "loss/generator": 1.0}],
    }
    states = []
    for index, (name, lines) in enumerate(curves.items()):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        flat = {"generator.width": index, "objective.kind": "dcgan", "health.remedy": "off"}
        flat |= {"metrics.features": "random", "metrics.every_kimg": 0 if name == "other" else 1}
        states.append(state(name, flat, finished=name not in ("behind", "planned")))
    logged = logged_metrics(tmp_path, states)
    metric = require_metric("quality/fid", logged)
    assert metric == require_metric(None, logged) == "quality/fid_random"
    board = build_leaderboard(tmp_path, states, metric, "min")
    assert board.images == 3000
    assert [row.runs for row in board.rows] == [["good"], ["turned"], ["never"]]
    assert [math.isnan(row.mean) for row in board.rows] == [False, True, True]
    assert board.behind == ["behind", "planned"]
    assert board.unmeasured == ["other"]


def test_direction_follows_the_metric() -> None:
    # The sweep's own metric keeps the sweep's direction; others have that of their name.
    assert choose_direction("quality/fid_classifier", "quality/fid", "max", None) == "max"
    assert (
        choose_direction("quality/recall_classifier", "quality/fid_classifier", "min", None)
        == "max"
    )
    assert (
        choose_direction("quality/recall_classifier", "quality/fid_classifier", "min", "min")
        == "min"
    )
    assert choose_direction("loss/generator", "quality/recall_classifier", "max", None) == "min"
    with pytest.raises(UserError, match="give --direction"):
        choose_direction("quality/diversity", "quality/fid", "min", None)
