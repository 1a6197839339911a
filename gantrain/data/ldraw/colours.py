"""LEGO's colours: of the library's LDConfig, or of a small table."""

import re
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from gantrain.common.errors import UserError, os_reason

_LINE = re.compile(r"0\s+!COLOUR\s+(\S+)\s+CODE\s+(\d+)\s+VALUE\s+#([0-9A-Fa-f]{6})\b(.*)")
_SPECIAL = re.compile(r"\b(ALPHA|CHROME|PEARLESCENT|RUBBER|MATTE_METALLIC|METAL|MATERIAL)\b")
_INHERITED = {16, 24}  # codes that stand for the colour of the part and of its edges


@dataclass(frozen=True)
class Colour:
    """A colour of LEGO parts.

    code: of the LDraw format.
    name: as in LDConfig, such as `Bright_Green`.
    rgb: sRGB, 0 to 255.
    """

    code: int
    name: str
    rgb: tuple[int, int, int]


# The most frequent opaque colours.
COLOURS = tuple(
    Colour(code, name, (value >> 16, value >> 8 & 255, value & 255))
    for code, name, value in (
        (0, "Black", 0x1B2A34),
        (1, "Blue", 0x1E5AA8),
        (2, "Green", 0x00852B),
        (4, "Red", 0xB40000),
        (6, "Brown", 0x543324),
        (14, "Yellow", 0xFAC80A),
        (15, "White", 0xF4F4F4),
        (19, "Tan", 0xB0A06F),
        (25, "Orange", 0xD67923),
        (27, "Lime", 0xA5CA18),
        (70, "Reddish_Brown", 0x5F3109),
        (71, "Light_Bluish_Grey", 0x969696),
        (72, "Dark_Bluish_Grey", 0x646464),
        (272, "Dark_Blue", 0x19325A),
        (320, "Dark_Red", 0x720012),
        (322, "Medium_Azure", 0x68C3E2),
    )
)


def read_colours(root: Path | None) -> tuple[Colour, ...]:
    """Return the plain opaque colours of the library's LDConfig.ldr, or `COLOURS` without one.

    root: the library's folder, or None if there is none.

    Raises UserError naming the file if it cannot be read or has no colours.
    """
    if root is None:
        return COLOURS
    try:
        names = {path.name.lower(): path for path in root.iterdir()}
        path = names.get("ldconfig.ldr")
        if path is None:
            return COLOURS
        lines = path.read_text("utf-8", "replace").splitlines()
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be read ({os_reason(error)}).") from None
    matches = [match for line in lines if (match := _LINE.match(line.strip()))]
    colours = tuple(
        Colour(int(code), name, (int(rgb[:2], 16), int(rgb[2:4], 16), int(rgb[4:], 16)))
        for name, code, rgb, rest in (match.groups() for match in matches)
        if int(code) not in _INHERITED and not _SPECIAL.search(rest)
    )
    if not colours:
        raise UserError(f"{path}: no line such as '0 !COLOUR Black CODE 0 VALUE #1B2A34 …'.")
    return colours


def choose_colours(names: str, known: tuple[Colour, ...]) -> tuple[Colour, ...]:
    """Return the colours of names or codes separated by commas, or all known ones for `all`.

    Raises UserError naming the closest colour if one is unknown, or if there is none.
    """
    words = [word.strip() for word in names.split(",") if word.strip()]
    if words == ["all"]:
        return known
    by_word = {_plain(colour.name): colour for colour in known}
    by_word |= {str(colour.code): colour for colour in known}
    chosen = []
    for word in words:
        if _plain(word) not in by_word:
            close = get_close_matches(_plain(word), by_word, 1, 0.0)[0]
            raise UserError(
                f"--colours: there is no plain colour {word!r}; the closest is "
                f"{by_word[close].name}. Known are all, "
                f"{', '.join(colour.name for colour in known)}, and their LDraw codes."
            )
        chosen.append(by_word[_plain(word)])
    if not chosen:
        raise UserError(f"--colours is {names!r}; expected all, or names such as red,blue.")
    return tuple(dict.fromkeys(chosen))


def _plain(name: str) -> str:
    return name.lower().replace("_", " ").replace("gray", "grey")
