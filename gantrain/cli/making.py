"""The commands that create sets of shards: render, import."""

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from gantrain.cli.options import Background, FitOption, MaxMegapixels
from gantrain.cli.printing import print_line, print_lines, print_rows, show_progress
from gantrain.common.errors import UserError
from gantrain.common.text import counted
from gantrain.config.values import LARGEST_SIZE, SIZE_STEP, SMALLEST_SIZE, is_trainable
from gantrain.data.images.convert import MAX_MEGAPIXELS, parse_background
from gantrain.data.importing.labelling import ClassSetting
from gantrain.data.shards.manifest import Manifest
from gantrain.data.shards.samples import Sample

if TYPE_CHECKING:
    from gantrain.data.shards.duplicates import Duplicates

Target = Annotated[Path, typer.Argument(help="Folder to write; must be new or empty.")]
Size = Annotated[int, typer.Option(help="Width and height, a multiple of 8 from 16 to 256 pixels.")]
Channels = Annotated[int, typer.Option(min=1, max=3, help="1 for grey, 3 for RGB.")]
ClassNames = Annotated[
    str | None,
    typer.Option(
        help="Names of the classes 0, 1, …: separated by commas, or a file with one per line."
    ),
]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Number of processes. Default: one per available core.")
]
PerShard = Annotated[int, typer.Option(min=1, help="Images per tar.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace an existing set of shards at the target.")
]


def render(
    target: Target,
    size: Size = 64,
    channels: Channels = 1,
    parts: Annotated[
        list[str] | None,
        typer.Option(help="Part numbers, comma-separated or repeated. Default: all."),
    ] = None,
    views: Annotated[
        int, typer.Option(min=1, help="Views of each part, each from two cameras.")
    ] = 400,
    seed: Annotated[int, typer.Option(help="Seed of the order and the first angles.")] = 0,
    tip: Annotated[
        float,
        typer.Option(min=0, max=180, help="Degrees by which each part tips over."),
    ] = 120.0,
    workers: Workers = None,
    images_per_shard: PerShard = 1000,
    overwrite: Overwrite = False,
    ldraw: Annotated[
        Path | None,
        typer.Option(help="Folder with an LDraw library (parts/, p/): renders any part of it."),
    ] = None,
    part_set: Annotated[
        Literal["own", "kaggle"],
        typer.Option("--set", help="All parts of: gantrain's fifty, or the Kaggle set's classes."),
    ] = "own",
    colours: Annotated[
        str | None,
        typer.Option(help="LEGO colours (RGB), such as red,blue, or all; default: grey."),
    ] = None,
    background: Annotated[str, typer.Option(help="Colour of the floor.")] = "white",
    edges: Annotated[
        bool, typer.Option("--edges", help="Draw the sharp edges of LDraw parts as lines.")
    ] = False,
) -> None:
    """Render images of LEGO bricks as a set of shards.

    All images of a set differ: should one equal another, it is left out.
    """
    from gantrain.common.pools import usable_cores
    from gantrain.data.bricks.render import render_samples, sample_count
    from gantrain.data.ldraw.colours import choose_colours, read_colours
    from gantrain.data.shards.duplicates import Duplicates
    from gantrain.data.shards.writer import write_shards

    check_size(size)
    numbers = _split_parts(parts)
    if numbers is not None and part_set != "own":
        raise UserError(f"--set {part_set} and --parts exclude each other; give one of them.")
    chosen = choose_colours(colours, read_colours(ldraw)) if colours is not None else ()
    channels = 3 if chosen else channels
    settings = [f"views {views}", f"seed {seed}", f"tip {tip:g}"]
    settings += ["Kaggle's classes"] * (part_set == "kaggle")
    settings += ["LDraw library"] * (ldraw is not None)
    settings += [f"colours {colours}", f"background {background}"] * bool(chosen)
    settings += ["edges"] * edges
    start = time.monotonic()
    total = sample_count(numbers, views, part_set)
    duplicates = Duplicates()
    with show_progress("Rendering") as advance:
        samples = render_samples(
            size=size,
            channels=channels,
            parts=numbers,
            views=views,
            seed=seed,
            tip=tip,
            workers=workers or usable_cores(),
            part_set=part_set,
            library=ldraw,
            colours=chosen,
            background=parse_background(background),
            edges=edges,
        )
        manifest = write_shards(
            target,
            _count(samples, total, advance),
            size=size,
            channels=channels,
            source=f"rendered bricks ({', '.join(settings)})",
            images_per_shard=images_per_shard,
            overwrite=overwrite,
            drop_duplicates=True,
            duplicates=duplicates,
        )
    _print_summary(target, manifest, time.monotonic() - start)
    _print_dropped(duplicates)


def import_(
    source: Annotated[
        Path,
        typer.Argument(
            help="Folder or zip archive of images (flat, a subfolder per class, Kaggle's), or a "
            "file or folder of IDX, NumPy arrays, CIFAR in binary, Parquet or webdataset tars."
        ),
    ],
    target: Target,
    size: Size = 64,
    channels: Channels = 1,
    background: Background = "black",
    fit: FitOption = "crop",
    max_megapixels: MaxMegapixels = MAX_MEGAPIXELS,
    classes: Annotated[
        ClassSetting,
        typer.Option(
            help="Classes: the source's own labels, the innermost folder, the path of folders, "
            "the file name (`3001 brick 2x4 000L.png`), or none. Default: chosen and printed."
        ),
    ] = "auto",
    class_names: ClassNames = None,
    image_column: Annotated[
        str | None,
        typer.Option(
            "--image-column",
            "--image",
            help="Column of images in Parquet, array of them in .npz, or extension in tars. "
            "Default: by type and name.",
        ),
    ] = None,
    label_column: Annotated[
        str | None,
        typer.Option(
            "--label-column",
            "--label",
            help="Column of classes in Parquet, array of them in .npz, in tars the extension of a "
            "member or the key of the JSON; of CIFAR-100, fine or coarse. Default: by name.",
        ),
    ] = None,
    splits: Annotated[
        str,
        typer.Option(
            help="Split folders: auto knows customary names (train, val, test, …), none knows "
            "none; or name them: `seg_train=train,seg_test=validation`."
        ),
    ] = "auto",
    validation_list: Annotated[
        Path | None,
        typer.Option(help="List of validation images. Default: validation.txt, if any."),
    ] = None,
    drop_duplicates: Annotated[
        bool,
        typer.Option(
            "--drop-duplicates", help="Leave out images that equal an earlier one in every pixel."
        ),
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first image that cannot be read.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of the order of the images.")] = 0,
    workers: Workers = None,
    images_per_shard: PerShard = 1000,
    overwrite: Overwrite = False,
) -> None:
    """Import images as a set of shards.

    Images in the split "validation" are never trained on.
    """
    from gantrain.data.importing.filenames import parse_class_names
    from gantrain.data.importing.pipeline import import_images
    from gantrain.data.importing.sources import SourceOptions
    from gantrain.data.importing.splits import parse_splits

    check_size(size)
    console = Console()
    start = time.monotonic()
    with show_progress("Importing") as advance:
        report = import_images(
            source,
            target,
            size=size,
            channels=channels,
            background=background,
            fit=fit,
            max_megapixels=max_megapixels,
            options=SourceOptions(image_column=image_column, label_column=label_column),
            classes=classes,
            class_names=parse_class_names(class_names) if class_names is not None else (),
            splits=parse_splits(splits),
            images_per_shard=images_per_shard,
            on_error="fail" if strict else "report",
            workers=workers,
            validation_list=validation_list,
            seed=seed,
            overwrite=overwrite,
            drop_duplicates=drop_duplicates,
            on_plan=lambda opened, plan: print_lines(
                console, [*opened.describe(), *plan.describe()]
            ),
            on_progress=advance,
        )
    _print_summary(target, report.manifest, time.monotonic() - start)
    if drop_duplicates:
        _print_dropped(report.duplicates)
    else:
        print_lines(console, report.duplicates.describe())
        if report.duplicates.across:
            print_line(console, "Import with --drop-duplicates to keep one of each.")
    if report.lost_colours:
        print_line(console, report.lost_colours)
    if report.ignored:
        kinds = ", ".join(f"{n} {suffix or 'no suffix'}" for suffix, n in report.ignored.items())
        print_line(console, f"{sum(report.ignored.values())} other files ignored ({kinds})")
    print_rows(
        console,
        f"{len(report.unreadable)} images could not be read and were skipped",
        ("file", "reason"),
        report.unreadable,
    )
    print_rows(
        console,
        f"{len(report.plan.validation_missing)} lines of the validation list match no image",
        ("line",),
        [(line,) for line in report.plan.validation_missing],
    )


def check_size(size: int) -> None:
    """Raise UserError unless there are networks for images of this size."""
    if not is_trainable(size):
        larger = min(max(-(-size // SIZE_STEP) * SIZE_STEP, SMALLEST_SIZE), LARGEST_SIZE)
        raise UserError(
            f"size is {size}; the networks train on images of a multiple of {SIZE_STEP} from "
            f"{SMALLEST_SIZE} to {LARGEST_SIZE} pixels. Use --size {larger}: images of any size "
            "are resized to it."
        )


def _split_parts(parts: list[str] | None) -> list[str] | None:
    if parts is None:
        return None
    numbers = [part.strip() for group in parts for part in group.split(",") if part.strip()]
    if not numbers:
        raise UserError(f"parts is {','.join(parts)!r}; expected part numbers such as 3001,3003.")
    return list(dict.fromkeys(numbers))


def _count(
    samples: Iterable[Sample], total: int, advance: Callable[[int, int], None]
) -> Iterator[Sample]:
    for done, sample in enumerate(samples, start=1):
        yield sample
        advance(done, total)


def _print_dropped(duplicates: "Duplicates") -> None:
    dropped = duplicates.repeats.total()
    if dropped:
        key, first = duplicates.examples[0]
        print_line(
            Console(),
            f"{counted(dropped, 'image')} left out, because each equals another one (such as "
            f"{key}, which equals {first})",
        )


def _print_summary(target: Path, manifest: Manifest, seconds: float) -> None:
    print_line(
        Console(),
        f"{counted(manifest.count, 'image')} of {manifest.size}x{manifest.size} in "
        f"{counted(len(manifest.shards), 'shard')} ({manifest.bytes / 1e6:.1f} MB), "
        f"{seconds:.1f} s ({manifest.count / max(seconds, 1e-9):.0f} images/s): {target}",
    )
