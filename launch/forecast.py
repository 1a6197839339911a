"""Forecast the duration of a sweep, from its own runs so far or from a short probe."""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gantrain.common.errors import UserError
from gantrain.common.yaml_core import dump_yaml
from gantrain.runs.records import read_metrics
from launch.curves import median_speed
from launch.dotted import apply_settings
from launch.plan import PlannedRun
from launch.sweepdir import run_dir

_PROBE_BATCHES = 12
_PROBE_TIMEOUT = 600  # seconds
_MAX_EXAMPLES = 20  # runs whose speed is read


@dataclass(frozen=True)
class Forecast:
    """Speed of one run, device hours of all runs, hours of the longest one, source of the speed."""

    images_per_second: float
    device_hours: float
    longest_run_hours: float
    source: str


def forecast(
    runs: Sequence[PlannedRun], devices: int, pack: int, speed: float, source: str
) -> Forecast:
    """Return the forecast for these runs at `speed` images per second each.

    devices: devices per job. pack: runs per job.
    """
    hours = [run.flat["training.total_kimg"] * 1000 / speed / 3600 for run in runs]
    return Forecast(speed, sum(hours) * devices / pack, max(hours, default=0.0), source)


def measured_speed(sweep_dir: Path, runs: Sequence[str]) -> tuple[float, str] | None:
    """Return the median speed of the runs that have trained already, and its source."""
    speeds: list[float] = []
    for run in runs:
        speed = median_speed(read_metrics(run_dir(sweep_dir, run)))
        if speed:
            speeds.append(speed)
        if len(speeds) == _MAX_EXAMPLES:
            break
    if not speeds:
        return None
    return sorted(speeds)[len(speeds) // 2], f"{len(speeds)} earlier runs"


def probe_speed(run: PlannedRun) -> tuple[float, str]:
    """Train the run's first batches on this machine and return the speed and its source.

    Raises UserError with the trainer's last line of output if training fails.
    """
    batch = run.flat["training.batch_size"]
    kimg = batch * _PROBE_BATCHES / 1000
    with tempfile.TemporaryDirectory(prefix="gantrain-probe-") as folder:
        changes = {
            "training.total_kimg": kimg,
            "training.world_size": 1,
            "wandb.mode": "disabled",
            "output.run_dir": f"{folder}/run",
            "output.log_every_kimg": kimg / 4,
            "output.checkpoint_every_kimg": kimg * 2,
            "output.sample_every_kimg": kimg * 2,
        }
        config = Path(folder) / "probe.yaml"
        config.write_text(dump_yaml(apply_settings(run.tree, changes)), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-m", "gantrain.train", "--config", str(config)],
            capture_output=True,
            text=True,
            timeout=_PROBE_TIMEOUT,
            check=False,
        )
        speed = median_speed(read_metrics(Path(folder) / "run"))
    if done.returncode or not speed:
        output = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise UserError(f"the probe of run {run.id} failed: {output[-1] if output else '?'}")
    return speed, f"a probe of {batch * _PROBE_BATCHES} images on this machine, one rank"
