"""The `gantrain data` commands: create, verify and inspect sets of shards."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gantrain.cli.evaluate import train_features
from gantrain.cli.indexing import index
from gantrain.cli.making import Workers, import_, render
from gantrain.cli.options import check_writable
from gantrain.cli.printing import (
    MAX_LINES,
    print_line,
    print_lines,
    print_rows,
    show_progress,
)
from gantrain.common.text import counted, printable
from gantrain.data.shards.manifest import Manifest, read_manifest

data_app = typer.Typer(
    help="Create, verify and inspect sets of shards.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
data_app.command()(render)
data_app.command("import")(import_)
data_app.command()(index)

SetFolder = Annotated[Path, typer.Argument(help="Folder with a set of shards.")]


@data_app.command()
def verify(folder: SetFolder, workers: Workers = None) -> None:
    """Verify a set: lengths, hashes, counts, and every image. Exits with 1 if it is damaged.

    Also reports images that equal another one, within and across the splits.
    """
    from gantrain.data.shards.verify import verify_shards

    with show_progress("Verifying") as advance:
        report = verify_shards(folder, workers=workers, on_progress=advance)
    console = Console()
    if report.ok:
        shards = counted(len(report.manifest.shards), "shard")
        found = f"{counted(report.images, 'image')} in {shards}"
        print_line(console, f"OK: {found}")
        print_lines(console, report.duplicates.describe())
        return
    for problem in report.problems[:MAX_LINES]:
        print_line(console, problem)
    if len(report.problems) > MAX_LINES:
        print_line(console, f"... and {len(report.problems) - MAX_LINES} more")
    print_line(console, f"{counted(len(report.problems), 'problem')}. {report.manifest.repair}.")
    raise typer.Exit(1)


@data_app.command()
def show(
    folder: SetFolder,
    grid: Annotated[
        Path | None, typer.Option(help="Also save a contact sheet of all classes to this file.")
    ] = None,
) -> None:
    """Print a summary of a set of shards."""
    if grid is not None:
        check_writable(grid, "--grid")
    manifest = read_manifest(folder)
    console = Console()
    print_line(console, f"{folder}:")
    table = Table(show_header=False)
    kind = "grey" if manifest.channels == 1 else "RGB"
    for name, value in (
        ("images", f"{manifest.count} of {manifest.size}x{manifest.size}, {kind}"),
        *([("distinct", str(manifest.distinct))] if manifest.distinct is not None else []),
        ("splits", ", ".join(f"{split} {n}" for split, n in manifest.splits.items())),
        ("shards", f"{len(manifest.shards)}, {manifest.bytes / 1e6:.1f} MB"),
        *([("tars", _describe_conversion(manifest))] if manifest.indexed else []),
        ("source", manifest.source),
        ("identity", manifest.identity),
    ):
        table.add_row(name, escape(printable(value)))
    console.print(table)
    print_rows(
        console,
        counted(len(manifest.classes), "class", "classes"),
        ("class", "name", "images"),
        [(key, each.name, str(each.count)) for key, each in manifest.classes.items()],
        limit=None,
    )
    if grid is not None:
        from gantrain.data.shards.contact_sheet import save_contact_sheet

        count = save_contact_sheet(folder, manifest, grid)
        print_line(console, f"{counted(count, 'image')} in {grid}")


def _describe_conversion(manifest: Manifest) -> str:
    target = manifest.target
    background = "#{:02x}{:02x}{:02x}".format(*target.background)
    return f"other tools', converted when decoded (fit {target.fit}, background {background})"


data_app.command("features")(train_features)
