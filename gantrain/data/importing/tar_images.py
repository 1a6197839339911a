"""Which member of a sample in a webdataset tar is its image."""

from collections.abc import Iterable

from gantrain.data.images.convert import SUFFIXES

_FIRST_IMAGES = ("jpg", "jpeg", "png", "webp")
IMAGE_EXTENSIONS = (
    *_FIRST_IMAGES,
    *sorted({suffix.removeprefix(".") for suffix in SUFFIXES} - {*_FIRST_IMAGES}),
)


def choose_image(extensions: Iterable[str], wanted: str | None) -> str | None:
    """Return which extension of a sample is its image's, or None if it has no image.

    The first of jpg, jpeg, png, webp and the other formats of IMAGE_EXTENSIONS. Longer extensions,
    such as `seg.png`, count only without one of these: then it is the first in the tar.

    wanted: the only extension of images, in any case and with or without its dot.
    """
    extensions = list(extensions)
    if wanted is not None:
        wanted = wanted.lower().removeprefix(".")
        return wanted if wanted in extensions else None
    for extension in IMAGE_EXTENSIONS:
        if extension in extensions:
            return extension
    return next(filter(is_image, extensions), None)


def is_image(extension: str) -> bool:
    """Return whether an extension, such as `seg.png`, is that of an image."""
    return extension.rpartition(".")[2] in IMAGE_EXTENSIONS
