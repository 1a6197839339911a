"""The commands that write pages."""

from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[Path, typer.Argument(help="a run directory")],
    out: Annotated[
        Path | None, typer.Option(help="the HTML to write; without it, RUN/report.html")
    ] = None,
) -> None:
    """Write one page about a run: samples, curves, events, config. It opens without a network."""
    from gantrain.report.run_page import write_run_page

    path = write_run_page(run, out)
    typer.echo(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")
