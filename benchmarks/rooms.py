"""What a run of ours does beside the steps of its players, as shares of its time.

Two contenders, with all that goes on in every iteration and with the steps alone, give the whole
share; a third has clocks and says what it is made of; a fourth does everything that is due now and
then after each iteration, which says what each time costs. The default intervals say how often that
is. What D's and G's steps compute for the metrics is within the steps.
"""

import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks.parent import Contender, take_turns
from benchmarks.settings import Settings
from benchmarks.table import spread_of
from gantrain.config import MetricsConfig
from gantrain.runs.heartbeat import _BEAT_SECONDS

_NEVER = 1e9
_ALWAYS = 1e-3  # thousands of images: less than an iteration
_WITHIN = ("samples", "checkpoint", "metrics", "end")  # phases of `after iteration` that are apart


def every(kimg: float) -> dict[str, float]:
    names = ("log_every_kimg", "sample_every_kimg", "checkpoint_every_kimg")
    return dict.fromkeys(names, kimg)


def measure_rooms(settings: Settings, rounds: int, seconds: float, scratch: Path) -> None:
    """Measure and print a table."""
    quiet = settings.changed(output=every(_NEVER))
    busy = settings.changed(output=every(_ALWAYS), metrics={"every_kimg": _ALWAYS}, rooms="timed")
    kinds = {
        "quiet": quiet,
        "bare": quiet.changed(rooms="bare"),
        "timed": quiet.changed(rooms="timed"),
        "busy": busy,
    }
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=scratch, prefix="rooms")))
        contenders = {}
        for name, made in kinds.items():
            contender = Contender(name, made, sys.executable, folder)
            contenders[name] = stack.enter_context(contender)
            contenders[name].get_ready(seconds)
        take_turns(list(contenders.values()), rounds)
    report(contenders, settings)


def seconds_each(contender: Contender) -> list[float]:
    """Of an iteration, in each round."""
    return [r["seconds"] / contender.iterations for r in contender.rounds]


def clocks(contender: Contender) -> dict[str, float]:
    """Median seconds of an iteration by what they were spent in."""
    names = {name for r in contender.rounds for name in r["clock"]}
    return {
        name: statistics.median(
            r["clock"].get(name, (0.0, 0))[0] / contender.iterations for r in contender.rounds
        )
        for name in names
    }


def beat_seconds(contender: Contender) -> float:
    """Of one heartbeat, as if nothing else went on while its thread writes the file."""
    # It beats between the rounds as well.
    beats = [r["clock"].get("heartbeat's file", (0.0, 0)) for r in contender.rounds]
    total = float(sum(seconds for seconds, _ in beats))
    return total / max(int(sum(times for _, times in beats)), 1)


def report(contenders: dict[str, Contender], settings: Settings) -> None:
    quiet, bare = seconds_each(contenders["quiet"]), seconds_each(contenders["bare"])
    iteration = statistics.median(quiet)
    images = settings.images_per_iteration * settings.ranks
    whole = spread_of([1 - b / q for q, b in zip(quiet, bare, strict=True)])
    print(f"  {images / iteration:,.0f} images/s, {iteration * 1000:.1f} ms an iteration")
    print(f"  whole, without what is due now and then: {whole.median:.2%} ±{whole.half:.2%}")
    print(f"  {'room':32} {'ms':>10} {'every':>16} {'share':>8}")

    timed, busy = clocks(contenders["timed"]), clocks(contenders["busy"])
    total = 0.0
    always = {
        "meter": timed["meter"],
        "EMA": timed["ema"],
        "heartbeat's phases": timed["phases"],
        "nothing due, stop request": timed["after iteration"],
    }
    for name, cost in always.items():
        total += line(name, cost, "iteration", cost / iteration)
    beat = beat_seconds(contenders["timed"])
    total += line("heartbeat's file", beat, f"{_BEAT_SECONDS:g} s", beat / _BEAT_SECONDS)
    for name, (cost, kimg) in due(busy, settings).items():
        share = cost / (kimg * 1000 / images * iteration) if kimg else 0.0
        total += line(name, cost, f"{kimg:g} kimg", share)
    print(f"  {'together':32} {'':>10} {'':>16} {total:>8.2%}")


def due(busy: dict[str, float], settings: Settings) -> dict[str, tuple[float, float]]:
    """Seconds of each thing that is due now and then, and its interval in thousands of images."""
    output = settings.config["output"]
    apart = sum(busy.get(f"phase {name}", 0.0) for name in _WITHIN)
    saved = output["checkpoint_every_kimg"]
    return {
        "line of metrics, health": (busy["after iteration"] - apart, output["log_every_kimg"]),
        "grid of samples": (busy["phase samples"], output["sample_every_kimg"]),
        "checkpoint, the loop waits": (busy["phase checkpoint"], saved),
        "checkpoint in the background": (busy["checkpoint in the background"], saved),
        "quality metrics": (busy["phase metrics"], MetricsConfig().every_kimg),
    }


def line(name: str, seconds: float, interval: str, share: float) -> float:
    print(f"  {name:32} {seconds * 1000:>10.3f} {interval:>16} {share:>8.3%}")
    return share
