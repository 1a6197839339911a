"""Command blocks of the documentation: which of them can be run, and what they should print.

A fenced block of shell commands after a comment such as

    <!-- runnable: quickstart
    train: training.total_kimg=1
    -->

is run by `tests/test_documented_commands.py`. Blocks of one page with the same name, here
quickstart, run one after the other in one folder. A line `COMMAND: WORDS` adds words to each
`gantrain COMMAND` of the block, so that it takes seconds. A block of plain text that follows is the
output. In it, and in a block of a console, whose commands begin with `$ `, numbers stand for any
numbers, `…` in a line for any text, and a line `…` for any lines.
"""

import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(
    r"(?:<!-- runnable: (?P<group>\S+)(?P<more>.*?)-->\s*)?"
    r"^```(?P<kind>sh|bash|console)\n(?P<text>.*?)^```$"
    r"(?:\s*^```text\n(?P<output>.*?)^```$)?",
    re.DOTALL | re.MULTILINE,
)
_NUMBER = re.compile(r"(?<![A-Za-z])[-+±]?\d[\d,]*(?:\.\d+)?(?:[eE][-+]?\d+)?|\bnan\b|\binf\b")
_ANY_NUMBER = "#"


@dataclass(frozen=True)
class Step:
    """Commands of a shell, and what they print; None: not documented."""

    commands: str
    output: str | None


@dataclass(frozen=True)
class Block:
    """A block of commands, in the order of its page. group: empty if it cannot be run."""

    page: str
    group: str
    steps: tuple[Step, ...]


class DocumentationError(AssertionError):
    """A documented command fails, or prints something else."""


def blocks_of(page: str, text: str) -> Iterator[Block]:
    """Yield the command blocks of a page, with the words that its comments add."""
    for match in _BLOCK.finditer(text):
        added = dict(_added_words(match["more"] or ""))
        if match["kind"] == "console":
            steps = tuple(_steps_of_console(match["text"]))
        else:
            steps = (Step(match["text"], match["output"]),)
        yield Block(
            page,
            match["group"] or "",
            tuple(Step(with_words(step.commands, added), step.output) for step in steps),
        )


def _added_words(text: str) -> Iterator[tuple[str, str]]:
    for line in filter(None, map(str.strip, text.splitlines())):
        command, _, words = line.partition(": ")
        yield command, words


def _steps_of_console(text: str) -> Iterator[Step]:
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command = re.match(r"(?:.*\\\n)*.*\n", part)
        assert command is not None
        yield Step(command[0], part[command.end() :])


def with_words(commands: str, added: Mapping[str, str]) -> str:
    """Return a script whose lines `gantrain COMMAND …` have the words that are added to COMMAND."""
    lines = []
    for line in commands.splitlines():
        for command, words in added.items():
            if re.match(rf"gantrain {command}\b", line):
                line = re.sub(r"(?=\s*(?:#.*)?$)", f" {words}", line, count=1)
        lines.append(line)
    return "\n".join(lines) + "\n"


def run_blocks(blocks: Sequence[Block], folder: Path, environment: Mapping[str, str]) -> None:
    """Run blocks one after the other, beginning in `folder`, as in one shell.

    Raises DocumentationError if one fails, or prints something that does not have the documented
    shape.
    """
    place = folder
    for block in blocks:
        for step in block.steps:
            # As in a shell, the next block begins where this one has gone.
            script = f"set -e\n{step.commands}pwd > {folder}/.place\n"
            result = subprocess.run(
                ["bash", "-c", script],
                cwd=place,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            what = f"{block.page}: {step.commands.strip()}\n{result.stdout}"
            if result.returncode != 0:
                raise DocumentationError(f"{what}\nexit status {result.returncode}")
            if step.output is not None and not has_shape(result.stdout, step.output):
                raise DocumentationError(f"{what}\ndocumented:\n{step.output}")
            place = Path((folder / ".place").read_text(encoding="utf-8").strip())


def has_shape(printed: str, documented: str) -> bool:
    """Return whether a command printed what is documented, apart from numbers and `…`."""
    lines = []
    for line in documented.strip().splitlines():
        if line.strip() == "…":
            lines.append(r"(?:.*\n)*?")
            continue
        parts = [re.escape(_masked(part)) for part in line.split("…")]
        lines.append(".*?".join(parts) + r"\n")
    text = "".join(_masked(line) + "\n" for line in printed.strip().splitlines())
    return re.fullmatch("".join(lines), text) is not None


def _masked(text: str) -> str:
    return " ".join(_NUMBER.sub(_ANY_NUMBER, text).split())
