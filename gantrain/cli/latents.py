"""The commands that look into latent space: interpolate, walk, arithmetic, grid, project, nearest.

Samples are named by their number: `7` is the image at place 7, counted from 0, of
`gantrain sample` with the same --seed.
"""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from gantrain.common.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from gantrain.config import Config
    from gantrain.data.loading.labelled import LabelledDataset
    from gantrain.inference.directions import Direction
    from gantrain.inference.nearest import Nearest
    from gantrain.models.networks import Generator

RunPath = Annotated[
    Path, typer.Argument(help="a run directory, or an exported generator.safetensors")
]
Seed = Annotated[int, typer.Option(min=0, help="of the samples")]
Truncation = Annotated[
    float, typer.Option(min=0, help="factor on the latents; below 1: more usual images")
]
Shards = Annotated[
    str | None, typer.Option(help="the set of images; without it, the one that the run names")
]
Steps = Annotated[int, typer.Option(min=1, help="images from one sample to the next")]
How = Annotated[str, typer.Option(metavar="slerp|lerp", help="along a great circle, or straight")]
Milliseconds = Annotated[int, typer.Option(min=10, help="of one frame")]


def interpolate(
    run: RunPath,
    samples: Annotated[list[int], typer.Argument(help="two or more samples, by number")],
    steps: Steps = 8,
    how: How = "slerp",
    seed: Seed = 0,
    truncation: Truncation = 1.0,
    milliseconds: Milliseconds = 60,
    out: Annotated[Path, typer.Option(help="a .png, .gif or .webp")] = Path("interpolation.png"),
) -> None:
    """Go from sample to sample: a row of the PNG for each leg, or a moving image."""
    from gantrain.inference.export import load_generator
    from gantrain.inference.interpolation import between
    from gantrain.inference.sampling import chosen_latents

    if len(samples) < 2:
        raise UserError("interpolate: one sample given; expected two or more, as in: RUN 3 7.")
    _check_out(out, (".png", ".gif", ".webp"))
    generator = load_generator(run)
    anchors = chosen_latents(generator, samples, seed, truncation=truncation)
    way = between(anchors, steps, _way(how))
    _write(generator, way, out, columns=steps + 1 if len(samples) == 2 else steps, ms=milliseconds)
    typer.echo(f"{len(way)} images from {' to '.join(map(str, samples))}: {out}")


def walk(
    run: RunPath,
    n: Annotated[int, typer.Option("--n", min=2, help="samples that the walk passes")] = 8,
    steps: Steps = 12,
    tiles: Annotated[int, typer.Option(min=1, max=16, help="walks a side, side by side")] = 1,
    how: How = "slerp",
    seed: Seed = 0,
    truncation: Truncation = 1.0,
    milliseconds: Milliseconds = 60,
    out: Annotated[Path, typer.Option(help="a .gif or .webp")] = Path("walk.webp"),
) -> None:
    """Walk through latent space and back to the start, as a moving image without an end."""
    import torch

    from gantrain.common.grids import tile
    from gantrain.inference.export import load_generator
    from gantrain.inference.interpolation import between, save_animation
    from gantrain.inference.sampling import generate_images, sample_latents

    _check_out(out, (".gif", ".webp"))
    generator = load_generator(run)
    ways = [
        between(
            sample_latents(generator, n, seed, first=i * n, truncation=truncation),
            steps,
            _way(how),
            closed=True,
        )
        for i in range(tiles**2)
    ]
    frames = [
        tile(generate_images(generator, latents), tiles, tiles)
        for latents in torch.stack(ways).unbind(1)
    ]
    save_animation(frames, out, milliseconds)
    typer.echo(f"{len(frames)} frames past {n} samples: {out}")


def arithmetic(
    run: RunPath,
    expression: Annotated[
        str | None, typer.Argument(help="a sum such as '3 - 7 + 12' or '3 + 2*part=3003'")
    ] = None,
    shards: Shards = None,
    seed: Seed = 0,
    out: Annotated[Path, typer.Option(help="the PNG to write")] = Path("arithmetic.png"),
) -> None:
    """Add and subtract samples and directions; without a sum, list the directions.

    The PNG shows the samples of the sum in their order, and at the end what it makes.
    """
    import torch

    from gantrain.common.grids import save_png, tile
    from gantrain.inference.directions import evaluate_expression, named, parse_expression
    from gantrain.inference.export import load_run
    from gantrain.inference.sampling import chosen_latents, generate_images

    generator, config = load_run(run)
    if expression is None:
        _list_directions(cached_directions(run, generator, config, shards))
        return
    _check_out(out, (".png",))
    names = [name for _, name in parse_expression(expression)]
    numbers = [int(name) for name in names if name.isdigit()]
    latents = chosen_latents(generator, numbers, seed)
    wanted = [name for name in names if not name.isdigit()]
    found = cached_directions(run, generator, config, shards) if wanted else []
    result = evaluate_expression(
        expression,
        dict(zip(numbers, latents, strict=True)),
        {name: named(found, name) for name in wanted},
    )
    images = generate_images(generator, torch.cat([latents, result[None]]))
    save_png(tile(images, 1, len(images)), out)
    typer.echo(f"{expression}: {out}")


def grid(
    run: RunPath,
    direction: Annotated[
        str | None, typer.Option(help="a direction; 'yaw' turns the brick once round")
    ] = None,
    corners: Annotated[
        str | None, typer.Option(help="four samples, as 3,7,12,20, to fill the square between")
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="samples, or rows of the square")] = 8,
    columns: Annotated[int, typer.Option(min=2, help="steps along the direction")] = 9,
    reach: Annotated[float, typer.Option(min=0, help="standard deviations to either side")] = 3.0,
    how: How = "slerp",
    shards: Shards = None,
    seed: Seed = 0,
    out: Annotated[Path, typer.Option(help="the PNG to write")] = Path("grid.png"),
) -> None:
    """Show what a direction does to many samples, or all that lies between four."""
    from gantrain.inference.export import load_run
    from gantrain.inference.interpolation import plane
    from gantrain.inference.sampling import chosen_latents

    _check_out(out, (".png",))
    if (direction is None) == (corners is None):
        raise UserError("grid: expected either --direction NAME or --corners 3,7,12,20.")
    generator, config = load_run(run)
    if corners is not None:
        numbers = _numbers(corners)
        if len(numbers) != 4:
            raise UserError(f"--corners: {corners} found; expected four samples, as in 3,7,12,20.")
        latents = plane(chosen_latents(generator, numbers, seed), rows, columns, _way(how))
    else:
        found = cached_directions(run, generator, config, shards)
        latents = _along(generator, found, str(direction), rows, columns, reach, seed)
    _write(generator, latents, out, columns=columns, ms=0)
    typer.echo(f"{rows} x {columns} images: {out}")


def project(
    run: RunPath,
    images: Annotated[list[Path], typer.Argument(help="image files")],
    steps: Annotated[int, typer.Option(min=1, help="of the search")] = 300,
    starts: Annotated[int, typer.Option(min=1, max=64, help="searches for each image")] = 4,
    seed: Seed = 0,
    out: Annotated[Path, typer.Option(help="the PNG to write")] = Path("projection.png"),
    latents: Annotated[
        Path | None, typer.Option(help="a .npy to keep the latents in, (N, latent_size)")
    ] = None,
) -> None:
    """Find the latents whose images are most like given ones.

    The PNG has the given images above and what the generator makes below.
    """
    import numpy as np
    import torch

    from gantrain.common.files import replacing
    from gantrain.common.grids import save_png, tile
    from gantrain.inference.export import load_run
    from gantrain.inference.projection import project as search
    from gantrain.inference.projection import read_images

    _check_out(out, (".png",))
    generator, config = load_run(run)
    targets = read_images(images, config.data.size, config.data.channels)
    found = search(generator, targets, steps=steps, starts=starts, seed=seed)
    save_png(tile(torch.cat([targets, found.images]), 2, len(targets)), out)
    if latents is not None:
        with replacing(latents) as temporary, temporary.open("wb") as file:
            np.save(file, found.latents.numpy())
    for path, error, start in zip(images, found.errors, found.random_errors, strict=True):
        typer.echo(f"{path}: off by {error:.2f} of 255 grey levels (best random: {start:.2f})")
    typer.echo(f"given above, made below: {out}")


def nearest(
    run: RunPath,
    samples: Annotated[
        list[int] | None, typer.Argument(help="samples, by number; without them, the first 8")
    ] = None,
    k: Annotated[int, typer.Option("--k", min=1, max=100, help="training images for each")] = 5,
    by: Annotated[str, typer.Option(metavar="pixels|features", help="what is compared")] = "pixels",
    shards: Shards = None,
    seed: Seed = 0,
    out: Annotated[Path, typer.Option(help="the PNG to write")] = Path("nearest.png"),
) -> None:
    """Show the training images nearest to samples: has the generator learnt them by heart?

    A row for each sample: the sample, then its nearest images, with their distances printed as
    mean absolute difference in grey levels, or as distance of features.
    """
    import torch

    from gantrain.common.grids import save_png, tile
    from gantrain.data.loading.labelled import open_labelled_dataset
    from gantrain.inference.export import load_run
    from gantrain.inference.sampling import chosen_latents, generate_images

    if by not in ("pixels", "features"):
        raise UserError(f"--by: {by!r} found; expected pixels or features.")
    _check_out(out, (".png",))
    generator, config = load_run(run)
    config = _data(config, shards)
    labelled = open_labelled_dataset(config.data)
    numbers = samples or list(range(8))
    made = generate_images(generator, chosen_latents(generator, numbers, seed))
    found = _search(made, labelled, config, k, by)
    near = labelled.images[torch.from_numpy(found.rows.flatten())].float() / 127.5 - 1
    rows = [
        torch.cat([one[None], of_one])
        for one, of_one in zip(made, torch.split(near, found.rows.shape[1]), strict=True)
    ]
    save_png(tile(torch.cat(rows), len(rows), found.rows.shape[1] + 1), out)
    for number, row, distances in zip(numbers, found.rows, found.distances, strict=True):
        listed = ", ".join(
            f"{labelled.key(r)} {d:.2f}" for r, d in zip(row, distances, strict=True)
        )
        typer.echo(f"sample {number}: {listed}")
    typer.echo(f"{len(labelled.rows):,} training images searched: {out}")


def _search(
    made: "Tensor", labelled: "LabelledDataset", config: "Config", count: int, by: str
) -> "Nearest":
    import torch

    from gantrain.common.grids import to_bytes
    from gantrain.inference.nearest import Nearest, PixelSearch, nearest_by_features

    queries = to_bytes(made).transpose(0, 3, 1, 2).copy()
    images = labelled.images
    if len(labelled.rows) < len(images):
        images = images[torch.from_numpy(labelled.rows)]
    if by == "pixels":
        found = PixelSearch(images.numpy()).find(queries, count)
    else:
        from gantrain.metrics.features import open_features

        features = open_features(
            config.metrics.features, config.data, labelled.cache, torch.device("cpu")
        )
        typer.echo(f"compared by {features.notice}")
        found = nearest_by_features(images, torch.from_numpy(queries), features.describe, count)
    return Nearest(labelled.rows[found.rows], found.distances)


def _along(
    generator: "Generator",
    found: "list[Direction]",
    name: str,
    rows: int,
    columns: int,
    reach: float,
    seed: int,
) -> "Tensor":
    import torch

    from gantrain.inference.directions import named, turned
    from gantrain.inference.sampling import sample_latents

    starts = sample_latents(generator, rows, seed)
    _warn_of_weak(found, name)
    if any(direction.name == f"{name}.cos" for direction in found):
        cosine, sine = named(found, f"{name}.cos"), named(found, f"{name}.sin")
        steps = [turned(starts, 360 * i / columns, cosine, sine) for i in range(columns)]
    else:
        vector = named(found, name).vector
        steps = [starts + float(s) * vector for s in torch.linspace(-reach, reach, columns)]
    return torch.stack(steps, 1).flatten(0, 1)


def _warn_of_weak(found: "list[Direction]", name: str) -> None:
    for direction in found:
        if direction.name in (name, f"{name}.cos", f"{name}.sin") and direction.weak:
            typer.echo(f"{direction.name}: hardly shows in the latents ({direction.score:.2f})")


def cached_directions(
    run: Path, generator: "Generator", config: "Config", shards: str | None
) -> "list[Direction]":
    """Directions of a run, looked for once and kept beside its generator."""
    from gantrain.data.loading.labelled import open_labelled_dataset
    from gantrain.inference.directions import (
        DIRECTIONS,
        find_directions,
        load_directions,
        save_directions,
    )

    data = _data(config, shards).data
    path = (run if run.is_dir() else run.parent) / DIRECTIONS
    digest = hashlib.sha256(f"{data.shards} {data.classes}".encode())
    for tensor in generator.state_dict().values():
        digest.update(tensor.numpy().tobytes())
    made_with = digest.hexdigest()
    found = load_directions(path, made_with)
    if found is None:
        typer.echo("looking for directions, once")
        found = find_directions(generator, open_labelled_dataset(data))
        try:
            save_directions(found, path, made_with)
        except OSError as error:
            typer.echo(f"the directions are not kept ({error})")
    return found


def _list_directions(found: "list[Direction]") -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("direction", "how sure", ""):
        table.add_column(column, justify="right" if column == "how sure" else "left")
    for direction in found:
        unit = "AUC; 0.5 is chance" if direction.kind == "is" else "R2; 0 is chance"
        table.add_row(direction.name, f"{direction.score:.2f}", unit)
    Console().print(table)


def _data(config: "Config", shards: str | None) -> "Config":
    if shards is None:
        return config
    from gantrain.config import parse_config

    tree = config.model_dump(mode="json")
    tree["data"]["shards"] = shards
    return parse_config(tree, "--shards")


def _write(generator: "Generator", latents: "Tensor", out: Path, *, columns: int, ms: int) -> None:
    from gantrain.common.grids import save_png, tile
    from gantrain.inference.interpolation import save_animation
    from gantrain.inference.sampling import generate_images

    images = generate_images(generator, latents)
    if out.suffix.lower() == ".png":
        save_png(tile(images, -(-len(images) // columns), columns), out)
    else:
        save_animation([tile(one[None], 1, 1) for one in images], out, ms)


def _way(text: str) -> Literal["slerp", "lerp"]:
    if text == "slerp":
        return "slerp"
    if text == "lerp":
        return "lerp"
    raise UserError(f"--how: {text!r} found; expected slerp or lerp.")


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"{text!r}: expected numbers with commas, as in 3,7,12,20.") from None


def _check_out(out: Path, suffixes: tuple[str, ...]) -> None:
    if out.suffix.lower() not in suffixes:
        raise UserError(f"--out: {out} found; expected a name that ends in {', '.join(suffixes)}.")
