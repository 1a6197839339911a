"""Measure what our training spends outside the D and G steps, as fractions of its time.

Four jobs are interleaved. One with all the per-iteration services and one without any give the
total overhead of an iteration; a third times each service; a fourth does all scheduled work after
every iteration, which gives the cost of each kind of work. The default intervals give how often it
is done. The metrics that the steps themselves compute count as part of the steps.
"""

import statistics
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from benchmarks.jobs import Job, run_interleaved
from benchmarks.settings import Settings
from benchmarks.spread import paired_ratio
from gantrain.config import MetricsConfig
from gantrain.runs.heartbeat import _BEAT_SECONDS

_NEVER = 1e9  # kimg
_EVERY_ITERATION = 1e-3  # kimg: less than an iteration
_SEPARATE_PHASES = ("samples", "checkpoint", "metrics", "end")  # of what follows an iteration


def measure_overhead(settings: Settings, rounds: int, seconds: float, scratch: Path) -> None:
    """Measure and print a table."""
    unscheduled = settings.with_config(output=_intervals(_NEVER))
    scheduled = settings.with_config(
        output=_intervals(_EVERY_ITERATION), metrics={"every_kimg": _EVERY_ITERATION}
    )
    variants = {
        "on": unscheduled,
        "off": replace(unscheduled, services="off"),
        "timed": replace(unscheduled, services="timed"),
        "scheduled": replace(scheduled, services="timed"),
    }
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(dir=scratch, prefix="overhead-"))
        jobs = {}
        for name, variant in variants.items():
            jobs[name] = stack.enter_context(Job(name, variant, sys.executable, Path(folder)))
            jobs[name].warm_up(seconds)
        run_interleaved(list(jobs.values()), rounds)
    _report(jobs, settings)


def _intervals(kimg: float) -> dict[str, float]:
    names = ("log_every_kimg", "sample_every_kimg", "checkpoint_every_kimg")
    return dict.fromkeys(names, kimg)


def _report(jobs: dict[str, Job], settings: Settings) -> None:
    on, off = jobs["on"].seconds_per_iteration, jobs["off"].seconds_per_iteration
    iteration = statistics.median(on)
    images = settings.images_per_iteration * settings.ranks
    steps = paired_ratio(off, on)
    print(f"  {images / iteration:,.0f} images/s, {iteration * 1000:.1f} ms per iteration")
    print(f"  total without scheduled work: {1 - steps.median:.2%} ±{steps.half:.2%}")
    print(f"  {'outside the steps':32} {'ms':>10} {'every':>16} {'fraction':>8}")

    timed = _seconds_by_label(jobs["timed"])
    per_iteration = {
        "meter": timed["meter"],
        "EMA": timed["ema"],
        "heartbeat phases": timed["phases"],
        "schedule, stop request": timed["after iteration"],
    }
    total = 0.0
    for name, cost in per_iteration.items():
        total += _print_line(name, cost, "iteration", cost / iteration)
    beat = _seconds_per_beat(jobs["timed"])
    total += _print_line("heartbeat file", beat, f"{_BEAT_SECONDS:g} s", beat / _BEAT_SECONDS)
    scheduled = _scheduled_work(_seconds_by_label(jobs["scheduled"]), settings)
    for name, (cost, kimg) in scheduled.items():
        fraction = cost / (kimg * 1000 / images * iteration) if kimg else 0.0
        total += _print_line(name, cost, f"{kimg:g} kimg", fraction)
    print(f"  {'total':32} {'':>10} {'':>16} {total:>8.2%}")


def _scheduled_work(
    seconds: dict[str, float], settings: Settings
) -> dict[str, tuple[float, float]]:
    """Return the seconds of each kind of scheduled work, and its interval in kimg."""
    output = settings.config["output"]
    separate = sum(seconds.get(f"phase {name}", 0.0) for name in _SEPARATE_PHASES)
    checkpoint_kimg = output["checkpoint_every_kimg"]
    return {
        "metrics line, health": (seconds["after iteration"] - separate, output["log_every_kimg"]),
        "sample grid": (seconds["phase samples"], output["sample_every_kimg"]),
        "checkpoint, blocking": (seconds["phase checkpoint"], checkpoint_kimg),
        "checkpoint, in the background": (seconds["checkpoint in the background"], checkpoint_kimg),
        "quality metrics": (seconds["phase metrics"], MetricsConfig().every_kimg),
    }


def _seconds_by_label(job: Job) -> dict[str, float]:
    """Return the median seconds of an iteration for each label of its timings."""
    labels = {label for r in job.rounds for label in r["timings"]}
    return {
        label: statistics.median(
            r["timings"].get(label, (0.0, 0))[0] / job.iterations for r in job.rounds
        )
        for label in labels
    }


def _seconds_per_beat(job: Job) -> float:
    """Return the time of one heartbeat, as if the training waited while its thread writes."""
    # Not per iteration: the thread also runs between the rounds.
    beats = [r["timings"].get("heartbeat file", (0.0, 0)) for r in job.rounds]
    total = float(sum(seconds for seconds, _ in beats))
    return total / max(int(sum(calls for _, calls in beats)), 1)


def _print_line(name: str, seconds: float, interval: str, fraction: float) -> float:
    print(f"  {name:32} {seconds * 1000:>10.3f} {interval:>16} {fraction:>8.3%}")
    return fraction
