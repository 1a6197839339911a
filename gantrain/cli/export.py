"""Commands that use a generator outside this project's trainer: export, play."""

from pathlib import Path
from typing import Annotated

import typer

from gantrain.cli.options import (
    At,
    Best,
    RunPath,
    Seed,
    Shards,
    check_writable,
    require_suffix,
    select_data,
)
from gantrain.common.errors import UserError


def export(
    run: RunPath,
    at: At = None,
    best: Best = False,
    out: Annotated[Path, typer.Option(help=".onnx file to write.")] = Path("generator.onnx"),
) -> None:
    """Export a run's EMA generator to ONNX and verify it against PyTorch.

    A run also exports generators itself, as generator.safetensors at its end and
    generator-best.safetensors whenever one is measured to be the best so far.
    """
    from gantrain.inference.export import open_generator
    from gantrain.inference.onnx import export_onnx, verify_onnx

    require_suffix(out, ".onnx")
    loaded = open_generator(run, at=at, best=best)
    generator = loaded.generator
    export_onnx(generator, out)
    difference = verify_onnx(generator, out)
    result = "not verified: onnxruntime is not installed"
    if difference is not None:
        result = f"differs from PyTorch by at most {difference:.1g}"
    typer.echo(f"latents (N, {generator.latent_size}) to images of {loaded.name}: {out} ({result})")


def play(
    run: RunPath,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port. 0: any free one.")] = 0,
    folder: Annotated[
        Path | None,
        typer.Option("--export", help="Write a page that needs no server into this folder."),
    ] = None,
    at: At = None,
    best: Best = False,
    shards: Shards = None,
    seed: Seed = 0,
) -> None:
    """Explore latent space with sliders, in a browser on this machine."""
    from gantrain.inference.direction_file import open_directions
    from gantrain.inference.export import open_generator
    from gantrain.report.playground import PlayServer, export_playground, page_data

    if folder is not None:
        check_writable(folder, "--export", folder=True)
    loaded = open_generator(run, at=at, best=best)
    generator = loaded.generator
    try:
        directions = open_directions(loaded.folder, generator, select_data(loaded, shards))
    except UserError as error:
        typer.echo(f"no sliders for directions: {error}")
        directions = []
    data = page_data(loaded.name, generator, directions, seed)
    if folder is not None:
        path = export_playground(generator, data, folder)
        typer.echo(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")
        return
    try:
        server = PlayServer(generator, data, port)
    except OSError as error:
        raise UserError(f"--port: {port} is not available ({error.strerror}); try 0.") from None
    with server:
        typer.echo(f"{server.url}  (stop with Ctrl-C)")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            typer.echo("")
