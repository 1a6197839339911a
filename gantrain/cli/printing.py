"""Output of commands: lines, tables and a progress bar."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from gantrain.common.text import printable

MAX_LINES = 50  # of a list of problems; the rest is only counted


def print_line(console: Console, text: str) -> None:
    """Print one line, which is neither wrapped nor read as markup."""
    console.print(printable(text), markup=False, highlight=False, soft_wrap=True)


def print_lines(console: Console, lines: Iterable[str]) -> None:
    """Print lines as `print_line` does."""
    for line in lines:
        print_line(console, line)


def print_rows(
    console: Console,
    title: str,
    columns: tuple[str, ...],
    rows: Iterable[tuple[str, ...]],
    *,
    limit: int | None = MAX_LINES,
) -> None:
    """Print a table under its title, with at most `limit` rows, or nothing if it has no rows."""
    rows = list(rows)
    if not rows:
        return
    print_line(console, f"{title}:")  # a title of the table itself would wrap at the table's width
    table = Table()
    for column in columns:
        table.add_column(escape(column), overflow="fold")
    for row in rows[:limit]:
        table.add_row(*(escape(printable(cell)) for cell in row))
    if limit is not None and len(rows) > limit:
        table.add_row(f"... and {len(rows) - limit} more")
    console.print(table)


@contextmanager
def show_progress(verb: str) -> Iterator[Callable[[int, int], None]]:
    """Yield a function of (done, total) that shows a progress bar on stderr and advances it."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    progress = Progress(
        *columns,
        console=console,
        transient=True,
        disable=not console.is_terminal,
        redirect_stdout=False,  # which may be a file
    )
    task = progress.add_task(verb, total=None)

    def advance(done: int, total: int) -> None:
        progress.start()  # not before: other output may come first
        progress.update(task, completed=done, total=total)
        if done == total:
            progress.stop()  # makes way for another one

    try:
        yield advance
    finally:
        progress.stop()
