"""The planned runs of the experiments, and the statistics and tables of their results."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from experiments.__main__ import MODULES, main
from experiments.remedies.plan import PlannedRun, all_runs, base_config
from experiments.remedies.report import correlation_with_fid, diagnoses_table
from experiments.remedies.results import rank_correlation, read_results
from experiments.tables import format_median_and_range, update_tables
from experiments.training import merge
from gantrain.config import parse_config
from gantrain.health.problems import ADVICE


def test_every_run_has_a_unique_name_and_a_valid_config(tmp_path: Path) -> None:
    runs = all_runs()
    assert len({run.name for run in runs}) == len(runs)
    for run in runs:
        tree = merge(base_config(tmp_path, tmp_path), run.changes, {"output": {"run_dir": "run"}})
        parse_config({**tree, "seed": run.seed}, run.name)


def test_the_diagnosis_runs_cover_every_problem_and_healthy_runs() -> None:
    truths = [run.truth for run in all_runs() if run.group == "diagnoses"]
    assert truths.count("no fault seen") >= 6
    assert len(truths) - truths.count("no fault seen") >= 12
    assert set(truths) <= {*ADVICE, "no fault seen"}
    assert len(set(truths)) >= 6


def test_the_rank_correlation_agrees_with_scipy() -> None:
    random = np.random.default_rng(0)
    for count in (3, 10, 50):
        x, y = random.normal(size=count), np.arange(count) // 2 * random.choice([-1, 1])
        expected = scipy.stats.spearmanr(x, y).statistic
        assert rank_correlation(x.tolist(), y.tolist()) == pytest.approx(expected, nan_ok=True)
    assert math.isnan(rank_correlation([1, 2], [1, 2]))


def test_medians_and_ranges_ignore_missing_values() -> None:
    assert format_median_and_range([3, 1, math.nan, 2]) == "2 (1 to 3)"
    assert format_median_and_range([math.nan]) == "-"


def test_the_first_alarm_decides_whether_a_diagnosis_is_right(tmp_path: Path) -> None:
    runs = [
        PlannedRun("diagnoses", "a", 0, truth="stalled"),
        PlannedRun("diagnoses", "b", 0, truth="no fault seen"),
        PlannedRun("diagnoses", "unfinished", 0, truth="no fault seen"),
    ]
    for run, codes in zip(runs, ([0, 4, 2, 2, 2], [0, 0, 1], [0]), strict=True):
        folder = tmp_path / run.name
        folder.mkdir()
        lines = [
            {"images_seen": 1000 * i, "health/diagnosis": code, "loss/generator": -i}
            | {"quality/fid_classifier": float(i)}
            for i, code in enumerate(codes)
        ]
        (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
        (folder / "events.jsonl").write_text("")
        if run.arm != "unfinished":
            (folder / "ended").touch()
    results = read_results(runs, tmp_path)
    assert [x.first_diagnosis for x in results] == ["stalled", "discriminator too strong"]
    assert results[0].alarms == {"mode collapse": 3, "stalled": 1}
    assert results[0].first_alarm_kimg == 1
    assert correlation_with_fid(results[0], "loss/generator") == pytest.approx(-1)
    text = diagnoses_table(results)
    assert "1 of 1 faulty" in text
    assert "alarms on 1 of 1 without a fault" in text


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
