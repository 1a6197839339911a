"""Heartbeats of ranks whose machines disagree about the time."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gantrain.common.files import file_system_time
from gantrain.runs.failures import Failures
from gantrain.runs.heartbeat import Heartbeat
from gantrain.runs.liveness import seconds_since_heartbeat


def make_heartbeat(run_dir: Path, hang_seconds: float, on_hang: Callable[[str], None]) -> Heartbeat:
    return Heartbeat(run_dir, 0, hang_seconds, on_hang, Failures(run_dir, 0, lambda: 0))


@pytest.mark.parametrize("skew", [-3600.0, 3600.0])
def test_the_stuck_rank_is_named_whatever_its_clock_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, skew: float
) -> None:
    stuck = {"rank": 1, "phase": "data", "phases_begun": 2, "images_seen": 32, "host": "n2"}
    folder = tmp_path / "ranks"
    folder.mkdir()
    (folder / "rank-0001.json").write_text(json.dumps({**stuck, "time": time.time() + skew}))
    # A rank of an earlier start, which took part with more ranks.
    gone = {**stuck, "rank": 2, "phases_begun": 0, "time": time.time()}
    (folder / "rank-0002.json").write_text(json.dumps(gone))
    os.utime(folder / "rank-0002.json", (1, 1))
    reasons: list[str] = []

    class EndedError(Exception):
        pass

    def end(status: int) -> None:
        raise EndedError

    monkeypatch.setattr(os, "_exit", end)
    heartbeat = make_heartbeat(tmp_path, 1e-9, reasons.append)
    with heartbeat.phase("D"), heartbeat.phase("D"), heartbeat.phase("D"):
        heartbeat._write()
        with pytest.raises(EndedError):
            heartbeat._end_process()
    (reason,) = reasons
    assert "rank 1 on n2 is stuck in phase data" in reason


def test_the_age_of_a_heartbeat_is_by_the_clock_of_the_file_system(tmp_path: Path) -> None:
    assert seconds_since_heartbeat(tmp_path, file_system_time(tmp_path)) is None
    make_heartbeat(tmp_path, 0, print)._write()
    (path,) = (tmp_path / "ranks").iterdir()
    path.write_text(path.read_text().replace('"time": ', '"time": 9'))
    written = path.stat().st_mtime
    assert seconds_since_heartbeat(tmp_path, written + 7) == pytest.approx(7)
    assert file_system_time(tmp_path) >= written
