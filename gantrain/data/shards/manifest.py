"""The manifest of a set of shards: classes, splits, and each tar's length and hash.

Version 3 is of sets that we wrote: PNG images of the set's size. Version 1 is the same without the
number of distinct images. Version 2 is of other tools' tars, whose images are converted when they
are decoded; each tar has an index (see `image_index`).
"""

import hashlib
import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gantrain.common.errors import UserError, os_reason
from gantrain.common.set_identity import DataSet
from gantrain.common.validation import problems_of
from gantrain.data.images.convert import Conversion, Fit
from gantrain.data.shards.faults import WRITE_AGAIN
from gantrain.data.shards.samples import SPLITS, Split

MANIFEST_NAME = "manifest.json"
MAX_SIZE = 4096  # pixels

INDEX_AGAIN = "Index the tars again with `gantrain data index --overwrite`"

_MAKE_ONE = "`gantrain data render TARGET` or `gantrain data import IMAGES TARGET`"
_INDEX_TARS = "index the tars in it with `gantrain data index`"
_SHARD_NAME = r"^[A-Za-z0-9_][A-Za-z0-9_.-]*\.tar$"
_SHA256 = r"^[0-9a-f]{64}$"

Count = Annotated[int, Field(ge=0)]
PositiveCount = Annotated[int, Field(ge=1)]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ShardEntry(_Entry):
    """One tar of a set.

    name: file name in the set's folder.
    count: number of samples.
    bytes: length of the file.
    sha256: of the file, 64 lower-case hex digits.
    index: in version 2, SHA-256 of the tar's index.
    """

    name: str = Field(pattern=_SHARD_NAME)
    count: PositiveCount
    bytes: PositiveCount
    sha256: str = Field(pattern=_SHA256)
    index: str | None = Field(default=None, pattern=_SHA256)

    @property
    def index_name(self) -> str:
        """File name of the tar's index in the set's folder."""
        return f"{self.name.removesuffix('.tar')}.index"

    def describe_length(self, length: int, recorded: str = "in the manifest") -> str:
        """Return what is wrong with a tar of another length. recorded: where or when ours was."""
        state = "cut short" if length < self.bytes else "too long"
        return f"{state}: {length} bytes, {self.bytes} {recorded}"


class ConversionEntry(_Entry):
    """How the images of other tools' tars are converted; see `Conversion`."""

    fit: Fit
    background: tuple[int, int, int]
    max_megapixels: float


class ClassEntry(_Entry):
    """One class of images.

    name: display name.
    count: number of its images in the set, over all splits.
    """

    name: str
    count: PositiveCount


class Manifest(_Entry):
    """The content of a set of shards.

    version: of this format.
    source: where the images came from, for display.
    size: width and height of each image, in pixels.
    channels: 1 for grey, 3 for RGB.
    count: number of images in the set.
    distinct: in version 3, number of images that differ from each other.
    classes: entries by class key (the label's "part"); an image without one has no class.
    splits: number of images by split.
    conversion: in version 2, how each image becomes one of this size and these channels.
    shards: the tars, in the order they were written.
    """

    version: Literal[1, 2, 3]
    source: str
    size: int = Field(ge=1, le=MAX_SIZE)
    channels: Literal[1, 3]
    count: PositiveCount
    distinct: PositiveCount | None = None
    classes: dict[str, ClassEntry]
    splits: dict[Split, Count]
    conversion: ConversionEntry | None = None
    shards: tuple[ShardEntry, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _totals_agree(self) -> Self:
        missing = [split for split in SPLITS if split not in self.splits]
        if missing:
            raise ValueError(f"splits lacks {missing[0]!r}")
        if len({entry.name for entry in self.shards}) != len(self.shards):
            raise ValueError("shards lists a name twice")
        if sum(entry.count for entry in self.shards) != self.count:
            raise ValueError("the counts of shards do not add up to count")
        if sum(self.splits.values()) != self.count:
            raise ValueError("the counts of splits do not add up to count")
        if sum(entry.count for entry in self.classes.values()) > self.count:
            raise ValueError("the counts of classes add up to more than count")
        if (self.conversion is not None) != self.indexed:
            raise ValueError(f"version {self.version}, but conversion is {self.conversion}")
        if (self.distinct is not None) != (self.version == 3):
            raise ValueError(f"version {self.version}, but distinct is {self.distinct}")
        if self.distinct is not None and self.distinct > self.count:
            raise ValueError("distinct is more than count")
        if any((entry.index is not None) != self.indexed for entry in self.shards):
            raise ValueError("version 2 needs, and other versions exclude, an index of each shard")
        return self

    @property
    def indexed(self) -> bool:
        """Whether the tars are other tools', read in place by their indexes."""
        return self.version == 2

    @property
    def target(self) -> Conversion:
        """What the images are converted to: in version 1, what they are already."""
        if self.conversion is None:
            return Conversion(self.size, self.channels)
        return Conversion(self.size, self.channels, **self.conversion.model_dump())

    @property
    def repair(self) -> str:
        """What helps if the set is damaged."""
        return INDEX_AGAIN if self.indexed else WRITE_AGAIN

    @property
    def bytes(self) -> int:
        """Total length of the shards."""
        return sum(entry.bytes for entry in self.shards)

    @property
    def identity(self) -> str:
        """SHA-256 of the manifest, 64 hex digits: equal exactly for sets with equal bytes."""
        content = json.dumps(self._content(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(content.encode()).hexdigest()

    @property
    def summary(self) -> DataSet:
        """What identifies the samples; unlike `identity` without names of shards and `source`."""
        hashes = "".join(entry.sha256 + (entry.index or "") for entry in self.shards)
        if self.conversion is not None:
            hashes += repr(self.target)
        content = hashlib.sha256(hashes.encode()).hexdigest()
        return DataSet(content=content, count=self.count, classes=sorted(self.classes))

    def to_json(self) -> str:
        """Return the text of the manifest's file; equal manifests give equal text."""
        return json.dumps(self._content(), indent=2, ensure_ascii=False) + "\n"

    def _content(self) -> dict[str, object]:
        return self.model_dump(mode="json", exclude_none=True)  # no version has all fields


def is_shard_name(name: str) -> bool:
    """Return whether a manifest can list a tar of this file name."""
    return re.fullmatch(_SHARD_NAME, name) is not None


def load_manifest(folder: Path) -> Manifest:
    """Read a set's manifest without checking its shards.

    Raises UserError if the folder or the manifest is missing, or the manifest is invalid.
    """
    path = folder / MANIFEST_NAME
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(_missing(folder)) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({os_reason(error)}).") from None
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        raise UserError(f"{path}: {_describe(error)}. {WRITE_AGAIN}.") from None


def read_manifest(folder: Path) -> Manifest:
    """Read a set's manifest and compare it with the folder's files, by name and length only.

    Raises UserError if the folder or the manifest is missing, the manifest is invalid, a shard is
    missing or has another length, or a tar that is not empty is not listed (see
    `find_file_problems`).
    """
    manifest = load_manifest(folder)
    problems = find_file_problems(folder, manifest)
    known = {entry.name for entry in manifest.shards}
    for name in problems.keys() - known:
        with suppress(OSError):
            if not (folder / name).stat().st_size:  # of a download that failed
                del problems[name]
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise UserError(
            f"{next(iter(problems.values()))}{more}. {manifest.repair}; "
            "`gantrain data verify` lists all problems."
        )
    return manifest


def find_file_problems(folder: Path, manifest: Manifest) -> dict[str, str]:
    """Compare shard names and lengths with the manifest; return problems by shard name.

    A problem is one sentence without a full stop. Hidden files, such as those that macOS adds, and
    files with other endings, such as those of unfinished downloads, are none. Neither are other
    tars beside those of another tool that were indexed.

    Raises UserError if the folder cannot be listed.
    """
    problems = {}
    for entry in manifest.shards:
        path = folder / entry.name
        try:
            length = path.stat().st_size
        except OSError as error:
            problems[entry.name] = f"{path}: in the manifest, but not readable ({os_reason(error)})"
            continue
        if length != entry.bytes:
            problems[entry.name] = f"{path}: {entry.describe_length(length)}"
        elif manifest.indexed and not (folder / entry.index_name).is_file():
            problems[entry.name] = f"{folder / entry.index_name}: no such file"
    if manifest.indexed:
        return problems
    known = {entry.name for entry in manifest.shards}
    try:
        names = sorted(
            path.name
            for path in folder.iterdir()
            if path.suffix == ".tar" and not path.name.startswith(".") and path.is_file()
        )
    except OSError as error:
        raise UserError(f"{folder}: cannot be listed ({os_reason(error)}).") from None
    for name in names:
        if name not in known:
            problems[name] = f"{folder / name}: not in the manifest"
    return problems


def _missing(folder: Path) -> str:
    if not folder.exists():
        return f"{folder}: no such folder. Make a set of shards with {_MAKE_ONE}."
    if not folder.is_dir():
        return f"{folder}: not a folder; expected a set of shards."
    if any(folder.glob("*.tar")):
        return f"{folder}: no {MANIFEST_NAME} in it; {_INDEX_TARS}."
    return f"{folder}: no {MANIFEST_NAME} in it. Make a set of shards with {_MAKE_ONE}."


def _describe(error: ValidationError) -> str:
    problems = problems_of(error, Manifest)
    # A newer version may have other keys: report the version, not those.
    return next((problem for problem in problems if problem.startswith("version")), problems[0])
