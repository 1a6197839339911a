"""Times, memory and GPUs as Slurm writes them."""

import re

TIME_FORMS = (
    "minutes, minutes:seconds, hours:minutes:seconds, days-hours, days-hours:minutes, "
    "days-hours:minutes:seconds or UNLIMITED"
)
MAX_MINUTES = 35_000_000  # 66 years; Slurm counts the seconds in 32 bits
_MINUTES = re.compile(r"([0-9]+)")
_CLOCK = re.compile(r"(?:([0-9]+):)?([0-9]+):([0-9]+)")
_DAYS = re.compile(r"([0-9]+)-([0-9]+)(?::([0-9]+))?(?::([0-9]+))?")
_MEMORY = re.compile(r"[0-9]+(?:[KMGT]B?)?", re.IGNORECASE)
_GPUS = re.compile(r"(?:gpu:)?(?:(?P<any>[0-9]+)|(?P<type>[\w.-]+)(?::(?P<number>[0-9]+))?)")


def parse_time(value: object) -> int:
    """Return a time limit in minutes, rounded up; 0 is no limit, as for Slurm.

    value: a number of minutes, or text in one of Slurm's forms.

    Raises ValueError naming the forms.
    """
    minutes = _minutes(value)
    if minutes is None or minutes > MAX_MINUTES:
        raise ValueError(f"time: {value!r} found; expected {TIME_FORMS}")
    return minutes


def format_time(minutes: int) -> str:
    """Return a time limit as Slurm shows it."""
    if minutes == 0:
        return "UNLIMITED"
    days, rest = divmod(minutes, 24 * 60)
    return (f"{days}-" if days else "") + f"{rest // 60:02}:{rest % 60:02}:00"


def parse_memory(value: object) -> str:
    """Return memory as sbatch takes it; a number is MB.

    Raises ValueError naming the form.
    """
    text = str(value).strip()
    if isinstance(value, bool) or not _MEMORY.fullmatch(text):
        raise ValueError(
            f"mem: {value!r} found; expected a whole number of MB, or one with K, M, G or T, as in "
            "64G; 0 is all of a node's memory"
        )
    return text


def parse_gpus(value: object) -> tuple[str | None, int]:
    """Return the type (None: any) and the number in `4`, `a100:4`, `a100` or `gpu:a100:4`.

    Raises ValueError naming the forms.
    """
    match = None if isinstance(value, bool) else _GPUS.fullmatch(str(value).strip())
    if match is None or str(value).startswith("-"):
        raise ValueError(
            f"gpus_per_node: {value!r} found; expected a number, or a type and a number, as in "
            "a100:4"
        )
    if match["any"]:
        return None, int(match["any"])
    kind = None if match["type"] == "gpu" else match["type"]
    return kind, int(match["number"] or 1)


def _minutes(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return int(value) if value >= 0 and value % 1 == 0 else None
    text = str(value).strip()
    if text.upper() in ("UNLIMITED", "INFINITE"):
        return 0
    if match := _MINUTES.fullmatch(text):
        return int(match[1])
    days = hours = minutes = seconds = 0
    if match := _CLOCK.fullmatch(text):
        hours, minutes, seconds = (int(part or 0) for part in match.groups())
    elif match := _DAYS.fullmatch(text):
        days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    else:
        return None
    return (24 * days + hours) * 60 + minutes + -(-seconds // 60)
