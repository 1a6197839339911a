"""The command that makes other tools' tars trainable in place."""

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from gantrain.cli.making import Channels, ClassNames, Size, Workers, check_size
from gantrain.cli.options import Background, FitOption, MaxMegapixels
from gantrain.cli.printing import print_line, print_lines, print_rows, show_progress
from gantrain.common.text import counted
from gantrain.data.images.convert import MAX_MEGAPIXELS, Conversion, parse_background
from gantrain.data.importing.labelling import ClassSetting


def index(
    tars: Annotated[
        list[Path],
        typer.Argument(help="Tars of one folder, the folder, or patterns: `{000..009}.tar`."),
    ],
    size: Size = 64,
    channels: Channels = 1,
    background: Background = "black",
    fit: FitOption = "crop",
    max_megapixels: MaxMegapixels = MAX_MEGAPIXELS,
    image: Annotated[
        str | None,
        typer.Option(
            "--image",
            "--image-column",
            help="Extension of the images. Default: jpg, jpeg, png, webp, …, if present.",
        ),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(
            "--label",
            "--label-column",
            help="Where the samples state their class: the extension of a member, or a key of "
            "their JSON. Default: customary ones, such as cls and class_name.",
        ),
    ] = None,
    classes: Annotated[
        ClassSetting,
        typer.Option(
            help="Classes: the samples' labels, the innermost folder of the key, all its folders, "
            "or none. Default: chosen and printed."
        ),
    ] = "auto",
    class_names: ClassNames = None,
    splits: Annotated[
        str,
        typer.Option(
            help="Splits by the words of keys' folders and tars' names: auto knows customary ones "
            "(train, val, test, …), none knows none; or name them: `tr=train,te=validation`."
        ),
    ] = "auto",
    workers: Workers = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing manifest.")
    ] = False,
) -> None:
    """Index webdataset tars by other tools, so that they can be trained on in place.

    Writes manifest.json and an index of each tar into their folder; the tars stay as they are.
    Images are converted when they are decoded.
    """
    from gantrain.data.importing.filenames import parse_class_names
    from gantrain.data.importing.splits import parse_splits
    from gantrain.data.importing.tar_scan import ScanOptions
    from gantrain.data.indexing.index import index_tars
    from gantrain.data.indexing.patterns import find_tars

    check_size(size)
    conversion = Conversion(size, channels, parse_background(background), fit, max_megapixels)
    split_setting = parse_splits(splits)
    names = parse_class_names(class_names) if class_names is not None else ()
    console = Console()
    start = time.monotonic()
    files = find_tars(tars)
    with show_progress("Scanning tars") as scan, show_progress("Reading images") as read:
        report = index_tars(
            files,
            conversion,
            options=ScanOptions(image or None, label),
            classes=classes,
            class_names=names,
            splits=split_setting,
            workers=workers,
            overwrite=overwrite,
            on_scan=scan,
            on_plan=lambda found, plan: print_lines(console, [*found.notes, *plan.describe()]),
            on_progress=read,
        )
    manifest = report.manifest
    seconds = time.monotonic() - start
    print_line(
        console,
        f"{counted(manifest.count, 'image')} in {counted(len(manifest.shards), 'tar')} "
        f"({manifest.bytes / 1e6:.1f} MB), {seconds:.1f} s "
        f"({manifest.count / max(seconds, 1e-9):.0f} images/s); train on them with "
        f"data.shards={files[0].parent}",
    )
    print_rows(
        console,
        f"{len(report.unreadable)} images or labels could not be read and are left out",
        ("tar and member", "reason"),
        report.unreadable,
    )
