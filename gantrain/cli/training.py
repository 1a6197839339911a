"""`gantrain train`."""

from pathlib import Path
from typing import Annotated

import typer

from gantrain.cli.local_ranks import train_on_ranks
from gantrain.common.errors import UserError
from gantrain.config import known_keys, load_config


def _complete_key(incomplete: str) -> list[str]:
    keys = list(known_keys())
    sections = {key.rpartition(".")[0] for key in keys}
    return [f"{k}=" for k in keys if k.startswith(incomplete) and k not in sections]


def train(
    config: Annotated[Path, typer.Argument(help="A YAML file; configs/ has examples.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...",
            help="Keys to change, such as seed=1 or training.batch_size=64.",
            autocompletion=_complete_key,
        ),
    ] = None,
    ranks: Annotated[
        int | None, typer.Option(min=1, help="Processes that share the training, here.")
    ] = None,
    gpus: Annotated[
        int | None, typer.Option(min=1, help="GPUs of this machine to train on, one rank each.")
    ] = None,
) -> None:
    """Train a GAN, or resume its training from the newest checkpoint.

    Examples:

    gantrain train configs/quickstart.yaml

    gantrain train configs/dcgan.yaml seed=1 output.run_dir=runs/second --gpus 4

    The exit status says how it ended: 0 finished, 2 a mistake to correct, 3 diverged, 75 or 76
    start it again, 130 interrupted.
    """
    words = list(overrides or [])
    if gpus is not None:
        if ranks is not None:
            raise UserError("--ranks and --gpus: expected one of them; each GPU has one rank.")
        words.append("training.device=cuda")
    arguments = ["--config", str(config), *words]
    count = ranks or gpus or 1
    if count == 1:
        from gantrain.train import main

        raise typer.Exit(main(arguments))
    # A mistake in it is one line here, instead of one of each rank.
    expected = load_config(config, words).training.world_size
    if expected not in (None, count):
        raise UserError(f"training.world_size: {expected} ranks requested, but {count} started.")
    raise typer.Exit(train_on_ranks(arguments, count))
