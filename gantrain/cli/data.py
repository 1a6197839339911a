"""The commands under `gantrain data`: make sets of shards, check them, look at them."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from gantrain.cli.evaluate import learn
from gantrain.common.errors import UserError
from gantrain.data.importing.convert import Fit
from gantrain.data.shards.manifest import Manifest, read_manifest
from gantrain.data.shards.samples import Sample

data_app = typer.Typer(
    help="Make, check and look at sets of shards.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Target = Annotated[Path, typer.Argument(help="Folder to write; must be new or empty.")]
SetFolder = Annotated[Path, typer.Argument(help="Folder that holds a set of shards.")]
Size = Annotated[int, typer.Option(min=1, max=4096, help="Width and height in pixels.")]
Channels = Annotated[int, typer.Option(min=1, max=3, help="1 for grey, 3 for RGB.")]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Processes; without it, one for each usable core.")
]
PerShard = Annotated[int, typer.Option(min=1, help="Images in one tar.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace the set of shards at the target.")
]

_MOST_LINES = 50  # of problems, before the rest is only counted


@data_app.command()
def render(
    target: Target,
    size: Size = 64,
    channels: Channels = 1,
    parts: Annotated[
        list[str] | None,
        typer.Option(help="Part numbers, apart by commas or repeated; without it, all."),
    ] = None,
    views: Annotated[
        int, typer.Option(min=1, help="Views of each part, each by two cameras.")
    ] = 400,
    seed: Annotated[int, typer.Option(help="Of the order and the first angles.")] = 0,
    tip: Annotated[
        float, typer.Option(min=0, max=180, help="Degrees that each part tips over; 0: upright.")
    ] = 120.0,
    workers: Workers = None,
    images_per_shard: PerShard = 1000,
    overwrite: Overwrite = False,
) -> None:
    """Render LEGO bricks into a set of shards."""
    from gantrain.common.pools import usable_cores
    from gantrain.data.bricks.render import render_samples, sample_count
    from gantrain.data.shards.writer import write_shards

    chosen = _split_parts(parts)
    start = time.monotonic()
    with _progress("Rendering", sample_count(chosen, views)) as tell:
        samples = render_samples(
            size=size,
            channels=channels,
            parts=chosen,
            views=views,
            seed=seed,
            tip=tip,
            workers=workers or usable_cores(),
        )
        manifest = write_shards(
            target,
            _told(samples, tell),
            size=size,
            channels=channels,
            source=f"rendered bricks (views {views}, seed {seed}, tip {tip:g})",
            images_per_shard=images_per_shard,
            overwrite=overwrite,
        )
    _print_summary(target, manifest, time.monotonic() - start)


@data_app.command(name="import")
def import_(
    folder: Annotated[
        Path, typer.Argument(help="Folder of images: flat, one folder a class, or Kaggle's.")
    ],
    target: Target,
    size: Size = 64,
    channels: Channels = 1,
    background: Annotated[
        str, typer.Option(help="Colour under transparent pixels and beside padded ones.")
    ] = "black",
    fit: Annotated[
        Fit, typer.Option(help="How an image becomes square: cut, padded or stretched.")
    ] = "crop",
    validation_list: Annotated[
        Path | None,
        typer.Option(help="Names the validation images; without it, validation.txt if there."),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first image that cannot be read.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the order in which images are written.")] = 0,
    workers: Workers = None,
    images_per_shard: PerShard = 1000,
    overwrite: Overwrite = False,
) -> None:
    """Import a folder of image files as a set of shards."""
    from gantrain.data.importing.folders import import_folder

    start = time.monotonic()
    with _progress("Importing") as tell:
        report = import_folder(
            folder,
            target,
            size=size,
            channels=channels,
            background=background,
            fit=fit,
            images_per_shard=images_per_shard,
            on_error="fail" if strict else "report",
            workers=workers,
            validation_list=validation_list,
            seed=seed,
            overwrite=overwrite,
            on_progress=tell,
        )
    _print_summary(target, report.manifest, time.monotonic() - start)
    console = Console()
    if report.validation_list is not None:
        chosen = report.manifest.splits["validation"]
        _print(console, f"{chosen} for validation, named by {report.validation_list}")
    if report.ignored:
        kinds = ", ".join(f"{n} {suffix or 'no suffix'}" for suffix, n in report.ignored.items())
        _print(console, f"{sum(report.ignored.values())} other files ignored ({kinds})")
    _print_rows(
        console,
        f"{len(report.unreadable)} could not be read and were left out",
        ("file", "reason"),
        report.unreadable,
    )
    _print_rows(
        console,
        f"{len(report.validation_missing)} on the validation list name no image",
        ("line",),
        [(line,) for line in report.validation_missing],
    )


@data_app.command()
def verify(folder: SetFolder, workers: Workers = None) -> None:
    """Read a whole set: lengths, hashes, counts, and every image. Status 1 if it is broken."""
    from gantrain.data.shards.manifest import load_manifest
    from gantrain.data.shards.verify import verify_shards

    done = 0
    with _progress("Verifying", load_manifest(folder).count) as tell:

        def tell_shard(count: int) -> None:
            nonlocal done
            done += count
            tell(done, None)

        report = verify_shards(folder, workers=workers, on_shard=tell_shard)
    console = Console()
    if report.ok:
        _print(console, f"OK: {report.images} images in {len(report.manifest.shards)} shards")
        return
    for problem in report.problems[:_MOST_LINES]:
        _print(console, problem)
    if len(report.problems) > _MOST_LINES:
        _print(console, f"... and {len(report.problems) - _MOST_LINES} more")
    _print(console, f"Broken, problems found: {len(report.problems)}. Write the set again.")
    raise typer.Exit(1)


@data_app.command()
def show(
    folder: SetFolder,
    grid: Annotated[
        Path | None, typer.Option(help="Also tile images of all classes into this file.")
    ] = None,
) -> None:
    """Print what a set of shards holds."""
    manifest = read_manifest(folder)
    console = Console()
    _print(console, f"{folder}:")
    table = Table(show_header=False)
    kind = "grey" if manifest.channels == 1 else "RGB"
    for name, value in (
        ("images", f"{manifest.count} of {manifest.size}x{manifest.size}, {kind}"),
        ("splits", ", ".join(f"{split} {n}" for split, n in manifest.splits.items())),
        ("shards", f"{len(manifest.shards)}, {_megabytes(manifest)}"),
        ("source", manifest.source),
        ("identity", manifest.identity),
    ):
        table.add_row(name, escape(value))
    console.print(table)
    _print_rows(
        console,
        f"{len(manifest.classes)} classes",
        ("part", "name", "images"),
        [(part, each.name, str(each.count)) for part, each in manifest.classes.items()],
        most=None,
    )
    if grid is not None:
        from gantrain.data.shards.contact_sheet import save_contact_sheet

        count = save_contact_sheet(folder, manifest, grid)
        _print(console, f"{count} images in {grid}")


data_app.command("features")(learn)


def _split_parts(parts: list[str] | None) -> list[str] | None:
    if parts is None:
        return None
    chosen = [part.strip() for group in parts for part in group.split(",") if part.strip()]
    if not chosen:
        raise UserError(f"parts is {','.join(parts)!r}; expected part numbers such as 3001,3003.")
    return list(dict.fromkeys(chosen))


@contextmanager
def _progress(verb: str, total: int | None = None) -> Iterator[Callable[[int, int | None], None]]:
    """Show a bar on stderr while the block runs; yields a function of (done, total or None)."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(verb, total=total)

        def tell(done: int, new_total: int | None) -> None:
            progress.update(task, completed=done, total=new_total or total)

        yield tell


def _told(samples: Iterable[Sample], tell: Callable[[int, int | None], None]) -> Iterator[Sample]:
    for done, sample in enumerate(samples, start=1):
        yield sample
        tell(done, None)


def _megabytes(manifest: Manifest) -> str:
    return f"{manifest.bytes / 1e6:.1f} MB"


def _print(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _print_summary(target: Path, manifest: Manifest, seconds: float) -> None:
    _print(
        Console(),
        f"{manifest.count} images of {manifest.size}x{manifest.size} in "
        f"{len(manifest.shards)} shards ({_megabytes(manifest)}), {seconds:.1f} s "
        f"({manifest.count / max(seconds, 1e-9):.0f} images/s): {target}",
    )


def _print_rows(
    console: Console,
    title: str,
    columns: tuple[str, ...],
    rows: Iterable[tuple[str, ...]],
    *,
    most: int | None = _MOST_LINES,
) -> None:
    rows = list(rows)
    if not rows:
        return
    _print(console, f"{title}:")  # a table's own title wraps at the table's width
    table = Table()
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows[:most]:
        table.add_row(*map(escape, row))
    if most is not None and len(rows) > most:
        table.add_row(f"... and {len(rows) - most} more")
    console.print(table)
