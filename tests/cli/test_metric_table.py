"""Which values the table of `gantrain evaluate` calls equal, and how wide it is."""

import pytest
from rich.console import Console

from gantrain.cli.metric_table import Column, like_best, like_floor, print_metrics

NAMES = ("quality/fid_lite0", "quality/classes_divergence", "quality/precision_classifier")


def column(label: str, *values: float, half: float = 0.1, data: str = "a") -> Column:
    scores = dict(zip(NAMES, values, strict=False))
    return Column(label, data, scores, {k: (v - half, v + half) for k, v in scores.items()})


def test_values_within_the_intervals_are_like_the_floor_or_the_best() -> None:
    floor = column("floor", 1.0, 1.0, 1.0)
    runs = [column("1", 1.1, 3.0, 0.9), column("2", 3.0, 3.1, 0.5)]
    assert like_floor(runs[0], [floor]) == [NAMES[0], NAMES[2]]
    assert like_floor(runs[1], [floor]) == []
    assert like_floor(column("3", 1.1, data="b"), [floor]) == []
    # Precision is better if it is higher.
    assert like_best(runs[0], runs) == list(NAMES)
    assert like_best(runs[1], runs) == [NAMES[1]]
    assert like_best(runs[0], runs[:1]) == []


def test_values_without_an_interval_are_like_no_other() -> None:
    plain = Column("1", "a", {NAMES[0]: 1.0}, {})
    assert like_floor(plain, [column("floor", 1.0)]) == []


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_table_is_as_wide_as_the_terminal(
    width: int, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [column(str(i), -0.000123456, 1234567.89, 0.5) for i in range(1, 5)]
    others = [column("floor", 1e-9, 1, 1), column("held-out", 1, 1)]
    print_metrics(Console(width=width), runs, others[:1], others[1:])
    *table, legend = capsys.readouterr().out.rstrip().splitlines()
    assert all(len(line) <= width for line in table)
    assert legend.startswith("Below each value its 95% interval.")
    text = "\n".join(table)
    for label in ("1", "4", "floor", "held-out"):
        assert f" {label} " in text
    assert "precision_classifier ↑" in text
