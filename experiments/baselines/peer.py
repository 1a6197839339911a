"""Compare gantrain with torch-mimicry on the same networks: `python -m experiments baselines peer`.

Trains what is missing of the runs in `experiments.baselines.peer_plan`, half of them by the peer's
trainer and half by ours, measures them, and writes the table of docs/baselines.md.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from experiments.baselines.fashion_rgb import fashion_shards
from experiments.baselines.mimicry import (
    PeerDiscriminator,
    PeerGenerator,
    peer_networks,
    train_as_the_peer,
)
from experiments.baselines.peer_plan import (
    ARMS,
    BETAS,
    WIDTH,
    PeerRun,
    all_runs,
    trainer_config,
)
from experiments.baselines.peer_results import (
    MEASURED,
    REAL,
    UNTRAINED,
    WEIGHTS,
    measure_run,
    measure_untrained,
    peer_table,
    read_scores,
)
from experiments.baselines.ruler import Lite0Ruler
from experiments.fashion import PACKAGE
from experiments.tables import update_tables
from experiments.training import has_ended, mark_as_ended, runs_parser, train_in
from gantrain.common.rng import PositionalRNG
from gantrain.config import parse_config
from gantrain.data.loading.datasets import ImageDataset
from gantrain.data.loading.opening import open_dataset


def main(arguments: Sequence[str]) -> None:
    """Train and measure the missing runs one after the other; write the table."""
    torch.set_num_threads(1)
    parser = runs_parser(
        "baselines peer",
        "Compare gantrain with torch-mimicry on the same networks.",
        Path("runs/baselines/peer"),
    )
    parser.add_argument(
        "--source", type=Path, default=PACKAGE, help="folder with the four IDX files"
    )
    parser.add_argument(
        "--document",
        type=Path,
        default=Path("docs/baselines.md"),
        help="document whose table gets the results",
    )
    options = parser.parse_args(arguments)
    index, count = options.part
    shards = fashion_shards(options.out / "fashion-rgb", options.source)
    ruler = Lite0Ruler(training_set(options.out, shards), REAL)
    if not (options.out / UNTRAINED / MEASURED).exists():
        measure_untrained(options.out, ruler)
    for run in all_runs()[index::count]:
        if not has_ended(options.out / run.name):
            train(run, options.out, shards)
        if not (options.out / run.name / MEASURED).exists():
            measure_run(run, options.out, ruler)
    scores = read_scores(options.out)
    update_tables(options.document, {"peer": peer_table(scores)})
    print(f"{options.document}: updated from {len(scores)} of {len(all_runs())} runs")


def train(run: PeerRun, out: Path, shards: Path) -> None:
    """Train one run in this process and save its generator.

    Both codes start from the same weights.
    """
    run_dir = out / run.name
    torch.manual_seed(run.seed)
    networks = peer_networks(run.arm.kind, WIDTH)
    for network in networks:
        network.to(memory_format=torch.channels_last)  # as our trainer does; twice as fast here
    if run.code == "peer":
        dataset = training_set(out, shards)
        train_as_the_peer(
            networks,
            dataset.images(PositionalRNG(run.seed, 0, dataset.total)),
            batch_size=run.arm.batch_size,
            n_critic=run.arm.n_critic,
            steps=run.arm.steps,
            learning_rate=run.arm.learning_rate,
            betas=BETAS,
            folder=run_dir,
        )
    else:
        ours = PeerGenerator(networks[0]), PeerDiscriminator(networks[1])
        train_in(run_dir, trainer_config(run.arm, out, shards), run.seed, ours)
    save_weights(networks[0], run_dir / WEIGHTS)
    mark_as_ended(run_dir)


def training_set(out: Path, shards: Path) -> ImageDataset:
    """Open the images that both codes train on."""
    tree = trainer_config(ARMS[0], out, shards)
    tree["output"]["run_dir"] = str(out)
    return open_dataset(parse_config(tree, "the comparison").data)


def save_weights(network: nn.Module, path: Path) -> None:
    """Write all weights and buffers of a network."""
    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, path)
