"""The types of the values in a config."""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

MAX_COUNT = 10**9
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Seconds = Annotated[float, Field(gt=0, le=1e7)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Beta = Annotated[float, Field(ge=0, lt=1)]
Slope = Annotated[float, Field(ge=0, lt=1)]
Norm = Literal["batch", "instance", "layer", "none"]
Init = Literal["normal", "glorot"]


# YAML 1.1 reads a bare `no` or `off` as false, and `on` as true.
YamlNo = BeforeValidator(lambda value: "no" if value is False else value)
YamlSwitch = BeforeValidator(
    lambda value: "off" if value is False else "on" if value is True else value
)
YamlOff = BeforeValidator(lambda value: "off" if value is False else value)
OldFeatures = BeforeValidator(lambda value: "classifier" if value == "brick" else value)
NoMetric = BeforeValidator(lambda value: None if value in ("off", "none") else value)


def is_trainable(size: int) -> bool:
    """Return whether there are networks for images of size x size pixels."""
    return SMALLEST_SIZE <= size <= LARGEST_SIZE and size % SIZE_STEP == 0


def _only_whole(value: object) -> object:
    # Python holds True and 1.0 to be 1, and so do literals.
    if isinstance(value, bool | float):
        raise PydanticCustomError("int_type", "not an integer")
    return value


def _as_path(value: object) -> object:
    text = str(value) if isinstance(value, str | Path) else ""
    if not text.strip() or "\0" in text:
        raise PydanticCustomError("path_type", "not a path")
    return value if _is_remote(text) else Path(text)


def _is_remote(text: str) -> bool:
    # Path would take one of the two slashes of a URL.
    return re.match(r"pipe:|[A-Za-z][A-Za-z0-9+.-]*://", text) is not None


OnlyWhole = BeforeValidator(_only_whole)
SIZE_STEP, SMALLEST_SIZE, LARGEST_SIZE = 8, 16, 256  # pixels, of the images of the networks
Threads = Annotated[int, Field(ge=1, le=4096)]
Size = Annotated[int, Field(ge=SMALLEST_SIZE, le=LARGEST_SIZE, multiple_of=SIZE_STEP)]
Folder = Annotated[Path, BeforeValidator(_as_path)]
ShardsLocation = Annotated[Path | str, BeforeValidator(_as_path)]
# YAML reads 3001 as a number.
ClassId = Annotated[str, BeforeValidator(lambda v: str(v) if type(v) is int else v)]
