"""Commands that compare generated with real images: project, nearest."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gantrain.cli.options import (
    At,
    Background,
    Best,
    Classes,
    FitOption,
    MaxMegapixels,
    RunPath,
    Seed,
    Shards,
    check_writable,
    class_keys,
    of_classes,
    require_suffix,
    select_data,
)
from gantrain.cli.printing import show_progress
from gantrain.common.text import printable
from gantrain.data.images.convert import MAX_MEGAPIXELS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from gantrain.config import DataConfig
    from gantrain.data.loading.labelled import LabelledDataset
    from gantrain.inference.nearest import Nearest
    from gantrain.models.networks import Generator


def project(
    run: RunPath,
    images: Annotated[list[Path], typer.Argument(help="Image files.")],
    steps: Annotated[int, typer.Option(min=1, help="Optimisation steps.")] = 300,
    starts: Annotated[int, typer.Option(min=1, max=64, help="Starting points for each image.")] = 4,
    classes: Classes = None,
    at: At = None,
    best: Best = False,
    seed: Seed = 0,
    background: Background = "black",
    fit: FitOption = "crop",
    max_megapixels: MaxMegapixels = MAX_MEGAPIXELS,
    out: Annotated[Path, typer.Option(help="PNG file to write.")] = Path("projection.png"),
    latents: Annotated[
        Path | None, typer.Option(help="Also save the latents, (N, latent_size), as .npy.")
    ] = None,
) -> None:
    """Find the latents whose images are most similar to given images.

    The PNG shows the given images in the first row and the generated ones in the second. Image
    files are read as by `gantrain data import`; give the options that the run's data set has.
    With a conditional generator, all classes are searched, or those of --class, and the class that
    was found is printed.
    """
    import torch

    from gantrain.common.grids import save_png, tile
    from gantrain.data.images.convert import Conversion, parse_background
    from gantrain.inference import projection
    from gantrain.inference.classes import name_classes, select_classes
    from gantrain.inference.export import open_generator

    require_suffix(out, ".png")
    if latents is not None:
        check_writable(latents, "--latents")
    loaded = open_generator(run, at=at, best=best)
    generator, config = loaded.generator, loaded.config
    keys = class_keys(loaded, classes)
    chosen = None if keys is None else select_classes(generator, keys)
    conversion = Conversion(
        config.data.size, config.data.channels, parse_background(background), fit, max_megapixels
    )
    targets = projection.read_images(images, conversion)
    with show_progress("Searching") as advance:
        result = projection.project(
            generator,
            targets,
            classes=chosen,
            steps=steps,
            starts=starts,
            seed=seed,
            advance=advance,
        )
    save_png(tile(torch.cat([targets, result.images]), 2, len(targets)), out)
    if latents is not None:
        _save_array(result.latents.numpy(), latents)
    found = [f" class {printable(key)}," for key in name_classes(generator, result.classes)]
    for path, of, error, start in zip(
        images, found or [""] * len(images), result.errors, result.random_errors, strict=True
    ):
        typer.echo(
            f"{path}:{of} differs by {error:.2f} of 255 grey levels "
            f"on average (best random latent: {start:.2f})"
        )
    typer.echo(f"given images above, images of {loaded.name} below: {out}")


def nearest(
    run: RunPath,
    samples: Annotated[
        list[int] | None, typer.Argument(help="Samples, by number. Default: the first 8.")
    ] = None,
    count: Annotated[
        int, typer.Option("--k", min=1, max=100, help="Training images for each sample.")
    ] = 5,
    by: Annotated[Literal["pixels", "features"], typer.Option(help="What to compare.")] = "pixels",
    classes: Classes = None,
    shards: Shards = None,
    at: At = None,
    best: Best = False,
    seed: Seed = 0,
    out: Annotated[Path, typer.Option(help="PNG file to write.")] = Path("nearest.png"),
) -> None:
    """Show the training images nearest to samples, to check whether the generator memorises.

    Each row shows a sample, followed by its nearest training images, of equal ones only the first.
    Their distances are printed: mean absolute differences in grey levels, or Euclidean distances of
    features. The samples of a conditional generator have classes as often as in training, or those
    of --class in turn.
    """
    from dataclasses import replace

    from gantrain.data.loading.labelled import open_labelled_dataset
    from gantrain.inference.classes import name_classes
    from gantrain.inference.export import open_generator
    from gantrain.inference.nearest import distinct_rows
    from gantrain.inference.sampling import generate_images, select_latents

    require_suffix(out, ".png")
    loaded = open_generator(run, at=at, best=best)
    generator, config = loaded.generator, loaded.config
    keys = class_keys(loaded, classes)
    data = select_data(loaded, shards)
    labelled = open_labelled_dataset(data)
    total = len(labelled.rows)
    labelled = replace(labelled, rows=distinct_rows(labelled.images.numpy(), labelled.rows))
    numbers = samples or list(range(8))
    latents = select_latents(generator, numbers, seed)
    chosen = _classes_of(generator, numbers, keys, seed)
    images = generate_images(generator, latents, chosen)
    if by == "pixels":
        result = _search_by_pixels(images, labelled, count)
    else:
        result = _search_by_features(images, labelled, data, config.metrics.features, count)
    _save_rows(images, labelled, result, out)
    names = name_classes(generator, chosen) or [""] * len(numbers)
    _print_distances(numbers, names, labelled, result)
    distinct = len(labelled.rows)
    searched = f"{total:,} training images" + (f", {distinct:,} distinct" * (distinct < total))
    typer.echo(f"{loaded.name}: searched {searched}: {out}")


def _classes_of(
    generator: "Generator", numbers: Sequence[int], keys: Sequence[str] | None, seed: int
) -> "Tensor | None":
    """Return the classes of numbered samples: keys in turn, or by default those drawn for them."""
    from gantrain.inference.classes import select_classes
    from gantrain.inference.sampling import select_drawn_classes

    if keys is None:
        return select_drawn_classes(generator, numbers, seed)
    return select_classes(generator, [keys[i % len(keys)] for i in range(len(numbers))])


def _search_by_pixels(images: "Tensor", labelled: "LabelledDataset", count: int) -> "Nearest":
    from gantrain.inference.nearest import Nearest, PixelSearch

    search = PixelSearch(_training_images(labelled).numpy())
    result = search.find(_queries(images), count)
    return Nearest(labelled.rows[result.rows], result.distances)


def _search_by_features(
    images: "Tensor", labelled: "LabelledDataset", data: "DataConfig", kind: str, count: int
) -> "Nearest":
    import torch

    from gantrain.inference.nearest import Nearest, nearest_by_features
    from gantrain.metrics.features import open_features

    features = open_features(kind, data, labelled.cache, torch.device("cpu"))
    typer.echo(f"compared by {features.description}")
    result = nearest_by_features(
        _training_images(labelled),
        torch.from_numpy(_queries(images)),
        lambda batch: features.describe(batch)[0],
        count,
    )
    return Nearest(labelled.rows[result.rows], result.distances)


def _training_images(labelled: "LabelledDataset") -> "Tensor":
    import torch

    if len(labelled.rows) == len(labelled.images):
        return labelled.images  # without a copy of the mapped file
    return labelled.images[torch.from_numpy(labelled.rows)]


def _queries(images: "Tensor") -> "NDArray[np.uint8]":
    from gantrain.common.grids import to_uint8

    return to_uint8(images).transpose(0, 3, 1, 2).copy()


def _save_rows(images: "Tensor", labelled: "LabelledDataset", result: "Nearest", out: Path) -> None:
    """Save a row for each image: the image itself, then its nearest training images."""
    import torch

    from gantrain.common.grids import save_png, tile

    count = result.rows.shape[1]
    real = labelled.images[torch.from_numpy(result.rows.flatten())].float() / 127.5 - 1
    rows = [
        torch.cat([image[None], near])
        for image, near in zip(images, torch.split(real, count), strict=True)
    ]
    save_png(tile(torch.cat(rows), len(rows), count + 1), out)


def _print_distances(
    numbers: Sequence[int], names: Sequence[str], labelled: "LabelledDataset", result: "Nearest"
) -> None:
    """Print a line for each sample. names: keys of the samples' classes; empty without classes."""
    for number, name, rows, distances in zip(
        numbers, names, result.rows, result.distances, strict=True
    ):
        pairs = zip(rows, distances, strict=True)
        images = ", ".join(f"{labelled.key(row)} {distance:.2f}" for row, distance in pairs)
        typer.echo(f"sample {number}{of_classes([name] if name else [])}: {images}")


def _save_array(array: "NDArray[np.float32]", path: Path) -> None:
    import numpy as np

    from gantrain.common.files import replacing

    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, array)
