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


def counted(count: int, noun: str, plural: str = "") -> str:
    """Return `1 image` or `2 images`, or with a plural `2 classes`."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def describe_seconds(seconds: float) -> str:
    """Return a length of time in at most two units, such as `45 s`, `1 h 20 min` or `2 d 3 h`."""
    if seconds < 60:
        return f"{seconds:.0f} s" if round(seconds) < 60 else "1 min"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(round(seconds / 3600), 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def describe_wait(seconds: float) -> str:
    """Return `7 min`, `12 h` or `5.6 days`, whichever says how long to wait."""
    hours = seconds / 3600
    if hours < 2:
        return f"{seconds / 60:.0f} min"
    return f"{hours:.0f} h" if hours < 48 else f"{hours / 24:.1f} days"
