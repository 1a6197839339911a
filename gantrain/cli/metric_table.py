"""A table of measurements with their intervals, which says which values differ."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gantrain.cli.printing import print_line
from gantrain.common.statistics import Interval, differ
from gantrain.common.text import printable
from gantrain.config.quality import Ruler, goal_of

_NAME_WIDTH, _CELL_WIDTH = 24, 18  # with the space between columns
_LIKE_FLOOR, _LIKE_BEST = "°", "*"
_OF_CLASSIFIER = "quality/classes_accuracy"  # not of the images
_ARROWS = {"lowest": "↓", "highest": "↑", "near 1": "→1", None: ""}


@dataclass(frozen=True)
class Column:
    """One column: the label, and the scores and intervals by metric.

    data: the data set; columns of different sets are not compared.
    """

    label: str
    data: str
    scores: Mapping[str, float]
    intervals: Mapping[str, Interval]

    def differs(self, other: "Column", name: str) -> bool:
        """Return whether a metric differs by more than the intervals explain."""
        if not all(name in each.intervals for each in (self, other)):
            return True
        return differ(
            self.scores[name], self.intervals[name], other.scores[name], other.intervals[name]
        )


def like_floor(run: Column, floors: Sequence[Column]) -> list[str]:
    """Return the metrics of a run that do not differ from those of real images of its data set."""
    return [
        name
        for name in run.scores
        for floor in floors
        if floor.data == run.data and name != _OF_CLASSIFIER and not run.differs(floor, name)
    ]


def like_best(run: Column, runs: Sequence[Column]) -> list[str]:
    """Return the metrics in which a run is the best of those on its data set, or does not differ.

    Empty if there is no other run to compare with.
    """
    runs = [each for each in runs if each.data == run.data]
    names = []
    for name in run.scores if len(runs) > 1 else ():
        goal = goal_of(name)
        if goal is not None:
            rank = Ruler(name, goal).rank
            having = [each for each in runs if name in each.scores]
            best = min(having, key=lambda each: rank(each.scores[name]))
            if best is run or not run.differs(best, name):
                names.append(name)
    return names


def print_metrics(
    console: Console,
    runs: Sequence[Column],
    floors: Sequence[Column],
    others: Sequence[Column],
) -> None:
    """Print the metrics of runs beside the floor and other columns, as wide as the console.

    Columns that do not fit go into a table below.
    """
    columns = [*runs, *floors, *others]
    marks: dict[tuple[str, str], str] = {}
    for run in runs:
        for mark, marked in (
            (_LIKE_BEST, like_best(run, runs)),
            (_LIKE_FLOOR, like_floor(run, floors)),
        ):
            for name in marked:
                marks[run.label, name] = marks.get((run.label, name), "") + mark
    names = list(dict.fromkeys(name for column in columns for name in column.scores))
    per_table = max((console.width - _NAME_WIDTH) // _CELL_WIDTH, 1)
    for start in range(0, len(columns), per_table):
        chosen = columns[start : start + per_table]
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        table.add_column("metric", no_wrap=True)
        for column in chosen:
            table.add_column(Text(printable(column.label)), overflow="fold")
        for name in names:
            shown = [_cell(column, name, marks.get((column.label, name), "")) for column in chosen]
            arrow = _ARROWS[goal_of(name)]
            table.add_row(f"{name.removeprefix('quality/')} {arrow}", *shown)
        console.print(table)
    used = "".join(marks.values())
    legend = ["Below each value its 95% interval."]
    if _LIKE_FLOOR in used:
        legend.append(f"{_LIKE_FLOOR}: does not differ from real images (floor).")
    if _LIKE_BEST in used:
        legend.append(f"{_LIKE_BEST}: the best, or does not differ from it.")
    print_line(console, " ".join(legend))


def _cell(column: Column, name: str, mark: str) -> Text:
    if name not in column.scores:
        return Text("-")
    value = f"{column.scores[name]:.4g}{mark}"
    if name not in column.intervals:
        return Text(value)
    low, high = column.intervals[name]
    return Text.assemble(value, (f"\n{low:.3g}…{high:.3g}", "dim"))
