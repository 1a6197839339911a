"""The commands that carry the generator elsewhere: export and play."""

from pathlib import Path
from typing import Annotated

import typer

from gantrain.cli import latents as latent_commands
from gantrain.common.errors import UserError


def export(
    run: latent_commands.RunPath,
    out: Annotated[Path, typer.Option(help="the .onnx to write")] = Path("generator.onnx"),
) -> None:
    """Write a run's EMA generator as ONNX, checked against PyTorch.

    The run directory holds it as generator.safetensors too, once the run is over.
    """
    from gantrain.inference.export import load_generator
    from gantrain.inference.onnx import check_onnx, export_onnx

    if out.suffix.lower() != ".onnx":
        raise UserError(f"--out: {out} found; expected a name that ends in .onnx.")
    generator = load_generator(run)
    export_onnx(generator, out)
    off = check_onnx(generator, out)
    checked = "not checked: onnxruntime is not installed"
    if off is not None:
        checked = f"agrees with PyTorch to {off:.1g}"
    typer.echo(f"latents (N, {generator.latent_size}) to images: {out} ({checked})")


def play(
    run: latent_commands.RunPath,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one")] = 0,
    export_to: Annotated[
        Path | None,
        typer.Option("--export", help="write a page that needs no server into this folder"),
    ] = None,
    shards: latent_commands.Shards = None,
    seed: latent_commands.Seed = 0,
) -> None:
    """Move through latent space with sliders, in a browser on this machine."""
    from gantrain.inference.export import load_run
    from gantrain.report.playground import PlayServer, export_playground, play_data

    generator, config = load_run(run)
    try:
        directions = latent_commands.cached_directions(run, generator, config, shards)
    except UserError as error:
        typer.echo(f"without directions: {error}")
        directions = []
    name = run.resolve().name if run.is_dir() else run.stem
    data = play_data(name, generator, directions, seed)
    if export_to is not None:
        path = export_playground(generator, data, export_to)
        typer.echo(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")
        return
    try:
        server = PlayServer(generator, data, port)
    except OSError as error:
        raise UserError(f"--port: {port} cannot be had ({error.strerror}); try 0.") from None
    with server:
        typer.echo(f"{server.url}  (Ctrl-C ends it)")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            typer.echo("")
