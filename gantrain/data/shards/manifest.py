"""The manifest of a set of shards: what the tars hold, how long they are, and their hashes."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gantrain.common.errors import UserError
from gantrain.data.shards.members import SPLITS, Label, Sample, Split, split_of

MANIFEST_NAME = "manifest.json"
LARGEST_SIZE = 4096  # pixels

_HOW_TO_MAKE = "`gantrain data render TARGET` or `gantrain data import PICTURES TARGET`"
_LONGEST_INPUT = 60  # characters of a wrong value that an error repeats

Count = Annotated[int, Field(ge=0)]
PositiveCount = Annotated[int, Field(ge=1)]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ShardEntry(_Entry):
    """One tar of a set.

    name: its file name in the set's folder.
    count: samples in it.
    bytes: length of the file.
    sha256: of the file, 64 lower-case hex digits.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*\.tar$")
    count: PositiveCount
    bytes: PositiveCount
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class ClassEntry(_Entry):
    """One class of images.

    name: what people call it.
    count: images of it in the set, all splits together.
    """

    name: str
    count: PositiveCount


class Manifest(_Entry):
    """What a set of shards holds.

    version: of this format.
    source: where the images came from, for people.
    size: width and height of each image in pixels.
    channels: 1 for grey, 3 for RGB.
    count: images in the set.
    classes: from part (the label's "part") to its entry; images without a part are in none.
    splits: images of "train" and of "validation".
    shards: the tars, in the order in which they were written.
    """

    version: Literal[1]
    source: str
    size: int = Field(ge=1, le=LARGEST_SIZE)
    channels: Literal[1, 3]
    count: PositiveCount
    classes: dict[str, ClassEntry]
    splits: dict[Split, Count]
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
        return self

    @property
    def bytes(self) -> int:
        """Length of all shards together."""
        return sum(entry.bytes for entry in self.shards)

    @property
    def identity(self) -> str:
        """SHA-256 of the content, 64 hex digits: equal exactly when two sets hold equal bytes."""
        content = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(content.encode()).hexdigest()

    def to_json(self) -> str:
        """The text of the manifest's file; equal manifests give equal text."""
        return json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"


class Tally:
    """Counts samples by split and class, and refuses what no set can hold."""

    def __init__(self) -> None:
        self.keys: set[str] = set()
        self.splits: Counter[Split] = Counter()
        self.class_counts: Counter[str] = Counter()
        self.class_names: dict[str, str] = {}

    def add(self, sample: Sample) -> None:
        """Count one sample.

        Raises UserError if its key came before, or its label names an unknown split or a class
        that is no text.
        """
        if sample.key in self.keys:
            raise UserError(
                f"The key {sample.key!r} comes twice; expected one sample for each key."
            )
        try:
            self.splits[split_of(sample.label)] += 1
            if "part" in sample.label:
                part, name = class_of(sample.label)
                self.class_counts[part] += 1
                self.class_names.setdefault(part, name)
        except UserError as error:
            raise UserError(f"Sample {sample.key!r}: {error}") from None
        self.keys.add(sample.key)

    def classes(self) -> dict[str, ClassEntry]:
        """The classes met so far, by part."""
        return {
            part: ClassEntry(name=self.class_names[part], count=self.class_counts[part])
            for part in sorted(self.class_counts)
        }

    def manifest(
        self, *, source: str, size: int, channels: Literal[1, 3], shards: Iterable[ShardEntry]
    ) -> Manifest:
        """The manifest of the samples met so far."""
        return Manifest(
            version=1,
            source=source,
            size=size,
            channels=channels,
            count=len(self.keys),
            classes=self.classes(),
            splits={split: self.splits[split] for split in SPLITS},
            shards=tuple(shards),
        )


def class_of(label: Label) -> tuple[str, str]:
    """The part and the name of the class that a label with "part" names; without "name", the part.

    Raises UserError if one of them cannot be written as UTF-8.
    """
    part = str(label["part"])
    name = str(label.get("name", part))
    try:
        (part + name).encode()
    except UnicodeEncodeError:
        raise UserError(f"the class {part!r}, {name!r} is no text that UTF-8 can hold") from None
    return part, name


def load_manifest(folder: Path) -> Manifest:
    """Read a set's manifest without a look at its shards.

    Raises UserError if the folder or the manifest is missing, or the manifest is no valid one.
    """
    path = folder / MANIFEST_NAME
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(_missing(folder)) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}).") from None
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        raise UserError(f"{path}: {_in_words(error)}. Write the set again.") from None


def read_manifest(folder: Path) -> Manifest:
    """Read a set's manifest and hold it against the folder's files (by name and length only).

    Raises UserError if the folder or the manifest is missing, the manifest is no valid one, a
    shard is missing, longer or shorter than it says, or unknown to it.
    """
    manifest = load_manifest(folder)
    problems = find_file_problems(folder, manifest)
    if problems:
        more = f" (and {len(problems) - 1} more like it)" if len(problems) > 1 else ""
        raise UserError(
            f"{next(iter(problems.values()))}{more}. Write the set again; "
            "`gantrain data verify` lists all that is wrong."
        )
    return manifest


def find_file_problems(folder: Path, manifest: Manifest) -> dict[str, str]:
    """What a look at names and lengths finds wrong: from shard name to one sentence without a dot.

    Raises UserError if the folder cannot be listed.
    """
    problems = {}
    for entry in manifest.shards:
        path = folder / entry.name
        try:
            length = path.stat().st_size
        except OSError as error:
            problems[entry.name] = (
                f"{path}: the manifest lists this shard, but it cannot be found "
                f"({error.strerror or error})"
            )
            continue
        if length != entry.bytes:
            state = "cut short" if length < entry.bytes else "too long"
            problems[entry.name] = (
                f"{path}: {state}: {length} bytes, the manifest says {entry.bytes}"
            )
    known = {entry.name for entry in manifest.shards}
    try:
        names = sorted(path.name for path in folder.iterdir() if path.suffix == ".tar")
    except OSError as error:
        raise UserError(f"{folder}: cannot be listed ({error.strerror or error}).") from None
    for name in names:
        if name not in known:
            problems[name] = f"{folder / name}: a shard that the manifest does not know"
    return problems


def _missing(folder: Path) -> str:
    if not folder.exists():
        return f"{folder}: no such folder. Make a set of shards with {_HOW_TO_MAKE}."
    if not folder.is_dir():
        return f"{folder}: not a folder; expected a set of shards."
    return f"{folder}: no {MANIFEST_NAME} in it. Make a set of shards with {_HOW_TO_MAKE}."


def _in_words(error: ValidationError) -> str:
    details = error.errors(include_url=False)
    # Another version may have other keys; then those are not what is wrong.
    detail = next((each for each in details if each["loc"] == ("version",)), details[0])
    key = ".".join(map(str, detail["loc"]))
    kind, message = detail["type"], detail["msg"]
    if kind == "json_invalid":
        return f"not JSON ({message.removeprefix('Invalid JSON: ')})"
    if kind == "missing":
        return f"{key} is missing"
    if kind == "extra_forbidden":
        return f"{key} is an unknown key"
    if kind == "value_error":
        return message.removeprefix("Value error, ")
    wish = message[:1].lower() + message[1:]
    wish = wish.replace("input should", "expected to", 1).replace("expected to be", "expected", 1)
    return f"{key or 'the whole'} is {_shortened(detail['input'])}; {wish}"


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_INPUT else text[: _LONGEST_INPUT - 3] + "..."
