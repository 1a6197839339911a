"""How long a training takes to start: `python benchmarks/startup.py --shards FOLDER`.

From `accelerate launch gantrain/train.py` to the end of the first steps, phase by phase, as the
training process itself sees it; medians of several starts. The launcher's own time is what passes
before Python runs in that process. The images are in the scratch, as they are from the second
start on.
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

_ROOT = Path(__file__).parent.parent
_STAMPS = "GANTRAIN_STARTUP_STAMPS"
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
    """Start the training several times, and print the phases' medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=Path, required=True)
    parser.add_argument("--config", type=Path, default=_ROOT / "configs" / "dcgan.yaml")
    parser.add_argument("--starts", type=int, default=7)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="of the config")
    parser.add_argument("--direct", action="store_true", help="python, without the launcher")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        starts = [start(options, Path(scratch)) for _ in range(options.starts + 1)][1:]
    total = statistics.median(stamps[-1] - stamps[0] for stamps in starts)
    for i, phase in enumerate(_PHASES):
        spent = [stamps[i + 1] - stamps[i] for stamps in starts]
        print(
            f"{phase:14s} {statistics.median(spent):6.2f} s  ({min(spent):.2f} to {max(spent):.2f})"
        )
    print(f"{'to first step':14s} {total:6.2f} s")


def start(options: argparse.Namespace, scratch: Path) -> list[float]:
    """One start in a new run directory; when each phase ended, the first entry is the launch."""
    with tempfile.TemporaryDirectory(dir=scratch) as run:
        stamps = Path(run) / "stamps.json"
        launcher = ["-m"] if options.direct else ["-m", "accelerate.commands.launch", "--module"]
        command = [
            *(sys.executable, *launcher, "benchmarks.startup_child", "--config", options.config),
            f"data.shards={options.shards.absolute()}",
            f"data.cache_dir={scratch / 'cache'}",
            f"output.run_dir={Path(run) / 'run'}",
            "training.total_kimg=0.256",
            *options.overrides,
        ]
        began = time.time()
        environment: dict[str, Any] = {**os.environ, _STAMPS: str(stamps)}
        subprocess.run(command, cwd=_ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
        return [began, *json.loads(stamps.read_text(encoding="utf-8"))]


if __name__ == "__main__":
    main()
