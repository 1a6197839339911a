"""`gantrain evaluate` and `gantrain data features`: quality metrics of trained generators."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gantrain.cli.options import At, Best, Shards, select_data
from gantrain.cli.printing import print_line
from gantrain.common.errors import UserError
from gantrain.common.text import printable
from gantrain.config.quality import goal_of
from gantrain.config.values import TRAINABLE_SIZES

Runs = Annotated[
    list[Path],
    typer.Argument(help="Run directories, checkpoints in them, or exported .safetensors files."),
]


def evaluate(
    runs: Runs,
    at: At = None,
    best: Best = False,
    samples: Annotated[
        int, typer.Option(min=16, max=50_000, help="Number of images per generator.")
    ] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the latents.")] = 0,
    features: Annotated[
        Literal["auto", "lite0", "classifier", "random", "inception"],
        typer.Option(help="Features to compare images by, as metrics.features."),
    ] = "auto",
    shards: Shards = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per line.")
    ] = False,
) -> None:
    """Measure the EMA generators of runs against the images that they were trained on.

    The metrics of held-out real images are printed next to them, for comparison.
    """
    import json

    from gantrain.inference.export import open_generator
    from gantrain.metrics.evaluate import evaluate_generator

    columns: dict[str, dict[str, float]] = {}
    notices: list[str] = []
    for run in runs:
        loaded = open_generator(run, at=at, best=best)
        generator = loaded.generator
        data = select_data(loaded, shards)
        result = evaluate_generator(
            generator, data, samples=samples, seed=seed, features_kind=features
        )
        if as_json:
            content = {
                "run": str(run),
                "images_seen": loaded.images_seen,
                **result.scores,
                "held_out": result.held_out,
            }
            typer.echo(json.dumps(content))
        seen = "" if loaded.images_seen is None else f" at {loaded.images_seen / 1000:g} kimg"
        columns[f"{run}{seen}"] = result.scores
        notices.append(f"{run}{seen}: {result.features}")
        if result.held_out:
            columns.setdefault(f"held-out images of {data.shards}", result.held_out)
    if not as_json:
        _print(columns, notices)


def _print(columns: dict[str, dict[str, float]], notices: list[str]) -> None:
    console = Console()
    names = list(dict.fromkeys(name for scores in columns.values() for name in scores))
    table = Table("metric", "best")
    for run in columns:
        table.add_column(Text(printable(run)), overflow="fold")
    for name in names:
        values = [f"{scores[name]:.4g}" if name in scores else "-" for scores in columns.values()]
        best = goal_of(name) or ("as held-out" if name == "quality/ms_ssim" else "")
        table.add_row(name.removeprefix("quality/"), best, *values)
    console.print(table)
    for notice in dict.fromkeys(notices):
        print_line(console, notice)


def train_features(
    folder: Annotated[Path, typer.Argument(help="Folder of a data set.")],
    cache_dir: Annotated[
        Path | None, typer.Option(help="Scratch folder, as data.cache_dir. Default: the trainer's.")
    ] = None,
) -> None:
    """Train the classifier whose features the metrics of a data set use, unless it is trained."""
    from gantrain.config import DataConfig
    from gantrain.data.shards.manifest import load_manifest
    from gantrain.metrics.classifier_store import prepare_classifier

    manifest = load_manifest(folder)
    if manifest.size not in TRAINABLE_SIZES:
        raise UserError(f"{folder}: size {manifest.size}; expected 32, 64, 128 or 256.")
    section = {"shards": folder, "size": manifest.size, "channels": manifest.channels}
    config = DataConfig.model_validate({**section, "cache_dir": cache_dir})
    typer.echo(prepare_classifier(config).description)
