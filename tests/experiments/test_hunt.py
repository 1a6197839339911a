"""The runs of the hunt, their halves, the faults that no setting makes, and the confusion table."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from experiments.hunt import faults
from experiments.hunt.data import open_set
from experiments.hunt.draws import all_runs, fourth_draw, half_of, third_draw
from experiments.hunt.plan import NEIGHBOURS, HuntedRun, sick
from experiments.hunt.report import (
    confusion_table,
    health,
    left_out_table,
    missed_table,
    summary,
)
from experiments.hunt.shipped import SETS, fifth_draw
from experiments.hunt.train import config_tree
from experiments.hunt.verdicts import Verdict, counted, judge
from experiments.training import mark_as_ended, train_in
from gantrain.config import DcganGeneratorConfig, parse_config
from gantrain.data.shards.manifest import load_manifest
from gantrain.health.problems import ADVICE, NO_FAULT, Name
from gantrain.models.networks import Generator
from tests.conftest import small_tree
from tests.curves import curve
from tests.health.signals import HEALTHY


def test_there_are_enough_runs_of_every_kind_and_each_has_a_valid_config(tmp_path: Path) -> None:
    runs = all_runs()
    assert len({run.name for run in runs}) == len(runs)
    healthy = [run for run in runs if run.truth == "no fault seen"]
    assert len(healthy) >= 30
    assert len(runs) - len(healthy) >= 30
    named = ADVICE.keys() - {"classes ignored"}  # of conditional networks, which are not in it
    assert {run.truth for run in runs} == {*named, "no fault seen"}
    assert NEIGHBOURS.keys() == named
    for run in runs:
        tree = config_tree(run, tmp_path, 1, tmp_path)
        parse_config({**tree, "output": {**tree["output"], "run_dir": "run"}}, run.name)
    for group in (healthy, [run for run in runs if run not in healthy]):
        assert {run.kind for run in group} == {"dcgan", "wgan-gp", "hinge", "rpgan"}
        assert {run.data for run in group} >= {"bricks", "fashion", "shapes"}


def test_the_later_draws_are_for_the_report_and_have_every_kind_of_run() -> None:
    runs = third_draw()
    assert [run.name for run in runs] == [run.name for run in third_draw()]
    assert {half_of(run) for run in runs} == {"report"}
    later = fourth_draw()
    assert {half_of(run) for run in later} == {"well"}
    judged = fifth_draw()
    assert {half_of(run) for run in judged} == {"judged"}
    assert {run.truth for run in judged} == {NO_FAULT}
    assert {run.kind for run in judged} == {"dcgan", "wgan-gp", "hinge", "rpgan"}
    assert len(judged) > 40
    assert {run.data for run in judged} == set(SETS)
    assert {run.truth for run in later} == {NO_FAULT}
    assert len(later) > 30
    # The other draws were seen while the rules were written.
    others = [run for run in all_runs() if run not in [*runs, *later, *judged]]
    assert {run.data for run in judged}.isdisjoint({run.data for run in [*runs, *later, *others]})
    assert {half_of(run) for run in others} == {"tuning"}
    assert {run.data for run in later}.isdisjoint({run.data for run in [*runs, *others]})
    assert {run.data for run in runs}.isdisjoint({run.data for run in others})
    well = [run for run in runs if run.truth == NO_FAULT]
    assert len(well) >= 21
    assert len(runs) - len(well) >= 21
    assert {run.truth for run in runs} == {run.truth for run in others}
    assert {run.kind for run in well} == {"dcgan", "wgan-gp", "hinge", "rpgan"}
    steady = [run.tree["generator"]["learning_rate"] for run in runs if run.begins]
    assert steady
    assert max(steady) < 1e-3  # the rate at which runs lose their quality by themselves


def test_faults_change_what_a_generator_makes_and_are_undone() -> None:
    network = Generator(DcganGeneratorConfig(width=4, latent_size=16, norm="none"), 32, 1).eval()
    latents = torch.randn(64, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        plain = network(latents)
        with faults.half_range(0):
            assert torch.allclose(network(latents), plain / 2)
        with faults.few_images(0):
            assert len(network(latents).unique(dim=0)) <= 10
        with faults.saturated(0):
            assert torch.equal(network(latents), plain.sign())
        assert torch.equal(network(latents), plain)


def test_a_fault_begins_in_the_middle_of_a_run(shards: Path, tmp_path: Path) -> None:
    for name, at in (("never", 9.0), ("late", 0.08)):
        with faults.late_stop_of_d(at):
            train_in(tmp_path / name, small_tree(shards, tmp_path / name), seed=0)
    never, late = (curve(tmp_path / name) for name in ("never", "late"))
    assert never[:2] == late[:2]
    assert late[-1]["health/d_weight_change"] < 1e-9 < never[-1]["health/d_weight_change"]


def test_a_run_without_some_classes_is_measured_against_all(
    shards: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = tmp_path / "run"
    with caplog.at_level("INFO"), faults.missing_classes(0):
        train_in(run, small_tree(shards, run), seed=0)
    assert curve(run)
    (start,) = [text for text in caplog.messages if text.startswith("dcgan starts")]
    assert "120 images" in start  # of 200, without two of five classes


def test_sets_are_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.hunt.data._IMAGES", 16)
    for name, classes in (
        ("shapes", 8),
        ("constant", 8),
        ("dark", 8),
        ("shapes2", 6),
        ("shapes3", 10),
    ):
        folder, channels = open_set(name, tmp_path)
        assert channels == 3
        assert len(load_manifest(folder).classes) == classes
        assert open_set(name, tmp_path) == (folder, channels)


def test_the_first_alarm_after_the_fault_counts(tmp_path: Path) -> None:
    dead = HEALTHY | {"health/d_weight_change": 0.0}
    strong = HEALTHY | {"health/d_accuracy_real": 1.0, "health/d_accuracy_fake": 1.0}
    strong |= {"health/d_logit_margin": 11.0}
    runs: list[tuple[HuntedRun, list[dict[str, float]]]] = [
        (sick("right", "dead player", "bricks", "dcgan"), [dead] * 50),
        (sick("late", "dead player", "bricks", "dcgan", begins=0.5), [HEALTHY] * 25 + [dead] * 25),
        (sick("early", "dead player", "bricks", "dcgan", begins=0.5), [strong] * 30 + [dead] * 20),
        (sick("missed", "memorising", "bricks", "dcgan"), [HEALTHY] * 50),
        (HuntedRun("alarm", "bricks", "dcgan", "no fault seen"), [strong] * 50),
        (HuntedRun("well", "bricks", "dcgan", "no fault seen"), [HEALTHY] * 50),
    ]
    verdicts = []
    for run, lines in runs:
        mark_as_ended(tmp_path / run.name)
        records = [{"images_seen": 832 * (i + 1), **line} for i, line in enumerate(lines)]
        text = "".join(json.dumps(record) + "\n" for record in records)
        (tmp_path / run.name / "metrics.jsonl").write_text(text)
        verdicts.append(judge(run, tmp_path))
    assert [verdict.is_right for verdict in verdicts] == [True, True, False, False, False, True]
    assert 0.05 < verdicts[1].delay < 0.15
    assert verdicts[2].early == "discriminator too strong"
    table = confusion_table(verdicts)
    assert "| dead player | 3 | dead player 3 | 2 |" in table
    assert "| memorising | 1 | nothing 1 | 0 | - |" in table
    assert "| alarm | no fault seen | discriminator too strong |" in missed_table(verdicts)
    assert "2 of 4 sick runs" in summary(verdicts)
    assert "1 of 2 runs without a fault" in summary(verdicts)
    assert "No run without a fault has been measured" in health(verdicts)
    measured = [replace(verdicts[-1], fids=fids) for fids in ((80.0, 20.0, 30.0), (50.0, 40.0))]
    assert "0.59 (at most 0.80) times the first" in health(measured)
    assert "1.25 (at most 1.50) times the best" in health(measured)


def test_runs_count_if_their_quality_shows_what_their_settings_should_do() -> None:
    def run(truth: Name, begins: float = 0.0, data: str = "digits") -> HuntedRun:
        return HuntedRun("run", data, "dcgan", truth, begins=begins)

    def verdict(run: HuntedRun, *fids: float) -> Verdict:
        return Verdict(run, "", math.nan, fids=fids)

    well = run(NO_FAULT)
    strong, falling = run("discriminator too strong"), run("quality falling", begins=0.5)
    counts = [verdict(well, 100, 40, 50), verdict(well, 90, 60), verdict(run("dead player"), 9, 9)]
    counts += [verdict(strong, 100, 90), verdict(falling, 90, 50, 40, 95), verdict(strong)]
    others = [
        verdict(well, 100, 76),  # hardly better than at first
        verdict(well, 100, 20, 31),  # far worse than its best
        verdict(strong, 100, 75),  # not 1.5 times the 55 of the two that train well
        verdict(falling, 90, 70, 80, 95),  # was as bad before
        verdict(run("diverging", data="shapes3"), 9000.0),  # nothing to compare with
    ]
    assert counted([*others, *counts]) == counts
    assert "| run | did not train well | nothing |" in left_out_table(others)
    assert "| run | did not fall ill | nothing |" in left_out_table(others)


def test_digits_are_a_set(tmp_path: Path) -> None:
    folder, channels = open_set("digits", tmp_path)
    assert channels == 1
    assert sorted(load_manifest(folder).classes) == [str(digit) for digit in range(10)]
