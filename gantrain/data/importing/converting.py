"""Conversion of a source's images, in any process, and a look at the colours that get lost."""

from dataclasses import dataclass, replace

import numpy as np

from gantrain.common.errors import UserError
from gantrain.data.images.convert import Conversion, Readable, convert_image, read_image
from gantrain.data.importing.sources import Content, FileRange

# An image has colours if its channels differ by this much in this part of its pixels; JPEG makes
# grey images differ by a few levels.
_GREY_LEVELS, _COLOURED_PART = 24, 0.01


@dataclass(frozen=True)
class Unreadable:
    """An image that cannot be read, and why."""

    reason: str


@dataclass(frozen=True)
class Converted:
    """A PNG file, and whether it has lost colours; None if that was not looked at."""

    image: bytes
    lost_colours: bool | None


def convert(
    task: tuple[Content | Unreadable, bool], conversion: Conversion
) -> Converted | Unreadable:
    """Convert an image; look at its colours if the second of `task` says so."""
    content, looks_at_colours = task
    if isinstance(content, Unreadable):
        return content
    try:
        image = content.read() if isinstance(content, FileRange) else content
        lost = _has_colours(image, conversion) if looks_at_colours else None
        return Converted(convert_image(image, conversion), lost)
    except UserError as error:
        return Unreadable(str(error))


def _has_colours(image: Readable, conversion: Conversion) -> bool:
    channels = read_image(image, replace(conversion, channels=3)).astype(np.int16)
    return bool((np.ptp(channels, axis=0) > _GREY_LEVELS).mean() > _COLOURED_PART)
