"""The `gantrain` command."""

import json
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from gantrain import __version__
from gantrain.cli.config_keys import config
from gantrain.cli.data import data_app
from gantrain.cli.directions import arithmetic, grid
from gantrain.cli.evaluate import evaluate
from gantrain.cli.export import export, play
from gantrain.cli.health import health
from gantrain.cli.init import init
from gantrain.cli.report import report, watch, workspace
from gantrain.cli.sampling import interpolate, sample, walk
from gantrain.cli.show import show
from gantrain.cli.similarity import nearest, project
from gantrain.cli.training import train
from gantrain.common.logs import configure_logging
from gantrain.common.program import expand_home
from gantrain.common.stopping import run_command
from launch.__main__ import app as launch_app

DEBUG = "--debug"

app = typer.Typer(
    help="Train GANs on a cluster and measure the results.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(rich_help_panel="Train")(train)
app.command(rich_help_panel="Train")(init)
app.command(rich_help_panel="Train")(config)
app.add_typer(launch_app, name="launch", rich_help_panel="Train")
app.add_typer(data_app, name="data", rich_help_panel="Data")
for panel, commands in {
    "Judge": (evaluate, health, nearest, report, watch, workspace),
    "Look": (show, sample, interpolate, walk, arithmetic, grid, project, play, export),
}.items():
    for command in commands:
        app.command(rich_help_panel=panel)(command)


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"gantrain {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
    debug: Annotated[
        bool, typer.Option(DEBUG, help="Also print the traceback of a user's mistake.")
    ] = False,
) -> None:
    """Options of the command itself: --version acts in its callback, --debug in `main`."""


@app.command(rich_help_panel="Train")
def schema() -> None:
    """Print the JSON schema of config files, for editors."""
    from gantrain.config import Config

    typer.echo(json.dumps(Config.model_json_schema(), indent=2))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line. What the user can fix, and a signal, are one line on stderr."""
    configure_logging()
    words = [expand_home(word) for word in (sys.argv[1:] if arguments is None else arguments)]
    others = [word for word in words if word != DEBUG]  # it may also follow the command
    sys.exit(run_command("gantrain", lambda: app(others), debug=DEBUG in words))


if __name__ == "__main__":
    main()
