"""`gantrain evaluate` and `gantrain data features`: quality metrics of trained generators."""

from collections.abc import Sequence
from math import inf, isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from gantrain.cli.metric_table import Column, like_floor, print_metrics
from gantrain.cli.options import At, Best, Shards, select_data
from gantrain.cli.printing import print_line, print_rows, show_progress
from gantrain.common.errors import UserError
from gantrain.config.values import is_trainable

if TYPE_CHECKING:  # torch is imported by the command only
    from gantrain.config import ConditioningConfig, DataConfig
    from gantrain.inference.export import Loaded
    from gantrain.metrics.evaluate import Evaluation, RealImages
    from gantrain.metrics.measure import Measurement

Runs = Annotated[
    list[Path],
    typer.Argument(help="Run directories, checkpoints in them, or exported .safetensors files."),
]


_SHOWN_CLASSES = 10


def evaluate(
    runs: Runs,
    at: At = None,
    best: Best = False,
    samples: Annotated[
        int, typer.Option(min=16, max=50_000, help="Number of images per generator.")
    ] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the latents.")] = 0,
    features: Annotated[
        Literal["auto", "lite0", "artefacts", "classifier", "random", "inception"],
        typer.Option(help="Features to compare images by, as metrics.features."),
    ] = "auto",
    shards: Shards = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per line.")
    ] = False,
) -> None:
    """Measure the EMA generators of runs against the images that they were trained on.

    Each value has its 95% interval, and next to it are the same metrics of real images: training
    images against other training images (floor), and held-out images.
    """
    import json

    from gantrain.inference.export import open_generator
    from gantrain.metrics.evaluate import STAGES, evaluate_generator, open_real_images

    generators = [open_generator(run, at=at, best=best) for run in runs]
    sets = [select_data(loaded, shards) for loaded in generators]
    conditioning = _conditioning_of(generators, sets)
    opened: dict[DataConfig, RealImages] = {}
    shown: list[tuple[str, str, Evaluation]] = []
    for run, loaded, data in zip(runs, generators, sets, strict=True):
        try:
            with show_progress("Measuring") as advance:
                advance(0, 1 + len(STAGES))
                if data not in opened:
                    opened[data] = open_real_images(
                        data,
                        samples=samples,
                        features_kind=features,
                        conditioning=conditioning[data],
                    )
                advance(1, 1 + len(STAGES))
                result = evaluate_generator(
                    loaded.generator,
                    opened[data],
                    seed=seed,
                    advance=lambda done, total: advance(1 + done, 1 + total),
                )
        except UserError as error:
            raise UserError(f"{run}: {error}") from None
        if as_json:
            typer.echo(json.dumps(_as_json(str(run), loaded.images_seen, str(data.shards), result)))
        seen = "" if loaded.images_seen is None else f" at {loaded.images_seen / 1000:g} kimg"
        shown.append((f"{run}{seen}", str(data.shards), result))
    if not as_json:
        _print(shown)


def _conditioning_of(
    generators: "Sequence[Loaded]", sets: "Sequence[DataConfig]"
) -> "dict[DataConfig, ConditioningConfig]":
    """Return the conditioning of the first generator of each data set that has any.

    Images without a class are left out then, since no generator can be asked for them.
    """
    found: dict[DataConfig, ConditioningConfig] = {}
    for loaded, data in zip(generators, sets, strict=True):
        own = loaded.config.conditioning.model_copy(update={"unlabelled": "skip"})
        if data not in found or not found[data].active:
            found[data] = own
    return found


def _as_json(
    run: str, images_seen: int | None, data: str, result: "Evaluation"
) -> dict[str, object]:
    generated, floor = _column(run, data, result.generated), _column("floor", data, result.floor)
    return {
        "run": run,
        "images_seen": images_seen,
        **result.generated.scores,
        "intervals": result.generated.intervals,
        "held_out": result.held_out.scores,
        "held_out_intervals": result.held_out.intervals,
        "floor": result.floor.scores,
        "floor_intervals": result.floor.intervals,
        "like_floor": like_floor(generated, [floor]),
        "features": result.features,
        "notices": result.notices,
        **_classes_as_json(result.generated),
    }


def _classes_as_json(measured: "Measurement") -> dict[str, object]:
    """Return the scores of each class, None where they are not known; nothing without classes."""
    classes = {
        name: {
            "images": score.images,
            "accuracy": score.accuracy if isfinite(score.accuracy) else None,
            "diversity": score.diversity if isfinite(score.diversity) else None,
        }
        for name, score in measured.by_class.items()
    }
    return {"classes": classes} if classes else {}


def _print(shown: Sequence[tuple[str, str, "Evaluation"]]) -> None:
    """Print runs, each with its name, its data set and its metrics."""
    console = Console()
    sets = {data: result for _, data, result in reversed(shown)}
    several = len(shown) > 1
    runs = [
        _column(str(number) if several else "generated", data, result.generated)
        for number, (_, data, result) in enumerate(shown, 1)
    ]
    suffix = {data: f" of {data}" if len(sets) > 1 else "" for data in sets}
    floors = [_column(f"floor{suffix[data]}", data, r.floor) for data, r in sets.items()]
    held_out = [_column(f"held-out{suffix[data]}", data, r.held_out) for data, r in sets.items()]
    print_metrics(
        console,
        runs,
        [column for column in floors if column.scores],
        [column for column in held_out if column.scores],
    )
    for number, (name, _, result) in enumerate(shown, 1):
        print_line(console, f"{f'{number}: ' if several else ''}{name}: {result.features}")
    for number, (_, _, result) in enumerate(shown, 1):
        _print_classes(console, f"{number}: " if several else "", result.generated)
    for notice in dict.fromkeys(line for _, _, result in shown for line in result.notices):
        print_line(console, notice)


def _print_classes(console: Console, prefix: str, measured: "Measurement") -> None:
    """Print the classes that are made worst: seldom when asked for, or always alike."""

    def worst(name: str) -> float:
        score = measured.by_class[name]
        return min(filter(isfinite, (score.accuracy, score.diversity)), default=inf)

    names = sorted((x for x in measured.by_class if isfinite(worst(x))), key=worst)
    rows = []
    for name in names[:_SHOWN_CLASSES]:
        score = measured.by_class[name]
        values = (f"{x:.3g}" if isfinite(x) else "-" for x in (score.accuracy, score.diversity))
        rows.append((name, f"{score.images:,}", *values))
    fewer = f"the worst {len(rows)} of {len(names)} " if len(rows) < len(names) else ""
    title = f"{prefix}{fewer}classes"
    print_rows(console, title, ("class", "images", "accuracy", "diversity"), rows)


def _column(label: str, data: str, measurement: "Measurement") -> Column:
    return Column(label, data, measurement.scores, measurement.intervals)


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
    if not is_trainable(manifest.size):
        raise UserError(f"{folder}: size {manifest.size}; expected a multiple of 8 from 16 to 256.")
    section = {"shards": folder, "size": manifest.size, "channels": manifest.channels}
    config = DataConfig.model_validate({**section, "cache_dir": cache_dir})
    typer.echo(prepare_classifier(config).description)
