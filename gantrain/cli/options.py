"""Options that several commands share, and their validation."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gantrain.common.errors import UserError
from gantrain.common.files import unwritable_reason
from gantrain.common.set_identity import difference
from gantrain.common.text import printable
from gantrain.data.images.convert import Fit
from gantrain.data.shards.manifest import load_manifest

if TYPE_CHECKING:
    from gantrain.config import DataConfig
    from gantrain.inference.export import Loaded

logger = logging.getLogger(__name__)

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
Classes = Annotated[
    list[str] | None,
    typer.Option(
        "--class",
        metavar="KEY",
        help="Class that a conditional generator makes; comma-separated or repeated for several.",
    ),
]
# How image files are read.
Background = Annotated[
    str, typer.Option(help="Colour behind transparent pixels and in the padding.")
]
FitOption = Annotated[
    Fit,
    typer.Option(
        "--fit", help="How to make an image square. shrink pads, and enlarges no small image."
    ),
]
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


def class_keys(loaded: "Loaded", given: Sequence[str] | None) -> list[str] | None:
    """Return the keys of the classes that --class was given with; None if it was not given.

    Raises UserError for an unknown one, and for a generator without classes.
    """
    from gantrain.inference.classes import select_classes, split_class_names

    if given is None:
        return None
    generator = loaded.generator
    if not generator.conditioning.class_counts:
        raise UserError(
            f"--class: {loaded.name} was trained without classes (conditioning.kind: none); leave "
            "the option out."
        )
    keys = split_class_names(generator, given)
    try:
        select_classes(generator, keys)
    except UserError as error:
        raise UserError(f"--{error}") from None
    return keys


def class_keys_or_first(loaded: "Loaded", given: Sequence[str] | None) -> list[str]:
    """Return the keys as `class_keys`; by default the first class, which is printed.

    Empty for a generator without classes.
    """
    keys = class_keys(loaded, given)
    if keys is not None:
        return keys
    known = loaded.generator.conditioning.class_names
    if known:
        typer.echo(
            f"class {printable(known[0])}, the first of {len(known)}; --class KEY chooses another"
        )
    return list(known[:1])


def one_class_or_first(loaded: "Loaded", given: Sequence[str] | None) -> list[str]:
    """Return at most one key, as `class_keys_or_first`. Raises UserError for several."""
    keys = class_keys_or_first(loaded, given)
    if len(keys) > 1:
        raise UserError(f"--class: {len(keys)} classes; expected one.")
    return keys


def of_classes(keys: Sequence[str]) -> str:
    """Return ` of class A` or ` of classes A, B` for a printed line; nothing without classes."""
    if not keys:
        return ""
    return f" of class{'es' if len(keys) > 1 else ''} {', '.join(map(printable, keys))}"


def select_data(loaded: "Loaded", shards: str | None) -> "DataConfig":
    """Return the data section of a generator's config, with the value of --shards if it is given.

    A relative path in the config led from the folder in which the training was started. That is the
    nearest one above the run from which the path leads to something, or else the working directory.
    A set that is not the one that the generator was trained on is a warning.

    Raises UserError if the place is neither a folder that exists nor a URL.
    """
    from gantrain.config import expand_path, parse_config

    data = loaded.config.data
    if shards is not None:
        tree = loaded.config.model_dump(mode="json")
        tree["data"]["shards"] = expand_path(shards, "--shards")
        data = parse_config(tree, "--shards").data
    elif isinstance(data.shards, Path):
        place = _from_start(data.shards, loaded.folder)
        if not place.exists():
            raise UserError(
                f"{data.shards}: no such folder; the run was trained on the set that was there. If "
                "it has moved, give its place with --shards FOLDER."
            )
        data = data.model_copy(update={"shards": place})
    if loaded.data is not None and isinstance(data.shards, Path):
        now = load_manifest(data.shards).summary
        if now.content != loaded.data.content:
            logger.warning(
                f"{data.shards}: not the set that {loaded.name} was trained on: "
                f"{difference(loaded.data, now)}"
            )
    return data


def _from_start(path: Path, run_dir: Path) -> Path:
    """Return where a path of a run's config leads; relative to the working directory if it can."""
    if path.is_absolute():
        return path
    for folder in run_dir.absolute().parents:
        if (folder / path).exists():
            return path if folder == Path.cwd() else folder / path
    return path
