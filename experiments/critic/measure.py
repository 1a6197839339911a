"""Measure the checkpoints of the long runs: `python -m experiments critic measure`.

Of each checkpoint: FID and KID of the EMA generator, and each number that might tell of them.
Several processes can share the work, as in the training.
"""

import time
from collections.abc import Callable, Sequence
from functools import cache, cached_property, partial
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor

from experiments.baselines.ruler import Lite0Ruler
from experiments.critic.plan import CHECKPOINT_KIMG, all_runs
from experiments.critic.train import OUT
from experiments.training import has_ended, runs_parser
from experiments.values import Values, remember
from gantrain.common.rng import PositionalRNG
from gantrain.config import DataConfig, parse_config
from gantrain.data.loading.datasets import ImageDataset
from gantrain.data.loading.labelled import open_labelled_dataset
from gantrain.data.loading.opening import open_dataset
from gantrain.data.loading.selection import held_out_rows
from gantrain.metrics.evaluator import generate_images
from gantrain.metrics.new_critic import critic_distance
from gantrain.metrics.small_networks import in_batches
from gantrain.metrics.two_sample import two_sample_test
from gantrain.models.networks import Generator, build_networks
from gantrain.runs.checkpoint import Snapshot, read_checkpoint
from gantrain.runs.metrics_file import read_metrics
from gantrain.runs.paths import list_checkpoints
from gantrain.training.objectives import make_objective

FID_SAMPLES = 2000
MEASURED_EVERY = 2  # every second checkpoint, from the last one back
MANY, FEW = 5000, 1000  # images of each set for the other numbers, or as many as are held out


def main(arguments: Sequence[str]) -> None:
    """Measure what is not yet measured of the runs that have ended."""
    torch.set_num_threads(1)
    parser = runs_parser("critic measure", "Measure the checkpoints of the long runs.", OUT)
    options = parser.parse_args(arguments)
    index, count = options.part
    for run in all_runs()[index::count]:
        run_dir = options.out / run.name
        if has_ended(run_dir):
            for images_seen, folder in list_checkpoints(run_dir)[::MEASURED_EVERY]:
                remember(measured_file(run_dir, images_seen), partial(measure, run_dir, folder))


def measured_file(run_dir: Path, images_seen: int) -> Path:
    """Return the file of the values of a checkpoint."""
    return run_dir / "measured" / f"{images_seen:09d}.json"


class _Images:
    """The real images of a data config, each uint8 (N, C, S, S)."""

    def __init__(self, config: DataConfig) -> None:
        self._dataset: ImageDataset = open_dataset(config)
        self._config = config
        self.ruler = Lite0Ruler(self._dataset, FID_SAMPLES)

    @cached_property
    def training(self) -> Tensor:
        """Training images that the ruler does not compare with, in random order."""
        return self._dataset.images(PositionalRNG(0, FID_SAMPLES, MANY))

    @cached_property
    def held_out(self) -> Tensor:
        """Held-out images in random order."""
        labelled = open_labelled_dataset(self._config)
        rows = torch.from_numpy(held_out_rows(labelled.cache.table, self._config))
        shuffled = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))]
        return labelled.images[shuffled[:MANY]]


_images = cache(_Images)


def measure(run_dir: Path, folder: Path) -> Values:
    """Return FID and KID of a checkpoint, and what might tell of them: higher for worse images.

    `seconds/NAME` is the CPU time that NAME took.
    """
    snapshot = read_checkpoint(folder)
    config = parse_config(snapshot.state.config, str(folder))
    real = _images(config.data)
    ema, current = (_generator(snapshot, name) for name in ("ema", "generator"))
    fakes = generate_images(ema, 0, MANY)
    few, real_few = fakes[:FEW], real.training[:FEW]
    score = partial(_negative_loss, snapshot)
    numbers: dict[str, Callable[[], float]] = {
        "critic, training images": lambda: score(real.training, fakes),
        "critic, held-out images": lambda: score(real.held_out, fakes),
        "critic, held-out images, generator without EMA": lambda: score(
            real.held_out, generate_images(current, 0, MANY)
        ),
        "new critic, held-out images": lambda: critic_distance(real.held_out, fakes)[0],
        "new critic, training images": lambda: critic_distance(real.training, fakes)[0],
        "new critic, 1,000 training images": lambda: critic_distance(real_few, few)[0],
        "two-sample test (AUC), 1,000 training images": lambda: two_sample_test(real_few, few)[0],
    }
    values = _losses_of_training(
        run_dir, snapshot.images_seen, config.objective.kind
    ) | real.ruler.measure(fakes[:FID_SAMPLES])
    for name, compute in numbers.items():
        start = time.process_time()
        values[name] = compute()
        values[f"seconds/{name}"] = time.process_time() - start
    return values


def _generator(snapshot: Snapshot, name: str) -> Generator:
    generator = build_networks(parse_config(snapshot.state.config, name))[0]
    generator.load_state_dict(snapshot.tensors[name])
    return generator.eval().requires_grad_(False)


@torch.no_grad()
def _negative_loss(snapshot: Snapshot, real: Tensor, fake: Tensor) -> float:
    """Return the negative of D's loss, without penalties: for a critic its distance."""
    config = parse_config(snapshot.state.config, "checkpoint")
    discriminator = build_networks(config)[1]
    discriminator.load_state_dict(snapshot.tensors["discriminator"])
    scores = [in_batches(images, discriminator.eval()) for images in (real, fake)]
    fewest = min(map(len, scores))
    real_scores, fake_scores = (x[:fewest] for x in scores)
    loss, _ = make_objective(config).d_loss(real_scores, fake_scores, PositionalRNG(0, 0, fewest))
    return -float(loss)


def _losses_of_training(run_dir: Path, images_seen: int, kind: str) -> Values:
    """Return the losses of the training, means since the measured checkpoint before."""
    since = images_seen - 1000 * MEASURED_EVERY * CHECKPOINT_KIMG[kind]
    lines = [x for x in read_metrics(run_dir) if since < x["images_seen"] <= images_seen]
    return {
        "loss of D in training": -fmean(x["loss/discriminator"] for x in lines),
        "loss of G in training": fmean(x["loss/generator"] for x in lines),
    }
