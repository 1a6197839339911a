"""Say what each shipped config costs on this machine: `python -m benchmarks.costs [CONFIG…]`.

Trains each config as it is, one rank on all cores, on rendered bricks of the config's size, for a
few rounds after a warm-up, and multiplies: the time is `training.total_kimg` over images/s. It
lacks what the rounds leave out, starting and the measurements of quality. Prints a Markdown table,
and first the speed of matrix products, by which two machines can be compared.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.errors import run
from benchmarks.images import generate_images
from benchmarks.jobs import Job, JobError
from benchmarks.layers import peak_matmul_flops
from benchmarks.settings import ENDLESS, Settings
from benchmarks.spread import Spread, spread_of
from gantrain.common.pools import affinity
from gantrain.common.text import describe_wait
from gantrain.config import load_config

_CONFIGS = Path(__file__).parent.parent / "configs"


@dataclass(frozen=True)
class Cost:
    """What one config costs.

    kimg: of the whole run. speed: in images/s. memory: peak of the training process, in bytes.
    """

    name: str
    kimg: float
    speed: Spread
    memory: int

    @property
    def seconds(self) -> float:
        """Duration of the steps of the whole run."""
        return self.kimg * 1000 / self.speed.median


def main() -> None:
    """Measure the configs that are asked for, and print a row for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    shipped = sorted(_CONFIGS.glob("*.yaml"))
    parser.add_argument("configs", type=Path, nargs="*", metavar="CONFIG", default=shipped)
    parser.add_argument("--rounds", type=int, default=3, help="rounds to measure")
    parser.add_argument("--seconds", type=float, default=5.0, help="approximate time of a round")
    parser.add_argument("--warmup", type=int, default=2, help="iterations before the first round")
    parser.add_argument("--scratch", type=Path, help="folder for the images, which is kept")
    options = parser.parse_args()
    for dtype in (torch.float32, torch.bfloat16):
        print(f"{dtype}: {peak_matmul_flops(dtype, 0.2) / 1e9:,.0f} GFLOP/s")
    print("\n".join(heading()), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for path in options.configs:
            try:
                print(row(measure(options, path, options.scratch or Path(folder))), flush=True)
            except JobError as error:
                sys.exit(f"{path}: the training ended too early:\n{error}")


def measure(options: argparse.Namespace, path: Path, scratch: Path) -> Cost:
    """Train a config for a few rounds. Uses rounds, seconds and warmup of the options."""
    total_kimg = load_config(path).training.total_kimg
    with tempfile.TemporaryDirectory() as folder:
        settings = settings_of(path, scratch.absolute(), options.warmup)
        with Job(path.stem, settings, sys.executable, Path(folder)) as job:
            job.warm_up(options.seconds)
            for _ in range(options.rounds):
                job.run_round()
            speeds = [each["images"] / each["seconds"] for each in job.rounds]
            memory = max(each["memory"] for each in job.rounds)
    return Cost(path.stem, total_kimg, spread_of(speeds), memory)


def settings_of(path: Path, scratch: Path, warmup: int) -> Settings:
    """Return the settings of a training of this config that never ends by itself."""
    size = load_config(path).data.size
    shards, files = generate_images(scratch, size)
    threads = len(affinity())
    overrides = [
        f"data.shards={shards}",
        f"data.cache_dir={scratch / 'cache'}",
        f"training.cpu_threads={threads}",
        "training.device=cpu",
        *ENDLESS,
    ]
    config = load_config(path, overrides)
    return Settings(
        implementation="ours",
        precision="as the config says",
        ranks=1,
        batch=config.training.batch_size,
        files=str(files),
        shards=str(shards),
        config=config.model_dump(mode="json"),
        warmup=warmup,
        threads=threads,
    )


def heading() -> Iterator[str]:
    """Yield the head of the table."""
    yield "| config | kimg | images/s | time | GB |"
    yield "|---|---|---|---|---|"


def row(cost: Cost) -> str:
    """Return a row of the table."""
    cells: Sequence[str] = (
        f"`{cost.name}.yaml`",
        f"{cost.kimg:,.0f}",
        f"{cost.speed.median:,.0f} ±{cost.speed.half / cost.speed.median:.0%}",
        describe_wait(cost.seconds),
        f"{cost.memory / 1e9:.1f}",
    )
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    run("costs", main)
