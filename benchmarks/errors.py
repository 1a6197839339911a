"""A benchmark's mistakes as one line, as with the commands of gantrain."""

import sys
from collections.abc import Callable
from pathlib import Path

from gantrain.common.errors import UserError
from gantrain.common.program import report_failure


def run(name: str, main: Callable[[], None]) -> None:
    """Call a benchmark's `main`; end with one line for a UserError and for a missing package."""
    try:
        main()
    except (UserError, ModuleNotFoundError) as error:
        sys.exit(report_failure(f"benchmarks.{name}", error))


def require_set(shards: Path) -> None:
    """Raise UserError, which says how to make one, unless the folder is a set of shards."""
    if not (shards / "manifest.json").is_file():
        raise UserError(
            f"--shards {shards}: no set of shards; make one with `gantrain data render {shards}`, "
            "or give another with --shards FOLDER."
        )
