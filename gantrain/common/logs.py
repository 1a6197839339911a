"""Log lines for the user: one handler for the loggers of this project.

Modules log to `logging.getLogger(__name__)`. Entry points call `configure_logging`; without it the
package follows whatever logging the calling program has set up.
"""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_PROJECT_LOGGERS = ("gantrain", "launch")


class UserHandler(logging.Handler):
    """Writes INFO and above of rank 0, and WARNING and above of the others, to stderr.

    write: replaces stderr while a live progress line is on the terminal.
    """

    def __init__(self, rank: int = 0) -> None:
        super().__init__(logging.INFO if rank == 0 else logging.WARNING)
        prefix = f"rank {rank}: " if rank else ""
        self.setFormatter(logging.Formatter(prefix + "%(message)s"))
        self.write: Callable[[str], None] | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line; what fails to print must not stop a training run."""
        try:
            line = self.format(record)
            if self.write is not None:
                self.write(line)
            else:
                # Looked up now, so that a redirected stderr gets the line.
                print(line, file=sys.stderr, flush=True)
        except Exception:
            self.handleError(record)


def configure_logging(rank: int = 0) -> None:
    """Send the project's log lines to the user; a second call replaces the handler of the first."""
    handler = UserHandler(rank)
    for name in _PROJECT_LOGGERS:
        logger = logging.getLogger(name)
        logger.setLevel(logging.INFO)
        for old in [h for h in logger.handlers if isinstance(h, UserHandler)]:
            logger.removeHandler(old)
        logger.addHandler(handler)


@contextmanager
def redirected_lines(write: Callable[[str], None]) -> Iterator[None]:
    """Within it, log lines go to `write`, which keeps a live progress line intact."""
    handlers = [
        handler
        for name in _PROJECT_LOGGERS
        for handler in logging.getLogger(name).handlers
        if isinstance(handler, UserHandler)
    ]
    for handler in handlers:
        handler.write = write
    try:
        yield
    finally:
        for handler in handlers:
            handler.write = None
