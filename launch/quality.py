"""What is said of the quality of a sweep's runs."""

from collections.abc import Iterable
from pathlib import Path

from gantrain.health.verdict import Verdict, judge, recorded_floor
from gantrain.runs.records import read_events
from launch.curves import Curve
from launch.states import RunState
from launch.sweepdir import run_dir

_UNKNOWN = ("not measured", "unknown distance from the data")


def verdict_on(sweep_dir: Path, run: RunState, curve: Curve) -> Verdict:
    """Return the verdict on a run by these lines of its metrics, as the run itself would."""
    keep_best = run.flat.get("output.keep_best")
    return judge(
        curve,
        recorded_floor(read_events(run_dir(sweep_dir, run.run))),
        keep_best if isinstance(keep_best, str) else None,
        measures=run.flat.get("metrics.every_kimg") != 0,
    )


def levels_of(verdicts: Iterable[Verdict]) -> str:
    """Return the known levels of several runs, each once; "" without any."""
    levels = (verdict.level for verdict in verdicts)
    return " / ".join(dict.fromkeys(level for level in levels if level not in _UNKNOWN))


def trends_of(verdicts: Iterable[Verdict]) -> str:
    """Return the trends of several runs, each once; "" without any."""
    return " / ".join(dict.fromkeys(verdict.trend for verdict in verdicts if verdict.trend))
