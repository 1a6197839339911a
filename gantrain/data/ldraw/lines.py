"""One file of the LDraw format, https://www.ldraw.org/article/218.html.

Lengths are in LDraw units (LDU) and y points down. Back-face culling (BFC,
https://www.ldraw.org/article/415.html) says which side of a triangle is the outside.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gantrain.common.errors import UserError, os_reason
from gantrain.common.text import printable

MAIN_COLOUR = 16  # the colour of the part
MAX_LINES = 250_000  # the largest files of the official library have about 50,000
MAX_COORDINATE = 1e6  # LDU; 400 m
_MAX_LINE = 2_000  # characters
_MAX_BYTES = 64 << 20
_POINTS = {2: 2, 3: 3, 4: 4}  # points of a line type whose geometry is used
_MOVED = "~moved to"

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Reference:
    """A line of type 1: another file, placed.

    line: its number in the file, from 1.
    name: of the file, as written.
    matrix: (3, 3), from the coordinates of that file.
    origin: (3,), LDU.
    inverted: whether its outside becomes the inside (INVERTNEXT).
    clipped: whether triangles of it have an outside.
    """

    line: int
    name: str
    colour: int
    matrix: Doubles
    origin: Doubles
    inverted: bool
    clipped: bool


@dataclass(frozen=True)
class LdrawFile:
    """The content of a file.

    path: the file, for messages.
    title: its first line, without the 0 and repeated spaces.
    references: the files it refers to.
    triangles: float64 (n, 3, 3), LDU; counter-clockwise from outside where `oriented`.
    colours: int64 (n,), colour code of each triangle.
    oriented: bool (n,), whether the outside of each triangle is known.
    edges: float64 (k, 2, 3), LDU, the lines of type 2.
    """

    path: Path
    title: str
    references: tuple[Reference, ...]
    triangles: Doubles
    colours: NDArray[np.int64]
    oriented: NDArray[np.bool_]
    edges: Doubles

    @property
    def moved_to(self) -> str | None:
        """The number that replaces this one, if the title is `~Moved to NUMBER`."""
        return self.title[len(_MOVED) :].strip() if self.title.lower().startswith(_MOVED) else None


@dataclass
class _Reader:
    """What is known of a file after some of its lines."""

    path: Path
    certified: bool | None = None  # None: no line has said
    clip: bool = True
    clockwise: bool = False
    invert_next: bool = False
    references: list[Reference] = field(default_factory=list)
    triangles: list[tuple[float, ...]] = field(default_factory=list)
    quads: list[tuple[float, ...]] = field(default_factory=list)
    triangle_kinds: list[tuple[int, bool]] = field(default_factory=list)  # colour, oriented
    quad_kinds: list[tuple[int, bool]] = field(default_factory=list)
    edges: list[tuple[float, ...]] = field(default_factory=list)

    def read(self, number: int, line: str) -> None:
        """Take in one line that is not empty."""
        words = line.split()
        kind = words[0]
        if kind == "0":
            self._read_meta(words[1:])
            return
        if kind not in ("1", "2", "3", "4", "5"):
            raise self._error(number, f"the line type is {_short(kind)}; expected 0 to 5")
        if kind == "1":
            self._read_reference(number, line)
        elif kind != "5":  # a conditional line depends on the view, and has no surface
            self._read_polygon(number, words, _POINTS[int(kind)])
        self.invert_next = False

    def _read_meta(self, words: Sequence[str]) -> None:
        if not words or words[0] != "BFC":
            return
        for word in words[1:]:
            if word == "NOCERTIFY":
                self.certified = False
                continue
            if self.certified is None:
                self.certified = True
            if word in ("CW", "CCW"):
                self.clockwise = word == "CW"
            elif word in ("CLIP", "NOCLIP"):
                self.clip = word == "CLIP"
            elif word == "INVERTNEXT":
                self.invert_next = True

    def _read_reference(self, number: int, line: str) -> None:
        words = line.split(None, 14)
        if len(words) < 15:
            raise self._error(number, f"{len(words) - 1} words follow the 1; expected 14")
        values = self._numbers(number, words[2:14])
        self.references.append(
            Reference(
                line=number,
                name=words[14].strip(),
                colour=self._colour(number, words[1]),
                matrix=np.array(values[3:]).reshape(3, 3),
                origin=np.array(values[:3]),
                inverted=self.invert_next,
                clipped=self._oriented(),
            )
        )

    def _read_polygon(self, number: int, words: Sequence[str], points: int) -> None:
        expected = 3 * points + 2
        if len(words) < expected:
            raise self._error(
                number,
                f"{len(words) - 1} words follow the {words[0]}; expected {expected - 1}",
            )
        colour = self._colour(number, words[1])
        values = self._numbers(number, words[2:expected])
        if points == 2:
            self.edges.append(values)
            return
        if self.clockwise:
            values = values[:3] + tuple(
                value
                for first in range(len(values) - 3, 0, -3)
                for value in values[first : first + 3]
            )
        polygons, kinds = (
            (self.triangles, self.triangle_kinds) if points == 3 else (self.quads, self.quad_kinds)
        )
        polygons.append(values)
        kinds.append((colour, self._oriented()))

    def _oriented(self) -> bool:
        return bool(self.certified) and self.clip

    def _numbers(self, number: int, words: Sequence[str]) -> tuple[float, ...]:
        try:
            values = tuple(map(float, words))
        except ValueError:
            wrong = next(word for word in words if not _is_number(word))
            raise self._error(number, f"{_short(wrong)} is not a number") from None
        for word, value in zip(words, values, strict=True):
            if not abs(value) <= MAX_COORDINATE:  # NaN is not, either
                raise self._error(
                    number,
                    f"{_short(word)} is no coordinate; expected at most {MAX_COORDINATE:.0f} LDU",
                )
        return values

    def _colour(self, number: int, word: str) -> int:
        try:
            code = int(word, 16) if word[:2] in ("0x", "0X") else int(word.replace("#", "0x"), 0)
        except ValueError:
            code = int(word) if word.isdecimal() else -1  # such as 016
        if not 0 <= code < 1 << 28:
            raise self._error(number, f"{_short(word)} is not a colour code")
        return code

    def _error(self, number: int, problem: str) -> UserError:
        return UserError(f"{self.path}, line {number}: {problem}.")


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _short(word: str) -> str:
    return repr(printable(word[:40]))


def read_file(path: Path) -> LdrawFile:
    """Read a file.

    Raises UserError naming the file, and the line where one is at fault, if it cannot be read, has
    more than `MAX_LINES` lines, or a line is not of the format: unknown line type, missing words,
    a coordinate that is no number or above `MAX_COORDINATE`.
    """
    reader = _Reader(path)
    title = ""
    for number, line in _lines(path):
        if number == 1 and line.startswith("0"):
            title = " ".join(line.split()[1:])
        reader.read(number, line)
    quads = np.array(reader.quads, np.float64).reshape(-1, 4, 3)
    kinds = reader.triangle_kinds + [kind for kind in reader.quad_kinds for _ in range(2)]
    return LdrawFile(
        path=path,
        title=printable(title),
        references=tuple(reader.references),
        triangles=np.concatenate(
            [np.array(reader.triangles, np.float64).reshape(-1, 3, 3), _halves(quads)]
        ),
        colours=np.array([colour for colour, _ in kinds], np.int64),
        oriented=np.array([oriented for _, oriented in kinds], np.bool_),
        edges=np.array(reader.edges, np.float64).reshape(-1, 2, 3),
    )


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the number and the text of each line that is not empty."""
    try:
        size = path.stat().st_size
        if size > _MAX_BYTES:
            raise UserError(f"{path}: {size} bytes; expected at most {_MAX_BYTES}.")
        with path.open("rb") as file:  # universal newlines of text files know no binary input
            for number, raw in enumerate(file, start=1):
                if number > MAX_LINES:
                    raise UserError(
                        f"{path}, line {number}: more lines than any part has; expected at most "
                        f"{MAX_LINES}."
                    )
                if len(raw) > _MAX_LINE:
                    raise UserError(
                        f"{path}, line {number}: {len(raw)} bytes; expected at most {_MAX_LINE}."
                    )
                line = raw.decode("utf-8", "replace").lstrip("\ufeff").strip()
                if line:
                    yield number, line
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({os_reason(error)}).") from None


def _halves(quads: Doubles) -> Doubles:
    """Cut (n, 4, 3) quadrilaterals into (2n, 3, 3) triangles, the two of each side by side.

    The diagonal lies inside, which for a concave one only one of the two does.
    """
    first, second = quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]
    turned = (_normals(first) * _normals(second)).sum(axis=1) < 0
    first[turned], second[turned] = quads[turned][:, [1, 2, 3]], quads[turned][:, [1, 3, 0]]
    return np.stack([first, second], axis=1).reshape(-1, 3, 3)


def _normals(triangles: Doubles) -> Doubles:
    return np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
