"""Networks that are trained once on each machine and kept in the scratch folder."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from gantrain.common.locks import exclusive_task, size_and_mtime

_TIMEOUT = 1800.0  # seconds to wait for another process that does it

Made = TypeVar("Made")


def load_or_make(
    path: Path, load: Callable[[], Made | None], make: Callable[[], Made], task: str
) -> Made:
    """Return what is kept in a file; if there is none, one process of this machine makes it.

    load: reads the file; None if it is missing or damaged. make: makes and saves it. task: what is
    done, for display.
    """
    found = load()
    if found is not None:
        return found
    with exclusive_task(
        path.with_suffix(".lock"), task, progress=lambda: size_and_mtime(path), timeout=_TIMEOUT
    ):
        found = load()
        return make() if found is None else found
