"""Commands that generate images: sample, interpolate, walk."""

from pathlib import Path
from typing import Annotated

import typer

from gantrain.cli.options import At, Best, Method, RunPath, Seed, Truncation, require_suffix
from gantrain.common.errors import UserError

Steps = Annotated[
    int, typer.Option(min=1, help="Images from each sample to the next, without the latter.")
]
Milliseconds = Annotated[int, typer.Option(min=10, help="Duration of each frame.")]


def sample(
    run: RunPath,
    count: Annotated[int, typer.Option("--n", min=1, help="Number of images.")] = 64,
    at: At = None,
    best: Best = False,
    seed: Seed = 0,
    out: Annotated[Path, typer.Option(help="PNG file to write.")] = Path("samples.png"),
    truncation: Truncation = 1.0,
) -> None:
    """Generate images with a run's EMA generator and tile them into one PNG."""
    from gantrain.common.grids import save_png, tile_square
    from gantrain.inference.export import open_generator
    from gantrain.inference.sampling import sample_images

    require_suffix(out, ".png")
    loaded = open_generator(run, at=at, best=best)
    images = sample_images(loaded.generator, count, seed, truncation=truncation)
    save_png(tile_square(images), out)
    typer.echo(f"{count} images of {loaded.name}: {out}")


def interpolate(
    run: RunPath,
    samples: Annotated[list[int], typer.Argument(help="Two or more samples, by number.")],
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

    Sample 7 is image 7, counted from 0, of `gantrain sample` with the same seed.
    """
    from gantrain.common.grids import save_png, tile
    from gantrain.inference import interpolation
    from gantrain.inference.export import open_generator
    from gantrain.inference.sampling import generate_images, select_latents

    if len(samples) < 2:
        raise UserError("interpolate: one sample given; expected two or more, as in: RUN 3 7.")
    require_suffix(out, ".png", ".gif", ".webp")
    loaded = open_generator(run, at=at, best=best)
    generator = loaded.generator
    anchors = select_latents(generator, samples, seed, truncation=truncation)
    images = generate_images(generator, interpolation.interpolate(anchors, steps, method))
    if out.suffix.lower() == ".png":
        columns = steps + 1 if len(samples) == 2 else steps
        save_png(tile(images, -(-len(images) // columns), columns), out)
    else:
        frames = [tile(image[None], 1, 1) for image in images]
        interpolation.save_animation(frames, out, milliseconds)
    typer.echo(
        f"{len(images)} images from {' to '.join(map(str, samples))} of {loaded.name}: {out}"
    )


def walk(
    run: RunPath,
    count: Annotated[int, typer.Option("--n", min=2, help="Number of samples to visit.")] = 8,
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
    """Animate a closed walk through latent space, which loops without a jump."""
    import torch

    from gantrain.common.grids import tile
    from gantrain.inference import interpolation
    from gantrain.inference.export import open_generator
    from gantrain.inference.sampling import generate_images, sample_latents

    require_suffix(out, ".gif", ".webp")
    loaded = open_generator(run, at=at, best=best)
    generator = loaded.generator
    walks = [
        interpolation.interpolate(
            sample_latents(generator, count, seed, first=i * count, truncation=truncation),
            steps,
            method,
            closed=True,
        )
        for i in range(tiles**2)
    ]
    frames = [
        tile(generate_images(generator, latents), tiles, tiles)
        for latents in torch.stack(walks).unbind(1)
    ]
    interpolation.save_animation(frames, out, milliseconds)
    typer.echo(f"{len(frames)} frames through {count} samples of {loaded.name}: {out}")
