"""Commands that use directions in latent space: arithmetic, grid."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gantrain.cli.options import (
    At,
    Best,
    Classes,
    Method,
    RunPath,
    Seed,
    Shards,
    class_keys,
    class_keys_or_first,
    of_classes,
    one_class_or_first,
    require_suffix,
    select_data,
)
from gantrain.cli.printing import show_progress
from gantrain.common.errors import UserError
from gantrain.common.text import printable

if TYPE_CHECKING:
    from torch import Tensor

    from gantrain.inference.directions import Direction
    from gantrain.inference.export import Loaded
    from gantrain.models.networks import Generator


def arithmetic(
    run: RunPath,
    expression: Annotated[
        str | None, typer.Argument(help="A sum, such as '3 - 7 + 12' or '3 + 2*part=3003'.")
    ] = None,
    classes: Classes = None,
    shards: Shards = None,
    at: At = None,
    best: Best = False,
    seed: Seed = 0,
    out: Annotated[Path, typer.Option(help="PNG file to write.")] = Path("arithmetic.png"),
) -> None:
    """Add and subtract samples and directions; without a sum, list the directions.

    The PNG shows the samples in the order of the sum, followed by the result, all of one class if
    the generator is conditional: that of --class, or the first. The directions are those of all
    classes.
    """
    import torch

    from gantrain.common.grids import save_png, tile
    from gantrain.inference.arithmetic import evaluate_expression, parse_expression
    from gantrain.inference.classes import one_hot_classes
    from gantrain.inference.directions import get_direction
    from gantrain.inference.export import open_generator
    from gantrain.inference.sampling import generate_images, select_latents

    loaded = open_generator(run, at=at, best=best)
    generator = loaded.generator
    if expression is None:
        class_keys(loaded, classes)  # which may be unknown
        _print_directions(_open_directions(loaded, shards))
        return
    require_suffix(out, ".png")
    keys = one_class_or_first(loaded, classes)
    names = [name for _, name in parse_expression(expression)]
    numbers = [int(name) for name in names if name.isdigit()]
    latents = select_latents(generator, numbers, seed)
    directions: list[Direction] = []
    if len(numbers) < len(names):
        directions = _open_directions(loaded, shards)
    result = evaluate_expression(
        expression,
        dict(zip(numbers, latents, strict=True)),
        {name: get_direction(directions, name) for name in names if not name.isdigit()},
    )
    latents = torch.cat([latents, result[None]])
    images = generate_images(generator, latents, one_hot_classes(generator, keys))
    save_png(tile(images, 1, len(images)), out)
    typer.echo(f"{expression}{of_classes(keys)} of {loaded.name}: {out}")


def grid(
    run: RunPath,
    direction: Annotated[
        str | None,
        typer.Option(help="Move samples along this direction; 'yaw' makes a full turn."),
    ] = None,
    corners: Annotated[
        str | None, typer.Option(help="Interpolate between four samples, such as 3,7,12,20.")
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="Rows; with --direction, one per sample.")] = 8,
    columns: Annotated[int, typer.Option(min=2, help="Columns: steps along the direction.")] = 9,
    extent: Annotated[
        float, typer.Option("--reach", min=0, help="Standard deviations to either side.")
    ] = 3.0,
    method: Method = "slerp",
    classes: Classes = None,
    shards: Shards = None,
    at: At = None,
    best: Best = False,
    seed: Seed = 0,
    out: Annotated[Path, typer.Option(help="PNG file to write.")] = Path("grid.png"),
) -> None:
    """Show the effect of a direction on several samples, or interpolate between four samples.

    --class of a conditional generator: one for all images (default: the first); several, which the
    rows of --direction have in turn; or four, one for each corner.
    """
    from gantrain.common.grids import save_png, tile
    from gantrain.inference.classes import one_hot_classes
    from gantrain.inference.export import open_generator
    from gantrain.inference.interpolation import interpolate_grid
    from gantrain.inference.sampling import generate_images, select_latents

    require_suffix(out, ".png")
    if (direction is None) == (corners is None):
        raise UserError("grid: expected either --direction NAME or --corners 3,7,12,20.")
    loaded = open_generator(run, at=at, best=best)
    generator = loaded.generator
    keys = class_keys_or_first(loaded, classes)
    if direction is None:
        numbers = _parse_corners(str(corners))
        if len(keys) not in (0, 1, 4):
            raise UserError(f"--class: {len(keys)} classes for four corners; expected one or four.")
        anchors = select_latents(generator, numbers, seed)
        latents = interpolate_grid(anchors, rows, columns, method)
        weights = one_hot_classes(generator, keys)
        if weights is not None:
            weights = interpolate_grid(weights.expand(4, -1), rows, columns, "lerp")
    else:
        directions = _open_directions(loaded, shards)
        latents = _traverse(generator, directions, direction, rows, columns, extent, seed)
        in_turn = [keys[i % len(keys)] for i in range(rows)] if keys else []
        weights = one_hot_classes(generator, in_turn)
        if weights is not None:
            weights = weights.repeat_interleave(columns, 0)
    save_png(tile(generate_images(generator, latents, weights), rows, columns), out)
    typer.echo(f"{rows} x {columns} images{of_classes(keys)} of {loaded.name}: {out}")


def _open_directions(loaded: "Loaded", shards: str | None) -> "list[Direction]":
    from gantrain.inference.direction_file import open_directions

    data = select_data(loaded, shards)
    with show_progress("Generating") as advance:
        return open_directions(loaded.folder, loaded.generator, data, advance=advance)


def _traverse(
    generator: "Generator",
    directions: "Sequence[Direction]",
    name: str,
    rows: int,
    columns: int,
    extent: float,
    seed: int,
) -> "Tensor":
    from gantrain.inference.directions import traverse
    from gantrain.inference.sampling import sample_latents

    for direction in directions:
        if direction.name in (name, f"{name}.cos", f"{name}.sin") and direction.weak:
            typer.echo(f"{direction.name}: weak direction (score {direction.score:.2f})")
    return traverse(sample_latents(generator, rows, seed), directions, name, columns, extent)


def _print_directions(directions: "Sequence[Direction]") -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("direction")
    table.add_column("score", justify="right")
    table.add_column("")
    for direction in directions:
        unit = "AUC; 0.5 is chance" if direction.kind == "is" else "R2; 0 is chance"
        table.add_row(Text(printable(direction.name)), f"{direction.score:.2f}", unit)
    Console().print(table)


def _parse_corners(text: str) -> list[int]:
    try:
        numbers = [int(number) for number in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != 4:
        raise UserError(f"--corners is {text!r}; expected four samples, such as 3,7,12,20.")
    return numbers
