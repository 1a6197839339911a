"""How long a sweep will take: from its own runs so far, or from a short probe."""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from gantrain.common.errors import UserError
from launch.curves import read_curve, speed_of
from launch.plan import PlannedRun
from launch.sweepdir import run_dir
from launch.sweepfile import apply

_PROBE_BATCHES = 12
_PROBE_SECONDS = 600
_EXAMPLES = 20


@dataclass(frozen=True)
class Forecast:
    """Device hours, and where the speed comes from."""

    images_per_second: float
    device_hours: float
    longest_run_hours: float
    source: str


def forecast(
    runs: Sequence[PlannedRun], devices: int, pack: int, speed: float, source: str
) -> Forecast:
    """Hours for these runs at this many images a second each."""
    hours = [run.flat["training.total_kimg"] * 1000 / speed / 3600 for run in runs]
    return Forecast(speed, sum(hours) * devices / pack, max(hours, default=0.0), source)


def earlier_speed(sweep_dir: Path, runs: Sequence[str]) -> tuple[float, str] | None:
    """The median speed of the sweep's runs that have trained already."""
    speeds: list[float] = []
    for run in runs:
        speed = speed_of(read_curve(run_dir(sweep_dir, run)))
        if speed:
            speeds.append(speed)
        if len(speeds) == _EXAMPLES:
            break
    if not speeds:
        return None
    return sorted(speeds)[len(speeds) // 2], f"{len(speeds)} earlier runs"


def probe_speed(run: PlannedRun) -> tuple[float, str]:
    """Train the run's first batches here, for its speed.

    Raises UserError with the trainer's words if it does not train.
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
        config.write_text(yaml.safe_dump(apply(run.tree, changes)), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-m", "gantrain.train", "--config", str(config)],
            capture_output=True,
            text=True,
            timeout=_PROBE_SECONDS,
            check=False,
        )
        speed = speed_of(read_curve(Path(folder) / "run"))
    if done.returncode or not speed:
        words = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise UserError(f"the probe of run {run.id} does not train: {words[-1] if words else '?'}")
    return speed, f"a probe of {batch * _PROBE_BATCHES} images on this machine, one rank"
