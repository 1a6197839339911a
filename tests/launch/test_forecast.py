"""The forecast's arithmetic with given timings, the choice of a pack, and a real probe."""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from gantrain.common.errors import UserError
from launch import plan_command, probe
from launch.__main__ import app
from launch.forecast import Cost, cost_from_probe, cost_of_earlier_runs, forecast
from launch.plan import PlannedRun
from launch.probe import Alone, PackSpeed, Probe
from tests.launch.conftest import Sweep, base_tree

ALONE = Alone(100.0, start_seconds=6, first_measure_seconds=4, measure_seconds=2, on_cpu=True)


def run_of(kimg: float, every: float = 0) -> PlannedRun:
    return PlannedRun("r", {"training.total_kimg": kimg, "metrics.every_kimg": every})


def probe_of(*totals: float) -> Probe:
    packs = [PackSpeed(2**i, total / 2**i, total) for i, total in enumerate(totals)]
    return Probe("r", ALONE, packs)


def cost_in(pack: int, *totals: float) -> Cost:
    cost = cost_from_probe(probe_of(*totals), pack, "a probe")
    assert cost is not None
    return cost


def test_sharing_that_gains_nothing_makes_no_device_hours_vanish() -> None:
    runs = [run_of(36.0)] * 8
    # 100 images/s alone; two runs make 160 together, four 160 as well: each has 80, then 40.
    alone, two, four = (
        forecast(runs, 1, pack, 1, cost_in(pack, 100, 160, 160)) for pack in (1, 2, 4)
    )
    assert alone.device_hours == pytest.approx(8 * (360 + 6) / 3600)
    # The four jobs of two train 72,000 images each at 160/s, and start 100/80 times more slowly.
    assert two.device_hours == pytest.approx(4 * (450 + 7.5) / 3600)
    assert four.device_hours == pytest.approx(2 * (900 + 15) / 3600)
    assert four.device_hours == pytest.approx(two.device_hours)
    assert two.longest_run_hours == pytest.approx(457.5 / 3600)
    assert alone.wall_hours == pytest.approx(alone.device_hours)


def test_job_lasts_as_long_as_its_longest_run() -> None:
    cost = Cost(100.0, 0, 0, 0, "given")
    runs = [run_of(kimg) for kimg in (1, 9, 2, 2, 3)]
    result = forecast(runs, 4, 2, 2, cost)
    assert result.device_hours == pytest.approx((90 + 20 + 30) * 4 / 3600)
    # Two jobs at a time: the third starts when the second has ended.
    assert result.wall_hours == pytest.approx(90 / 3600)
    assert forecast(runs, 4, 2, 1, cost).wall_hours == pytest.approx(140 / 3600)
    assert forecast([], 1, 1, 1, cost).wall_hours == 0


def test_measurements_count() -> None:
    cost = Cost(1000.0, 1.0, 10.0, 3.0, "given")
    assert cost.seconds(run_of(10)) == pytest.approx(1 + 10)
    assert cost.seconds(run_of(10, every=5)) == pytest.approx(1 + 10 + 10 + 3)
    assert cost.seconds(run_of(10, every=4)) == pytest.approx(1 + 10 + 10 + 2 * 3)  # 4, 8, the end
    assert cost.seconds(run_of(10, every=50)) == pytest.approx(1 + 10 + 10)  # the end


@given(
    seconds=st.lists(st.floats(1, 1000), min_size=1, max_size=12),
    pack=st.integers(1, 4),
    at_a_time=st.integers(1, 4),
)
def test_wall_time_is_between_its_bounds(seconds: list[float], pack: int, at_a_time: int) -> None:
    runs = [run_of(value / 1000) for value in seconds]
    result = forecast(runs, 1, pack, at_a_time, Cost(1.0, 0, 0, 0, "given"))
    assert result.wall_hours >= result.longest_run_hours * (1 - 1e-9)
    assert result.wall_hours >= result.device_hours / at_a_time * (1 - 1e-9)
    assert result.wall_hours <= result.device_hours * (1 + 1e-9)
    # Greedy scheduling is at most twice the optimum (Graham 1966).
    least = max(result.longest_run_hours, result.device_hours / at_a_time)
    assert result.wall_hours <= 2 * least * (1 + 1e-9)


@pytest.mark.parametrize(
    ("totals", "needed", "tried", "best"),
    [
        # Images/s in all of 1, 2, 4 and 8 runs. These are given, in place of measured timings.
        ([100, 190, 350, 500], 1, [1, 2, 4, 8], 8),
        ([100, 150, 140, 900], 1, [1, 2, 4], 2),  # images/s fall
        ([100, 101, 900, 900], 1, [1, 2], 2),  # and where they do not rise
        ([100, 90, 80, 70], 8, [1, 2, 8], 1),  # the sweep's own pack is measured in any case
        ([100, 190, 0, 900], 1, [1, 2, 4], 2),  # out of memory
    ],
)
def test_probe_stops_where_more_runs_do_not_gain(
    monkeypatch: pytest.MonkeyPatch,
    totals: Sequence[float],
    needed: int,
    tried: Sequence[int],
    best: int,
) -> None:
    def given_speed(run: PlannedRun, pack: int, *rest: object) -> PackSpeed:
        total = totals[int(math.log2(pack))]
        return PackSpeed(pack, total / pack, total, "" if total else "out of memory")

    monkeypatch.setattr(probe, "_probe_alone", lambda *_: ALONE)
    monkeypatch.setattr(probe, "_probe_pack", given_speed)
    result = probe.probe(run_of(1), probe.PACKS, needed, None, Path())
    assert [each.pack for each in result.packs] == tried
    assert result.best.pack == best
    cost = cost_from_probe(result, needed, "a probe")
    assert cost is not None
    assert cost.images_per_second == totals[int(math.log2(needed))] / needed
    if not totals[2]:
        assert cost_from_probe(result, 4, "a probe") is None


def test_probe_of_a_run_that_fails_names_it(tmp_path: Path) -> None:
    flat: dict[str, Any] = {"data.shards": str(tmp_path / "nowhere"), "data.size": 32}
    flat |= {"training.total_kimg": 1, "training.batch_size": 16, "objective.kind": "dcgan"}
    flat |= {"objective.n_critic": 1, "metrics.every_kimg": 0, "output.run_dir": "RUN"}
    with pytest.raises(UserError, match=r"the probe of run abc failed: gantrain: .*nowhere"):
        probe.probe(PlannedRun("abc", flat), (1,), 1, None, tmp_path)


def test_real_probe_and_its_proposal(
    make_sweep: Callable[..., Sweep], squares: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = base_tree(squares, kimg=0.5)
    base["metrics"] = {"every_kimg": 0.25, "samples": 16, "features": "random"}
    sweep = make_sweep(base=base, seeds=3, pack=2)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(plan_command, "PACKS", (1, 2))
    result = CliRunner().invoke(app, ["plan", str(sweep.file), "--probe", "--json"])
    assert result.exit_code == 0, result.stderr
    content = json.loads(result.stdout)["forecast"]
    assert [each["pack"] for each in content["packs"]] == [1, 2]
    two = content["packs"][1]
    assert two["total"] == pytest.approx(2 * two["each"])
    assert content["images_per_second"] == two["each"] > 0
    assert content["best_pack"] in (1, 2)
    # Two jobs, one after the other: more than training alone takes.
    assert content["wall_hours"] * 3600 > 2 * 500 / two["each"]
    assert "probe of run" in content["source"]
    assert not sweep.directory.exists()  # planning writes nothing


def test_earlier_runs_give_their_costs(tmp_path: Path) -> None:
    for name, speed, end in (("a", 100.0, 30.0), ("b", 200.0, 21.0), ("c", 300.0, None)):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        lines = [
            {"images_seen": 1000, "speed/images_per_second": speed, "speed/seconds_of_metrics": 6},
            {"images_seen": 2000, "speed/images_per_second": speed, "speed/seconds_of_metrics": 2},
        ]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
        attempts = [{"event": "start", "job": "1", "token": "t", "time": 0.0}]
        if end:
            attempts.append({"event": "end", "time": end, "outcome": "finished", "exit": 0})
        (folder / "attempts.jsonl").write_text("".join(json.dumps(x) + "\n" for x in attempts))
    (tmp_path / "sweep.json").write_text(json.dumps({"pack": 4}))
    cost = cost_of_earlier_runs(tmp_path, ["a", "b", "c", "planned"], 4)
    # Starts: 30 - 20 - 8 and 21 - 10 - 8 seconds.
    assert cost == Cost(200.0, 2.5, 6.0, 2.0, "3 earlier runs")
    other = cost_of_earlier_runs(tmp_path, ["a"], 1)
    assert other is not None
    assert other.source == "1 earlier runs, in packs of 4"
    assert cost_of_earlier_runs(tmp_path, ["planned"], 1) is None
