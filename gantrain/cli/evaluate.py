"""`gantrain evaluate`: all metrics of trained generators, side by side."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from gantrain.common.errors import UserError

Runs = Annotated[
    list[Path], typer.Argument(help="run directories, or exported generator.safetensors files")
]
_BETTER = {
    **dict.fromkeys(("precision", "recall", "density", "coverage", "parts_made"), "higher"),
    **dict.fromkeys(("fid", "kid", "swd", "parts_divergence", "memorisation"), "lower"),
    "parts_covered": "higher",
    "diversity": "near 1",
    "checkerboard": "near 1",
    "ms_ssim": "as held-out",
}


def evaluate(
    runs: Runs,
    samples: Annotated[int, typer.Option(min=16, max=50_000, help="images of each")] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="of the latents")] = 0,
    features: Annotated[
        Literal["auto", "brick", "random", "inception"],
        typer.Option(help="what images are compared by, as metrics.features"),
    ] = "auto",
    shards: Annotated[
        Path | None, typer.Option(help="the set to compare with; without it, the run's own")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object a line")] = False,
) -> None:
    """Measure the EMA generators of runs against their images.

    Beside them, as a floor, stand held-out real images in place of generated ones.
    """
    import json

    from gantrain.metrics.evaluate import evaluate_run

    columns: dict[str, dict[str, float]] = {}
    notices: list[str] = []
    for run in runs:
        found = evaluate_run(run, samples, seed, features, shards)
        if as_json:
            content = {"run": str(run), **found.scores, "held_out": found.floor}
            typer.echo(json.dumps(content))
        columns[str(run)] = found.scores
        notices.append(f"{run}: {found.notice}")
        if found.floor:
            columns.setdefault(f"held-out, of {found.shards}", found.floor)
    if not as_json:
        _print(columns, notices)


def _print(columns: dict[str, dict[str, float]], notices: list[str]) -> None:
    console = Console()
    names = list(dict.fromkeys(name for scores in columns.values() for name in scores))
    table = Table("metric", "better")
    for run in columns:
        table.add_column(run, overflow="fold")
    for name in names:
        plain = name.removeprefix("quality/")
        stem = plain if plain in _BETTER else plain.rpartition("_")[0]
        values = [f"{scores[name]:.4g}" if name in scores else "-" for scores in columns.values()]
        table.add_row(plain, _BETTER.get(stem, ""), *values)
    console.print(table)
    for notice in dict.fromkeys(notices):
        console.print(notice, markup=False, highlight=False, soft_wrap=True)


def learn(
    folder: Annotated[Path, typer.Argument(help="Folder that holds a set of shards.")],
    cache_dir: Annotated[
        Path | None, typer.Option(help="Scratch, as data.cache_dir; empty: the trainer's default.")
    ] = None,
) -> None:
    """Learn the parts of a set, as features for its metrics; done once for a set."""
    from gantrain.config import DataConfig
    from gantrain.data.shards.manifest import load_manifest
    from gantrain.metrics.features import learn_features

    manifest = load_manifest(folder)
    if manifest.size not in (32, 64, 128, 256):
        raise UserError(f"{folder}: size {manifest.size}; expected 32, 64, 128 or 256.")
    config = DataConfig(
        shards=folder, size=manifest.size, channels=manifest.channels, cache_dir=cache_dir
    )
    typer.echo(learn_features(config).description)
