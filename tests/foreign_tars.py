"""Webdataset tars as other tools write them; the images' shades encode their row in the set."""

import io
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import webdataset
from PIL import Image

from gantrain.data.images.convert import Conversion, convert_image
from gantrain.data.importing.tar_scan import ScanOptions
from gantrain.data.indexing.index import IndexReport, index_tars
from gantrain.data.indexing.patterns import find_tars
from gantrain.data.shards.samples import Sample
from gantrain.data.shards.writer import write_shards

CONVERSION = Conversion(32, 1)
PER_TAR = (10, 10, 3)
_FORMATS = {
    "jpg": ("JPEG", {"quality": 100}),
    "png": ("PNG", {}),
    "webp": ("WEBP", {"lossless": 1}),
}


def encoded(shade: int, extension: str = "png", size: tuple[int, int] = (48, 40)) -> bytes:
    """Return an image file of one shade of grey."""
    file = io.BytesIO()
    form, options = _FORMATS[extension]
    Image.new("RGB", size, (shade,) * 3).save(file, form, **options)
    return file.getvalue()


def numbered_tars(folder: Path, per_tar: Sequence[int] = PER_TAR) -> Path:
    """Write tars of images of shades 1, 2, … in three formats, alternately of class "a" and "b"."""
    folder.mkdir(parents=True)
    rows = itertools.count()
    for number, count in enumerate(per_tar):
        with webdataset.TarWriter(str(folder / f"{number:03d}.tar")) as writer:
            for row in itertools.islice(rows, count):
                extension = list(_FORMATS)[row % 3]
                writer.write(
                    {
                        "__key__": f"folder/{row:03d}",
                        extension: encoded(row + 1, extension),
                        "cls": "ab"[row % 2],
                        "txt": "a caption",
                    }
                )
    return folder


def index(folder: Path, conversion: Conversion = CONVERSION, **changes: Any) -> IndexReport:
    """Index all tars of a folder in this process."""
    options = ScanOptions(changes.pop("image", None), changes.pop("label", None))
    return index_tars(find_tars([folder]), conversion, options=options, workers=1, **changes)


def indexed_tars(folder: Path, per_tar: Sequence[int] = PER_TAR) -> Path:
    """Write `numbered_tars` and index them."""
    index(numbered_tars(folder, per_tar))
    return folder


def read_with_webdataset(tar: Path) -> list[dict[str, Any]]:
    """Return the samples of a tar as webdataset yields them: the independent reference."""
    samples = webdataset.WebDataset([str(tar)], shardshuffle=False, empty_check=False)
    return [{k: v for k, v in each.items() if k != "__url__"} for each in samples]


def import_by_webdataset(folder: Path, target: Path, conversion: Conversion = CONVERSION) -> Path:
    """Write the images of `numbered_tars` as our own shards, read by webdataset."""
    samples = [
        Sample(
            each["__key__"].replace("/", "_"),
            convert_image(next(each[e] for e in _FORMATS if e in each), conversion),
            {"part": each["cls"].decode(), "name": each["cls"].decode()},
        )
        for tar in sorted(folder.glob("*.tar"))
        for each in read_with_webdataset(tar)
    ]
    write_shards(
        target, samples, size=conversion.size, channels=conversion.channels, source="",
        images_per_shard=PER_TAR[0],
    )  # fmt: skip
    return target
