"""Which runs are said to be alive, by the dates of their files."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from gantrain.runs.liveness import silence_of
from gantrain.runs.records import read_status

NOW = 1_000_000.0


def write(path: Path, age: float, **content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    os.utime(path, (NOW - age, NOW - age))


def words(run: Path, started: float | None = None) -> str:
    silence = silence_of(run, read_status(run), now=NOW, started=started)
    return silence.words if silence else ""


def test_a_run_without_heartbeats_for_two_minutes_is_silent_however_slow_it_is(
    tmp_path: Path,
) -> None:
    for age, expected in (
        (90, ""),
        (130, "silent for 2 min, probably dead"),
        (10_920, "silent for 3 h 2 min, probably dead"),
        (180_000, "silent for 2 d 2 h, probably dead"),
    ):
        write(tmp_path / "status.json", age + 3000, state="running", log_seconds=5000)
        write(tmp_path / "ranks" / "rank-0000.json", age, rank=0)
        assert words(tmp_path) == expected


def test_without_heartbeats_the_lines_of_metrics_count_by_how_far_they_are_apart(
    tmp_path: Path,
) -> None:
    for apart, age, silent in (
        (600, 1700, False),
        (600, 1900, True),
        (2, 100, False),
        (2, 130, True),
    ):
        write(tmp_path / "status.json", age, state="running", log_seconds=apart)
        assert bool(words(tmp_path)) == silent
        # A file of an earlier start, since when none could be written, says nothing.
        write(tmp_path / "ranks" / "rank-0000.json", age + 9000, rank=0)
        assert bool(words(tmp_path)) == silent


@pytest.mark.parametrize("state", ["finished", "failed", "preempted", "interrupted", "diverged"])
def test_a_run_that_has_ended_is_not_silent(tmp_path: Path, state: str) -> None:
    write(tmp_path / "status.json", 1e5, state=state)
    assert words(tmp_path) == ""


def test_the_rank_that_keeps_a_living_run_waiting_is_named(tmp_path: Path) -> None:
    write(tmp_path / "status.json", 1200, state="running")
    beat = {"phase": "D", "phases_begun": 90, "seconds_in_phase": 1150}
    write(tmp_path / "ranks" / "rank-0000.json", 4, rank=0, **beat)
    late = {"phase": "data", "phases_begun": 89, "seconds_in_phase": 1140}
    write(tmp_path / "ranks" / "rank-0001.json", 3, rank=1, **late)
    # Of an earlier start with more ranks.
    write(tmp_path / "ranks" / "rank-0002.json", 9000, rank=2, **{**late, "phases_begun": 1})
    assert words(tmp_path) == "no progress for 19 min: rank 1 is in phase data"
    write(tmp_path / "ranks" / "rank-0001.json", 3, rank=1, **{**late, "seconds_in_phase": 2})
    assert words(tmp_path) == ""


def test_what_was_written_before_the_newest_start_says_nothing(tmp_path: Path) -> None:
    write(tmp_path / "status.json", 9000, state="running")
    assert words(tmp_path, started=NOW - 60) == ""
    assert words(tmp_path, started=NOW - 900) == "silent for 15 min, probably dead"
    assert words(tmp_path, started=NOW - 9100) == "silent for 2 h 30 min, probably dead"


def test_by_default_now_is_the_file_systems_time(tmp_path: Path) -> None:
    write(tmp_path / "status.json", 0, state="running")
    os.utime(tmp_path / "status.json", (time.time() - 600,) * 2)
    silence = silence_of(tmp_path, read_status(tmp_path))
    assert silence is not None
    assert silence.seconds == pytest.approx(600, abs=60)
