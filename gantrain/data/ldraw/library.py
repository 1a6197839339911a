"""A folder with an LDraw library: its files by name, and its parts as triangles.

A library is what https://library.ldraw.org offers as `complete.zip`, or a folder with the same
subfolders. Names are compared without regard to case, as the format demands.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gantrain.common.errors import UserError, os_reason
from gantrain.common.text import printable
from gantrain.data.ldraw.lines import MAIN_COLOUR, LdrawFile, Reference, read_file

SEARCHED = ("parts", "parts/s", "p", "p/48", "p/8", "unofficial/parts", "unofficial/p")
MAX_DEPTH = 32  # files within each other; the official library needs about ten
MAX_TRIANGLES = (
    2_000_000  # and lines of a part, with its subfiles; a baseplate of studs has about 100,000
)
MAX_MOVES = 8

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Triangles:
    """The surface of a file with everything that it refers to, in LDU, y down.

    corners: float64 (n, 3, 3); counter-clockwise from outside where `oriented`.
    colours: int64 (n,), colour codes; 16 is the colour of the part.
    oriented: bool (n,), whether the outside of each triangle is known.
    edges: float64 (k, 2, 3), the lines that are drawn along sharp edges.
    """

    corners: Doubles
    colours: NDArray[np.int64]
    oriented: NDArray[np.bool_]
    edges: Doubles


class Library:
    """The files of a library. Each is read once; the triangles of subfiles are kept.

    root: the folder, which has subfolders `parts` and `p`.

    Raises UserError if it has not.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._paths = _index(root)
        self._files: dict[str, LdrawFile] = {}
        self._triangles: dict[str, Triangles] = {}

    def part(self, number: str) -> LdrawFile:
        """Return the file of a part number such as `3001`, of the number it moved to if it did.

        Raises UserError if there is none, naming the most similar number.
        """
        return self._read(self._current_key(number))

    def _current_key(self, number: str) -> str:
        seen = [number]
        while True:
            key = self._key_of_part(seen[-1])
            file = self._read(key)
            if file.moved_to is None:
                return key
            if len(seen) > MAX_MOVES or file.moved_to in seen:
                raise UserError(
                    f"{file.path}, line 1: moved to {file.moved_to}, which moved in turn "
                    f"({' -> '.join(seen)}); expected at most {MAX_MOVES} moves to different parts."
                )
            seen.append(file.moved_to)

    def triangles(self, number: str) -> Triangles:
        """Return the surface of a part.

        Raises UserError naming the file and the line if a file of it is at fault: see `read_file`;
        or it refers to a file that is not in the library, to itself, to more than `MAX_DEPTH` files
        within each other, or has more than `MAX_TRIANGLES` triangles and lines.
        """
        return self._assembled(self._current_key(number), ())

    def _key_of_part(self, number: str) -> str:
        key = _key(number) if number.lower().endswith(".dat") else _key(f"{number}.dat")
        path = self._paths.get(key)
        if path is None or path.parent.name.lower() != "parts":
            known = [
                name.removesuffix(".dat")
                for name, path in self._paths.items()
                if path.parent.name.lower() == "parts"
            ]
            close = get_close_matches(number.lower(), known, 1, 0)
            hint = f"; the closest is {close[0]}" if close else ""
            raise UserError(
                f"There is no part {printable(number)!r} in the LDraw library {self.root}{hint}."
            )
        return key

    def _read(self, key: str) -> LdrawFile:
        if key not in self._files:
            self._files[key] = read_file(self._paths[key])
        return self._files[key]

    def _assembled(self, key: str, within: tuple[str, ...]) -> Triangles:
        if key in self._triangles:
            return self._triangles[key]
        file = self._read(key)
        pieces = [Triangles(file.triangles, file.colours, file.oriented, file.edges)]
        count = len(file.triangles) + len(file.edges)
        for reference in file.references:
            inner = self._key_of_reference(file, reference, (*within, key))
            piece = self._assembled(inner, (*within, key))
            count += len(piece.corners) + len(piece.edges)
            if count > MAX_TRIANGLES:
                raise _error(
                    file, reference, f"more than {MAX_TRIANGLES} triangles and lines up to here"
                )
            if len(piece.corners) or len(piece.edges):
                pieces.append(_placed(piece, reference))
        joined = _joined(pieces)
        if within:  # parts are many, and rarely refer to each other
            self._triangles[key] = joined
        return joined

    def _key_of_reference(
        self, file: LdrawFile, reference: Reference, within: tuple[str, ...]
    ) -> str:
        key = _key(reference.name)
        if key.startswith("/") or ":" in key or ".." in key.split("/"):
            raise _error(file, reference, f"{_quoted(reference)} leaves the library {self.root}")
        if key not in self._paths:
            raise _error(
                file,
                reference,
                f"there is no {_quoted(reference)} in the library {self.root} (searched "
                f"{', '.join(SEARCHED)}); expected a complete library",
            )
        if key in within:
            chain = " -> ".join((*within[within.index(key) :], key))
            raise _error(file, reference, f"{_quoted(reference)} contains itself ({chain})")
        if len(within) >= MAX_DEPTH:
            raise _error(
                file, reference, f"{len(within) + 1} files within each other; at most {MAX_DEPTH}"
            )
        return key


def _index(root: Path) -> dict[str, Path]:
    """Return the path of each file by its lower-case name, of the first folder that has it.

    Files of `parts/s`, `p/48` and `p/8` are also there as `s/NAME`, `48/NAME` and `8/NAME`.
    """
    folders = [(name, _subfolder(root, name)) for name in SEARCHED]
    found = {name for name, folder in folders if folder is not None}
    if not {"parts", "p"} <= found:
        inside = _subfolder(root, "ldraw")
        hint = f" Did you mean {inside}?" if inside is not None else ""
        raise UserError(
            f"{root} is not an LDraw library: expected a folder with the subfolders parts and p, "
            f"such as complete.zip of library.ldraw.org unpacks to.{hint}"
        )
    bounds = [folder.resolve() for _, folder in folders if folder is not None]
    paths: dict[str, Path] = {}
    for name, folder in folders:
        if folder is None:
            continue
        prefix = f"{name.rpartition('/')[2]}/" if name not in ("parts", "p") else ""
        for path in _data_files(folder):
            real = path.resolve() if path.is_symlink() else path
            if path is not real and not any(real.is_relative_to(bound) for bound in bounds):
                continue  # a link out of the library
            paths.setdefault(path.name.lower(), path)
            paths.setdefault(prefix + path.name.lower(), path)
    return paths


def _subfolder(root: Path, name: str) -> Path | None:
    """Return the subfolder of this name, without regard to case, or None if there is none."""
    folder = root
    for wanted in name.split("/"):
        try:
            entries = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
        except OSError as error:
            raise UserError(f"{folder}: cannot be read ({os_reason(error)}).") from None
        match = next((entry for entry in entries if entry.lower() == wanted), None)
        if match is None:
            return None
        folder = folder / match
    return folder


def _data_files(folder: Path) -> list[Path]:
    try:
        return sorted(
            Path(entry.path)
            for entry in os.scandir(folder)
            if entry.name.lower().endswith(".dat") and entry.is_file()
        )
    except OSError as error:
        raise UserError(f"{folder}: cannot be read ({os_reason(error)}).") from None


def _key(name: str) -> str:
    return name.replace("\\", "/").lower()


def _quoted(reference: Reference) -> str:
    return repr(printable(reference.name[:80]))


def _error(file: LdrawFile, reference: Reference, problem: str) -> UserError:
    return UserError(f"{file.path}, line {reference.line}: {problem}.")


def _placed(piece: Triangles, reference: Reference) -> Triangles:
    """Return the piece as a reference places it.

    A mirroring matrix turns the winding, INVERTNEXT the outside; a singular one has no outside.
    """
    corners = piece.corners @ reference.matrix.T + reference.origin
    determinant = float(np.linalg.det(reference.matrix))
    if (determinant < 0) != reference.inverted:
        corners = corners[:, ::-1]
    return Triangles(
        corners,
        np.where(piece.colours == MAIN_COLOUR, reference.colour, piece.colours),
        piece.oriented & (reference.clipped and determinant != 0),
        piece.edges @ reference.matrix.T + reference.origin,
    )


def _joined(pieces: Iterable[Triangles]) -> Triangles:
    pieces = list(pieces)
    return Triangles(
        np.concatenate([piece.corners for piece in pieces]),
        np.concatenate([piece.colours for piece in pieces]),
        np.concatenate([piece.oriented for piece in pieces]),
        np.concatenate([piece.edges for piece in pieces]),
    )
