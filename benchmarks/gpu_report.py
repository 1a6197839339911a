"""Format what `python -m benchmarks.gpu` has found as Markdown."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from benchmarks.stages import Outcome
from benchmarks.table import markdown_lines


def markdown(report: dict[str, Any]) -> str:
    """Return the page of a device."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: dict[str, Any]) -> Iterator[str]:
    device = dict(report["device"])
    yield f"# {device.pop('name')}"
    yield ""
    yield "Written by `make gpu`: " + ", ".join(f"{k} {v}" for k, v in device.items()) + "."
    yield ""
    yield "| stage | command | seconds | result |"
    yield "|---|---|---|---|"
    for stage in report["stages"]:
        result = Outcome(**stage).describe()
        yield f"| {stage['name']} | `{stage['command']}` | {stage['seconds']:.0f} | {result} |"
    for stage in report["stages"]:
        if stage["output"]:
            yield from _verbatim(f"The end of the output of: {stage['name']}", stage["output"])
    yield from _test_lines(report["tests"])
    yield from _cell_lines(report["cells"])
    if report["limit"]:
        yield from _verbatim("Convolutions alone", "\n".join(report["limit"]))


def _verbatim(title: str, text: str) -> Iterator[str]:
    yield from ("", f"## {title}", "", "```", text, "```")


def _test_lines(tests: list[dict[str, str]]) -> Iterator[str]:
    yield ""
    yield "## Tests"
    yield ""
    counts = Counter(test["outcome"] for test in tests)
    yield ", ".join(f"{number} {outcome}" for outcome, number in counts.items()) or "No result."
    yield ""
    for test in tests:
        reason = f": {test['reason']}" if test["reason"] else ""
        yield f"- {test['outcome']}: `{test['name']}`{reason}"


def _cell_lines(cells: list[dict[str, Any]]) -> Iterator[str]:
    yield ""
    yield "## Training"
    yield ""
    if not cells:
        yield "No result."
        return
    yield "Images/s; GB: the peak that torch's allocator reserved. On the CPU: of the processes."
    yield ""
    yield from markdown_lines(cells)
