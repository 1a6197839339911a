"""The `gantrain` command."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from gantrain.cli import export as export_commands
from gantrain.cli import latents as latent_commands
from gantrain.cli import report as report_commands
from gantrain.cli.data import data_app
from gantrain.cli.evaluate import evaluate
from gantrain.common.errors import UserError
from gantrain.common.logs import configure_logging
from gantrain.report import watch

app = typer.Typer(
    help="Train GANs on a cluster, and tell the truth about them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(data_app, name="data")

RunPath = Annotated[
    Path, typer.Argument(help="a run directory, or an exported generator.safetensors")
]


@app.command()
def sample(
    run: RunPath,
    n: Annotated[int, typer.Option("--n", min=1, help="how many images")] = 64,
    seed: Annotated[int, typer.Option(min=0, help="of the latents")] = 0,
    out: Annotated[Path, typer.Option(help="the PNG to write")] = Path("samples.png"),
    truncation: latent_commands.Truncation = 1.0,
) -> None:
    """Draw images from a run's EMA generator, tiled into one PNG."""
    from gantrain.common.grids import save_png, tile_square
    from gantrain.inference.export import (
        load_generator,  # torch takes a second that --help need not wait
    )
    from gantrain.inference.sampling import sample_images

    if out.suffix.lower() != ".png":
        raise UserError(f"--out: {out} found; expected a name that ends in .png.")
    images = sample_images(load_generator(run), n, seed, truncation=truncation)
    save_png(tile_square(images), out)
    typer.echo(f"{n} images: {out}")


for command in (
    latent_commands.interpolate,
    latent_commands.walk,
    latent_commands.arithmetic,
    latent_commands.grid,
    latent_commands.project,
    latent_commands.nearest,
    report_commands.report,
    export_commands.export,
    export_commands.play,
    watch.watch,
):
    app.command()(command)


app.command()(evaluate)


@app.command()
def schema() -> None:
    """Print the JSON schema of config files, for editors."""
    import json

    from gantrain.config import Config

    typer.echo(json.dumps(Config.model_json_schema(), indent=2))


def main() -> None:
    """Run the command; a user's mistake is one line on stderr and exit status 2."""
    configure_logging()
    try:
        app()
    except UserError as error:
        print(f"gantrain: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
