"""Measure how long a training takes to start: `python -m benchmarks.startup --shards FOLDER`.

From `accelerate launch gantrain/train.py` to the end of the first iteration, phase by phase, as
seen by the training process; medians of several starts. The launcher's phase ends when Python
starts in that process. The decoded images are in the cache, as in every start but the first.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.errors import require_set, run

_ROOT = Path(__file__).parent.parent
_TIMESTAMPS = "GANTRAIN_STARTUP_TIMESTAMPS"
_PHASES = (
    "launcher",
    "torch",
    "accelerate",
    "gantrain",
    "config",
    "accelerator",
    "images",
    "networks",
    "first samples",
    "first steps",
)


def main() -> None:
    """Start the training several times and print the median of each phase."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shards", type=Path, required=True)
    parser.add_argument("--config", type=Path, default=_ROOT / "configs" / "dcgan.yaml")
    parser.add_argument("--starts", type=int, default=7, help="starts to measure")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="overrides of the config")
    parser.add_argument("--direct", action="store_true", help="without accelerate launch")
    options = parser.parse_args()
    require_set(options.shards)
    with tempfile.TemporaryDirectory() as scratch:
        starts = [measure_start(options, Path(scratch)) for _ in range(options.starts + 1)][1:]
    total = statistics.median(timestamps[-1] - timestamps[0] for timestamps in starts)
    for i, phase in enumerate(_PHASES):
        seconds = [timestamps[i + 1] - timestamps[i] for timestamps in starts]
        median = statistics.median(seconds)
        print(f"{phase:14s} {median:6.2f} s  ({min(seconds):.2f} to {max(seconds):.2f})")
    print(f"{'to first step':14s} {total:6.2f} s")


def measure_start(options: argparse.Namespace, scratch: Path) -> list[float]:
    """Start once in a new run directory; return the times of the launch and of each phase's end."""
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        timestamps = Path(folder) / "timestamps.json"
        module = ["-m"] if options.direct else ["-m", "accelerate.commands.launch", "--module"]
        command = [
            *(sys.executable, *module, "benchmarks.startup_child", "--config", options.config),
            f"data.shards={options.shards.absolute()}",
            f"data.cache_dir={scratch / 'cache'}",
            f"output.run_dir={Path(folder) / 'run'}",
            "training.total_kimg=0.256",
            *options.overrides,
        ]
        launched = time.time()
        environment: dict[str, Any] = {**os.environ, _TIMESTAMPS: str(timestamps)}
        subprocess.run(command, cwd=_ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
        return [launched, *json.loads(timestamps.read_text(encoding="utf-8"))]


if __name__ == "__main__":
    run("startup", main)
