"""Options that several commands share, and their validation."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gantrain.common.errors import UserError
from gantrain.common.files import unwritable_reason
from gantrain.data.importing.convert import Fit

if TYPE_CHECKING:
    from gantrain.config import Config, DataConfig

RunPath = Annotated[
    Path,
    typer.Argument(help="Run directory, a checkpoint in it, or an exported .safetensors file."),
]
At = Annotated[
    float | None,
    typer.Option(min=0, metavar="KIMG", help="Use the run's checkpoint at this many kimg."),
]
Best = Annotated[
    bool, typer.Option("--best", help="Use the run's generator that was measured best.")
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the samples.")]
Truncation = Annotated[
    float,
    typer.Option(min=0, help="Scale of the latents. Below 1: more typical, less diverse images."),
]
Shards = Annotated[
    str | None, typer.Option(help="Data set. Default: the one that the run was trained on.")
]
Method = Annotated[
    Literal["slerp", "lerp"],
    typer.Option("--how", help="Interpolate along great circles (slerp) or straight lines (lerp)."),
]
# How image files are read.
Background = Annotated[
    str, typer.Option(help="Colour behind transparent pixels and in the padding.")
]
FitOption = Annotated[Fit, typer.Option("--fit", help="How to make an image square.")]
MaxMegapixels = Annotated[
    float, typer.Option(min=0.001, help="Larger images are not read. A safeguard for the memory.")
]


def require_suffix(out: Path, *suffixes: str) -> None:
    """Raise UserError unless the name of an output file ends in one of these suffixes, and a file
    can be written there: better now than after the work."""
    if out.suffix.lower() not in suffixes:
        raise UserError(f"--out is {str(out)!r}; expected a name ending in {', '.join(suffixes)}.")
    check_writable(out, "--out")


def check_writable(path: Path, option: str, *, folder: bool = False) -> None:
    """Raise UserError if it is plain that no file, or folder, can be written at this path.

    option: the one that the path was given with.
    """
    reason = unwritable_reason(path, folder=folder)
    if reason is not None:
        kind = "folder" if folder else "file"
        raise UserError(f"{path}: {reason}; give a {kind} that can be written with {option}.")


def select_data(config: "Config", shards: str | None) -> "DataConfig":
    """Return the data section of a run's config, with the value of --shards if it is given.

    Raises UserError if neither is a folder that exists or a URL.
    """
    if shards is None:
        place = config.data.shards
        if isinstance(place, Path) and not place.exists():
            raise UserError(
                f"{place}: no such folder; the run was trained on the set that was there. If it "
                "has moved, give its place with --shards FOLDER."
            )
        return config.data
    from gantrain.config import expand_path, parse_config

    tree = config.model_dump(mode="json")
    tree["data"]["shards"] = expand_path(shards, "--shards")
    return parse_config(tree, "--shards").data
