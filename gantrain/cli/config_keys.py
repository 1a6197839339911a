"""`gantrain config`."""

import shutil
import textwrap
from collections.abc import Iterator
from typing import Annotated

import typer

from gantrain.config.reference import REQUIRED, Key, Table, reference, sections, select

_WIDEST = 100  # columns


def _complete(incomplete: str) -> list[str]:
    names = [*sections(), *(key.name for table in reference() for key in table.keys)]
    return [name for name in dict.fromkeys(names) if name.startswith(incomplete)]


def config(
    section: Annotated[
        str | None,
        typer.Argument(
            metavar="[SECTION|KEY]",
            help="Only this section, such as training, or this key.",
            autocompletion=_complete,
        ),
    ] = None,
) -> None:
    """Print every key of a config file: its default, the values that it takes, and what it does.

    Examples:

    gantrain config training

    gantrain config generator.learning_rate
    """
    width = min(shutil.get_terminal_size().columns, _WIDEST)
    tables = reference() if section is None else select(section)
    typer.echo("\n\n".join("\n".join(_lines(table, width)) for table in tables))


def _lines(table: Table, width: int) -> Iterator[str]:
    title = f"with {table.condition}" if table.condition else table.section
    if title:
        yield from textwrap.wrap(f"{title}: {table.meaning}" if table.meaning else title, width)
    for key in table.keys:
        yield from _lines_of(key, width)


def _lines_of(key: Key, width: int) -> Iterator[str]:
    shown = f"  # {REQUIRED}," if key.default == REQUIRED else f" {key.default}  #"
    line = f"{key.name}:{shown} {key.values}"
    yield from textwrap.wrap(line, width, initial_indent="  ", subsequent_indent=" " * 6 + "# ")
    yield from textwrap.wrap(
        f"{key.meaning}.", width, initial_indent=" " * 6, subsequent_indent=" " * 6
    )
