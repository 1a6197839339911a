"""The planned runs of the experiments, and the statistics and tables of their results."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from experiments.__main__ import MODULES, main
from experiments.remedies.plan import GROUPS, all_runs, base_config
from experiments.remedies.report import adjustments_table, arms_table
from experiments.remedies.results import rank_test, read_results
from experiments.tables import format_median_and_range, update_tables
from experiments.training import merge
from gantrain.config import parse_config


def test_every_run_has_a_unique_name_and_a_valid_config(tmp_path: Path) -> None:
    runs = all_runs()
    assert len({run.name for run in runs}) == len(runs)
    for run in runs:
        tree = merge(base_config(tmp_path, tmp_path), run.changes, {"output": {"run_dir": "run"}})
        parse_config({**tree, "seed": run.seed}, run.name)


def test_each_remedy_is_compared_with_none_on_the_same_seeds() -> None:
    for group in GROUPS:
        seeds = {arm: {run.seed for run in group.runs() if run.arm == arm} for arm in group.arms}
        assert {"none", "auto"} <= seeds.keys()
        assert len(seeds["none"]) >= 5
        assert all(each == seeds["none"] for each in seeds.values())


@pytest.mark.parametrize("digits", [0, 6], ids=["ties", "none"])
def test_the_rank_test_agrees_with_scipy(digits: int) -> None:
    random = np.random.default_rng(0)
    for sizes in ((5, 5), (2, 4), (6, 3)):
        one, other = (random.normal(size=size).round(digits).tolist() for size in sizes)
        expected = scipy.stats.permutation_test(
            (one, other),
            lambda x, y: abs(
                scipy.stats.rankdata([*x, *y])[: len(x)].sum() - len(x) * (len(x) + len(y) + 1) / 2
            ),
            vectorized=False,
            n_resamples=np.inf,
            alternative="greater",
        ).pvalue
        assert rank_test(one, other) == pytest.approx(expected)
        if digits:
            exact = scipy.stats.mannwhitneyu(one, other, method="exact").pvalue
            assert rank_test(one, other) == pytest.approx(exact)
    assert rank_test([1, 2, 3, 4, 5], [6, 7, 8, 9, 10]) == pytest.approx(2 / 252)
    assert math.isnan(rank_test([1, math.nan], [2, 3]))
    assert math.isnan(rank_test([], [1.0]))


def test_medians_and_ranges_ignore_missing_values() -> None:
    assert format_median_and_range([3, 1, math.nan, 2]) == "2 (1 to 3)"
    assert format_median_and_range([math.nan]) == "-"


def test_the_tables_show_the_end_of_each_arm_and_what_was_done(tmp_path: Path) -> None:
    group = GROUPS[0]
    runs = [run for run in group.runs() if run.arm in ("none", "auto")]
    for i, run in enumerate(runs[:-2]):
        folder = tmp_path / run.name
        folder.mkdir()
        better = 50 if run.arm == "auto" else 100
        lines: list[dict[str, float]] = [
            {"images_seen": 6000, "health/diagnosis": 0, "quality/fid_lite0": 500},
            {"images_seen": 8000, "health/diagnosis": 2},
            {"images_seen": 30000, "health/diagnosis": 0, "quality/fid_lite0": better + i}
            | {"quality/diversity": 0.5},
        ]
        (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
        event = {"event": "remedy", "images_seen": 9000, "setting": "g_rate", "after": 2.0}
        done = [json.dumps(event)] if run.arm == "auto" else []
        (folder / "events.jsonl").write_text("\n".join(done))
        if run.seed != runs[-3].seed:
            (folder / "ended").touch()
    results = read_results(runs, tmp_path)
    assert len(results) == 6
    table = arms_table(results, group)
    assert "| none | 3 | 102 (100 to 104) | - | 0.5 (0.5 to 0.5) | - | - | - |" in table
    assert "| auto | 3 | 53 (51 to 55) | 0.1 | 0.5 (0.5 to 0.5) | 1 | - | - |" in table
    assert "| 10 | mode collapse (8), no fault seen (30) | g_rate 2 (9) |" in adjustments_table(
        results, group
    )


def test_each_experiment_states_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    for name in MODULES:
        with pytest.raises(SystemExit) as ended:
            main([*name.split(), "--help"])
        assert ended.value.code == 0
        assert f"python -m experiments {name}" in capsys.readouterr().out


def test_an_unknown_experiment_is_an_error_that_lists_all(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["remedy"])
    assert ended.value.code == 2
    assert "remedies report" in capsys.readouterr().out


def test_tables_replace_only_what_is_between_their_marks(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text("a\n<!-- x -->\nold\n<!-- end -->\nb\n<!-- y -->\n<!-- end -->\nc\n")
    update_tables(document, {"y": "2", "x": "1"})
    text = "a\n<!-- x -->\n1\n<!-- end -->\nb\n<!-- y -->\n2\n<!-- end -->\nc\n"
    assert document.read_text() == text
    with pytest.raises(ValueError, match="substring not found"):
        update_tables(document, {"x": "3", "missing": "4"})
    assert document.read_text() == text
