"""When a sweep that found no place in the queue tries again."""

import time
from pathlib import Path

import pytest

from launch import places
from launch.cluster import Cluster
from launch.launcher import LaunchResult
from launch.settings import LaunchSettings


def test_it_tries_again_where_no_job_of_the_sweep_could_free_a_place(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # Slurm counts jobs that have ended until it forgets them, minutes later.
    waiting = LaunchResult([], {}, [], waiting=["a"], limit="MaxJobCount", active=0)
    results = [waiting] * 9 + [LaunchResult(["a"], {}, [], active=1)]
    pauses: list[float] = []
    monkeypatch.setattr(places, "submit_missing", lambda *_: results[len(pauses)])
    monkeypatch.setattr(time, "sleep", pauses.append)

    settings = LaunchSettings("s", tmp_path / "sweep", Cluster(executor="slurm"))
    turns = list(places.submit_in_turns(settings, []))

    assert turns == results
    assert pauses == sorted(pauses)
    assert pauses[0] <= 10
    assert pauses[-1] <= 60
