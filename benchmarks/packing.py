"""Compare the forecast of packed sweeps with what they take: `python -m benchmarks.packing`.

For each pack, `plan --probe` forecasts a sweep of tiny runs on this machine, without Slurm and
one pack at a time; then the sweep is trained and timed, from the first start of a run to the last
end. Run it while nothing else runs: the load before both is printed, and the last column is the
ratio that is left if the sweep had trained at the probe's images/s.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from benchmarks.errors import run
from gantrain.data.shards.samples import Sample
from gantrain.data.shards.writer import write_shards
from launch.attempts import read_attempts
from launch.sweepdir import run_dir

_IMAGES = 512
_SIZE = 32


def main() -> None:
    """Print the forecast and the measured duration of each sweep, and their ratio."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--packs", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--runs", type=int, default=4, help="runs of each sweep")
    parser.add_argument("--kimg", type=float, default=16, help="length of each run")
    parser.add_argument("--width", type=int, default=8, help="of both networks")
    parser.add_argument("--threads", type=int, default=1, help="of each run")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    print(
        "pack  forecast  measured  ratio  images/s each: probe, sweep  ratio at the sweep's speed"
    )
    for pack in options.packs:
        with tempfile.TemporaryDirectory() as folder:
            load = [os.getloadavg()[0]]
            file = write_sweep(Path(folder), pack, options)
            forecast = call("plan", file, "--probe")["forecast"]
            load.append(os.getloadavg()[0])
            measured = train(file)
            expected = forecast["wall_hours"] * 3600
            trained = call("plan", file)["forecast"]["images_per_second"]
            probed = forecast["images_per_second"]
            print(
                f"{pack:4d}  {expected:6.1f} s  {measured:6.1f} s  {expected / measured:5.2f}  "
                f"{probed:20,.0f}, {trained:5,.0f}  {expected / measured * probed / trained:25.2f}",
                flush=True,
            )
            print(f"      load before the probe {load[0]:.1f}, before the sweep {load[1]:.1f}")
            speeds = ", ".join(f"{p['pack']}: {p['total']:,.0f}" for p in forecast["packs"])
            print(f"      images/s in all, by runs side by side: {speeds}", flush=True)


def write_sweep(folder: Path, pack: int, options: argparse.Namespace) -> Path:
    """Write images, a base config and a sweep file; return the latter."""
    write_shards(folder / "images", draw_noise(), size=_SIZE, channels=1, source="noise")
    network = {"width": options.width}
    base = {
        "data": {"shards": str(folder / "images"), "size": _SIZE},
        "generator": network,
        "discriminator": network,
        "training": {"total_kimg": options.kimg, "batch_size": 32, "device": "cpu"},
        "metrics": {"every_kimg": options.kimg / 4, "samples": 256, "features": "random"},
        "output": {"run_dir": "unused"},
    }
    (folder / "base.yaml").write_text(yaml.safe_dump(base))
    (folder / "cluster.yaml").write_text("executor: local\n")
    sweep = {"name": "packing", "base": "base.yaml", "cluster": "cluster.yaml", "pack": pack}
    file = folder / "sweep.yaml"
    file.write_text(yaml.safe_dump({**sweep, "seeds": options.runs}))
    return file


def draw_noise() -> Iterator[Sample]:
    """Yield images of noise: what they show does not matter to the speed."""
    random = np.random.default_rng(0)
    for index in range(_IMAGES):
        file = io.BytesIO()
        pixels = random.integers(0, 256, (_SIZE, _SIZE), dtype=np.uint8)
        Image.fromarray(pixels).save(file, "PNG")
        yield Sample(f"{index:05d}", file.getvalue(), {})


def train(file: Path) -> float:
    """Train a sweep; return the seconds from the first start of a run to the last end."""
    call("sweep", file)
    folder = file.parent / "runs" / "packing"
    while True:
        rows = call("status", file)["runs"]
        if any(row["state"] in ("failed", "vanished") for row in rows):
            raise SystemExit(f"{rows}")
        # A run is finished a moment before its end is recorded.
        attempts = [each for row in rows for each in read_attempts(run_dir(folder, row["run"]))]
        ends = [attempt.end for attempt in attempts if attempt.end is not None]
        if len(ends) == len(rows):
            return max(ends) - min(attempt.time for attempt in attempts)
        time.sleep(1)


def call(command: str, file: Path, *options: str) -> Any:
    """Return the JSON output of a command of the launcher."""
    done = subprocess.run(
        [sys.executable, "-m", "launch", command, str(file), "--json", *options],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout)


if __name__ == "__main__":
    run("packing", main)
