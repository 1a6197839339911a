"""Commands that use a generator outside this project's trainer: export, play."""

from pathlib import Path
from typing import Annotated

import typer

from gantrain.cli.options import (
    At,
    Best,
    Classes,
    RunPath,
    Seed,
    Shards,
    check_writable,
    class_keys,
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

    The file of a conditional generator has a second input, `classes`: a weight for each class,
    whose keys are printed, and in the file's metadata.

    A run also exports generators itself, as generator.safetensors at its end and
    generator-best.safetensors whenever one is measured to be the best so far.
    """
    from gantrain.inference.classes import list_classes
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
    inputs = f"latents (N, {generator.latent_size})"
    if known := len(generator.conditioning.class_counts):
        typer.echo(f"classes in the order of their weights: {list_classes(generator)}")
        inputs += f" and classes (N, {known})"
    typer.echo(f"{inputs} to images of {loaded.name}: {out} ({result})")


def play(
    run: RunPath,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port. 0: any free one.")] = 0,
    folder: Annotated[
        Path | None,
        typer.Option("--export", help="Write a page that needs no server into this folder."),
    ] = None,
    at: At = None,
    best: Best = False,
    classes: Classes = None,
    shards: Shards = None,
    seed: Seed = 0,
) -> None:
    """Explore latent space with sliders, in a browser on this machine.

    The page of a conditional generator has a menu of classes; --class is the one that it starts
    with.
    """
    from gantrain.inference.direction_file import open_directions
    from gantrain.inference.export import open_generator
    from gantrain.report.playground import PlayServer, export_playground, page_data

    if folder is not None:
        check_writable(folder, "--export", folder=True)
    loaded = open_generator(run, at=at, best=best)
    generator = loaded.generator
    keys = class_keys(loaded, classes)
    if keys is not None and len(keys) > 1:
        raise UserError(f"--class: {len(keys)} classes; expected one, which the page starts with.")
    try:
        directions = open_directions(loaded.folder, generator, select_data(loaded, shards))
    except UserError as error:
        typer.echo(f"no sliders for directions: {error}")
        directions = []
    start = 0 if keys is None else generator.conditioning.class_names.index(keys[0])
    data = page_data(
        loaded.name, generator, directions, seed, start_class=start, part_names=_part_names()
    )
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


def _part_names() -> dict[str, str]:
    """Return the names of LEGO parts by number; empty without the packages that draw them."""
    try:
        from gantrain.data.bricks.parts import PARTS
    except ImportError:
        return {}
    return {part.number: part.name for part in PARTS}
