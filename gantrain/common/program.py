"""What a program makes of its command line, and of an error that ends it."""

import re
import sys
import traceback
from pathlib import Path

from gantrain.common.access import explain
from gantrain.common.errors import BUG_STATUS, USER_ERROR_STATUS, UserError
from gantrain.common.extras import describe_missing

# RuntimeErrors of torch for the CPU and for GPUs.
_OUT_OF_MEMORY = re.compile("can't allocate memory|out of memory", re.IGNORECASE)


def report_failure(program: str, error: Exception, *, debug: bool = False) -> int:
    """Print what ended a program to stderr, and return its exit status.

    A UserError, an error of the operating system such as a missing permission or a full disk,
    exhausted memory and a package that is not installed are one line. Any other exception is a
    mistake in this project: its traceback is printed.

    debug: print the traceback of the former as well.
    """
    match error:
        case UserError():
            message, status = str(error), error.exit_status
        case OSError():
            message, status = explain(error), USER_ERROR_STATUS
        case _ if isinstance(error, MemoryError) or _OUT_OF_MEMORY.search(str(error)):
            message = "not enough memory; ask for fewer or smaller images, or free some memory."
            status = USER_ERROR_STATUS
        case _ if missing := describe_missing(error):
            message, status = missing, USER_ERROR_STATUS
        case _:
            debug, status = True, BUG_STATUS
            message = (
                f"this is a bug of gantrain ({type(error).__name__}); please report it, with the "
                "lines above and the command."
            )
    if debug:
        traceback.print_exception(error)
    print(f"{program}: {message}", file=sys.stderr)
    return status


def expand_home(word: str) -> str:
    """Return a word of a command line with the `~` of `--option=~/…` expanded.

    Shells expand only a `~` that begins a word.
    """
    option, sign, value = word.partition("=")
    if not sign or not re.fullmatch(r"--[a-z-]+", option) or not value.startswith("~"):
        return word
    try:
        return f"{option}={Path(value).expanduser()}"
    except RuntimeError:  # no such user
        return word
