"""Forecast the duration of a sweep, from its own runs so far or from a probe."""

import heapq
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gantrain.runs.metrics_file import read_metrics
from gantrain.runs.records import read_json
from launch.attempts import read_attempts
from launch.curves import median_speed
from launch.plan import PlannedRun
from launch.probe import PackSpeed, Probe
from launch.sweepdir import SWEEP, run_dir

_MAX_EXAMPLES = 20  # runs whose speed is read
_MEASURE = "speed/seconds_of_metrics"


@dataclass(frozen=True)
class Cost:
    """What each run costs among those that run side by side with it.

    images_per_second: of training. start_seconds: beside training and measuring, in the whole run.
    first_measure_seconds, measure_seconds: the first measurement of quality, and each further one.
    source: where these numbers are from.
    """

    images_per_second: float
    start_seconds: float
    first_measure_seconds: float
    measure_seconds: float
    source: str

    def seconds(self, run: PlannedRun) -> float:
        """Return the duration of a run."""
        kimg: float = run.flat["training.total_kimg"]
        seconds = self.start_seconds + kimg * 1000 / self.images_per_second
        if every := run.flat["metrics.every_kimg"]:  # and at the end
            further = math.ceil(kimg / every) - 1
            seconds += self.first_measure_seconds + further * self.measure_seconds
        return seconds


@dataclass(frozen=True)
class Forecast:
    """The forecast for the runs of a sweep.

    images_per_second: of one run. device_hours: of all jobs. longest_run_hours: of one run.
    wall_hours: from the first start to the last end, if jobs never wait in a queue. source: of the
    speed. packs: measured numbers of runs side by side on one device; empty without a probe.
    best_pack: the one with the most images/s of all its runs together.
    """

    images_per_second: float
    device_hours: float
    longest_run_hours: float
    wall_hours: float
    source: str
    packs: Sequence[PackSpeed] = ()
    best_pack: int | None = None


def forecast(
    runs: Sequence[PlannedRun],
    devices: int,
    pack: int,
    at_a_time: int,
    cost: Cost,
    probe: Probe | None = None,
) -> Forecast:
    """Return the forecast for these runs, submitted in this order.

    devices: devices per job. pack: runs per job. at_a_time: jobs that run at the same time. cost:
    of a run where that many others share its device.
    """
    seconds = [cost.seconds(run) for run in runs]
    jobs = [max(seconds[i : i + pack]) for i in range(0, len(seconds), pack)]
    return Forecast(
        images_per_second=cost.images_per_second,
        device_hours=sum(jobs) * devices / 3600,
        longest_run_hours=max(seconds, default=0.0) / 3600,
        wall_hours=_wall_seconds(jobs, at_a_time) / 3600,
        source=cost.source,
        packs=probe.packs if probe else (),
        best_pack=probe.best.pack if probe else None,
    )


def cost_from_probe(probe: Probe, side_by_side: int, source: str) -> Cost | None:
    """Return what a run costs beside others; None if that many do not run side by side.

    All that a run does takes as many times longer than alone as its training does.
    """
    speed = probe.speed_of(side_by_side)
    if speed is None or speed.problem:
        return None
    slower = max(1.0, probe.packs[0].each / speed.each)
    alone = probe.alone
    return Cost(
        images_per_second=speed.each,
        start_seconds=alone.start_seconds * slower,
        first_measure_seconds=alone.first_measure_seconds * slower,
        measure_seconds=alone.measure_seconds * slower,
        source=source,
    )


def cost_of_earlier_runs(sweep_dir: Path, runs: Sequence[str], pack: int) -> Cost | None:
    """Return the median costs of the sweep's runs that have trained already; None without one.

    pack: of the next jobs; the source says it if the runs trained in packs of another size.
    """
    speeds: list[float] = []
    starts: list[float] = []
    first: list[float] = []
    further: list[float] = []
    for run in runs:
        folder = run_dir(sweep_dir, run)
        lines = read_metrics(folder)
        speed = median_speed(lines)
        if not speed:
            continue
        speeds.append(speed)
        measured = [line[_MEASURE] for line in lines if line.get(_MEASURE) is not None]
        first += measured[:1]
        further += measured[1:] or measured
        attempts = read_attempts(folder)
        if len(attempts) == 1 and attempts[0].outcome == "finished" and attempts[0].end:
            training = lines[-1]["images_seen"] / speed
            whole = attempts[0].end - attempts[0].time
            starts.append(max(whole - training - sum(measured), 0.0))
        if len(speeds) == _MAX_EXAMPLES:
            break
    if not speeds:
        return None
    source = f"{len(speeds)} earlier runs"
    trained_in = (read_json(sweep_dir / SWEEP) or {}).get("pack", pack)
    if trained_in != pack:
        source += f", in packs of {trained_in}"
    speed = statistics.median(speeds)
    return Cost(speed, _median(starts), _median(first), _median(further), source)


def _median(values: Sequence[float]) -> float:
    return statistics.median(values) if values else 0.0


def _wall_seconds(jobs: Sequence[float], at_a_time: int) -> float:
    """Return when the last job ends if each starts as soon as one before it has ended."""
    ends = [0.0] * max(1, min(at_a_time, len(jobs)))
    for job in jobs:
        heapq.heapreplace(ends, ends[0] + job)
    return max(ends)
