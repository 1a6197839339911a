"""Commands that generate images: sample, interpolate, walk."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gantrain.cli.options import (
    At,
    Best,
    Classes,
    Method,
    RunPath,
    Seed,
    Truncation,
    class_keys,
    class_keys_or_first,
    of_classes,
    require_suffix,
)
from gantrain.cli.printing import show_progress
from gantrain.common.errors import UserError
from gantrain.common.text import counted, printable

if TYPE_CHECKING:
    from torch import Tensor

    from gantrain.models.networks import Generator

Steps = Annotated[
    int, typer.Option(min=1, help="Images from each sample to the next, without the latter.")
]
Milliseconds = Annotated[int, typer.Option(min=10, help="Duration of each frame.")]
_IMAGES = 64


def sample(
    run: RunPath,
    count: Annotated[
        int | None,
        typer.Option(
            "--n",
            min=1,
            help="Number of images, rounded up to full rows of classes. Default: 64, or 8 of each "
            "of several classes.",
        ),
    ] = None,
    classes: Classes = None,
    at: At = None,
    best: Best = False,
    seed: Seed = 0,
    out: Annotated[Path, typer.Option(help="PNG file to write.")] = Path("samples.png"),
    truncation: Truncation = 1.0,
) -> None:
    """Generate images with a run's EMA generator and tile them into one PNG.

    A conditional generator makes a row for each class, or for those of --class. The images of a
    column have the same latent; with one class, the PNG is a square.
    """
    from gantrain.common.grids import save_png, tile, tile_square
    from gantrain.inference.classes import COLUMNS, row_classes, sample_rows, select_classes
    from gantrain.inference.export import open_generator
    from gantrain.inference.sampling import sample_images

    require_suffix(out, ".png")
    loaded = open_generator(run, at=at, best=best)
    generator = loaded.generator
    given = class_keys(loaded, classes)
    keys = row_classes(generator) if given is None else given
    if len(keys) > 1:
        columns = COLUMNS if count is None else -(-count // len(keys))
        images = sample_rows(generator, keys, columns, seed, truncation=truncation)
        save_png(tile(images, len(keys), columns), out)
    else:
        chosen = select_classes(generator, keys) if keys else None
        images = sample_images(
            generator, count or _IMAGES, seed, truncation=truncation, classes=chosen
        )
        save_png(tile_square(images), out)
    known = len(generator.conditioning.class_counts)
    if given is None and len(keys) < known:
        typer.echo(f"{len(keys)} of {known} classes; --class KEY,KEY,… chooses others")
    if len(keys) > 1:
        typer.echo(f"rows from the top: {', '.join(map(printable, keys))}")
    one = of_classes(keys) if len(keys) == 1 else ""
    typer.echo(f"{counted(len(images), 'image')}{one} of {loaded.name}: {out}")


def interpolate(
    run: RunPath,
    samples: Annotated[list[int], typer.Argument(help="Two or more samples, by number.")],
    classes: Classes = None,
    steps: Steps = 8,
    method: Method = "slerp",
    at: At = None,
    best: Best = False,
    seed: Seed = 0,
    truncation: Truncation = 1.0,
    milliseconds: Milliseconds = 60,
    out: Annotated[Path, typer.Option(help=".png, .gif or .webp file to write.")] = Path(
        "interpolation.png"
    ),
) -> None:
    """Interpolate between samples: a PNG with one row per pair of samples, or an animation.

    Sample 7 is image 7, counted from 0, of `gantrain sample` with the same seed; with several
    classes, column 7.

    --class of a conditional generator: one for the whole way (default: the first), one for each
    sample, or several for one sample, which then changes its class at a fixed latent.
    """
    from gantrain.common.grids import save_png, tile
    from gantrain.inference import interpolation
    from gantrain.inference.export import open_generator
    from gantrain.inference.sampling import generate_images, select_latents

    require_suffix(out, ".png", ".gif", ".webp")
    loaded = open_generator(run, at=at, best=best)
    generator = loaded.generator
    keys = class_keys_or_first(loaded, classes)
    anchors = max(len(samples), len(keys))
    if anchors < 2:
        raise UserError(
            "interpolate: one sample given; expected two or more, as in: RUN 3 7, or one of a "
            "conditional generator and several classes, as in: RUN 3 --class A,B."
        )
    if {len(samples), len(keys)} - {0, 1, anchors}:
        raise UserError(
            f"--class: {len(keys)} classes for {len(samples)} samples; expected one class, one for "
            "each sample, or several for one sample."
        )
    ends = select_latents(generator, samples, seed, truncation=truncation)
    latents = interpolation.interpolate(ends.expand(anchors, -1), steps, method)
    weights = _class_path(generator, keys, anchors, steps)
    images = generate_images(generator, latents, weights)
    if out.suffix.lower() == ".png":
        columns = steps + 1 if anchors == 2 else steps
        save_png(tile(images, -(-len(images) // columns), columns), out)
    else:
        frames = [tile(image[None], 1, 1) for image in images]
        interpolation.save_animation(frames, out, milliseconds)
    way = " to ".join(map(str, samples))
    typer.echo(
        f"{counted(len(images), 'image')} from {way}{of_classes(keys)} of {loaded.name}: {out}"
    )


def walk(
    run: RunPath,
    count: Annotated[int, typer.Option("--n", min=1, help="Number of samples to visit.")] = 8,
    classes: Classes = None,
    steps: Steps = 12,
    tiles: Annotated[
        int, typer.Option(min=1, max=16, help="Show TILES x TILES walks at the same time.")
    ] = 1,
    method: Method = "slerp",
    at: At = None,
    best: Best = False,
    seed: Seed = 0,
    truncation: Truncation = 1.0,
    milliseconds: Milliseconds = 60,
    out: Annotated[Path, typer.Option(help=".gif or .webp file to write.")] = Path("walk.webp"),
) -> None:
    """Animate a closed walk through latent space, which loops without a jump.

    --class of a conditional generator: one for the whole walk (default: the first), or several,
    which the samples have in turn. With `--n 1`, a sample changes its class at a fixed latent.
    """
    import torch

    from gantrain.common.grids import tile
    from gantrain.inference import interpolation
    from gantrain.inference.export import open_generator
    from gantrain.inference.sampling import generate_images, sample_latents

    require_suffix(out, ".gif", ".webp")
    loaded = open_generator(run, at=at, best=best)
    generator = loaded.generator
    keys = class_keys_or_first(loaded, classes)
    visits = max(count, len(keys))
    if visits < 2:
        raise UserError(
            "walk: --n is 1; expected at least 2 samples, or one of a conditional generator and "
            "several classes, as in: --n 1 --class A,B."
        )
    weights = _class_path(generator, keys, visits, steps, closed=True)
    walks = []
    for i in range(tiles**2):
        samples = sample_latents(generator, count, seed, first=i * count, truncation=truncation)
        visited = samples[torch.arange(visits) % count]
        walks.append(interpolation.interpolate(visited, steps, method, closed=True))
    frames = []
    moments = torch.stack(walks).unbind(1)
    with show_progress("Generating") as advance:
        for moment, latents in enumerate(moments):
            now = None if weights is None else weights[moment][None]
            frames.append(tile(generate_images(generator, latents, now), tiles, tiles))
            advance(moment + 1, len(moments))
    interpolation.save_animation(frames, out, milliseconds)
    typer.echo(
        f"{len(frames)} frames through {counted(count, 'sample')}{of_classes(keys)} of "
        f"{loaded.name}: {out}"
    )


def _class_path(
    generator: "Generator", keys: Sequence[str], anchors: int, steps: int, *, closed: bool = False
) -> "Tensor | None":
    """Return the weights of classes along `interpolate`'s path; None without conditioning.

    keys: of the anchors, which have them in turn.
    """
    from gantrain.inference.classes import one_hot_classes
    from gantrain.inference.interpolation import interpolate as path_through

    in_turn = [keys[i % len(keys)] for i in range(anchors)] if keys else []
    weights = one_hot_classes(generator, in_turn)
    return None if weights is None else path_through(weights, steps, "lerp", closed=closed)
