"""Text from outside, such as file names, for display."""

import unicodedata

_ESCAPED = ("Cc", "Cs", "Zl", "Zp")  # control characters, lone surrogates, line separators


def printable(text: str) -> str:
    """Return the text on one line: escape what would break lines or cannot be encoded."""
    if text.isprintable():
        return text
    return "".join(
        c.encode("unicode_escape").decode("ascii") if unicodedata.category(c) in _ESCAPED else c
        for c in text
    )
