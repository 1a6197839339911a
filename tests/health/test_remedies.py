"""Remedies: bounded, one setting at a time, reverted without a fault, exact after a resume."""

import itertools
import json
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from gantrain.config import Config
from gantrain.health import diagnosis as diagnosis_module
from gantrain.health import remedies, remedy_state
from gantrain.health.diagnosis import WINDOW_STEPS, discriminator_wins
from gantrain.health.overrides import Overrides
from gantrain.health.problems import Name
from gantrain.health.remedies import choose_adjustment
from gantrain.health.remedy_state import Adjustment, RemedyState
from gantrain.health.state import HealthState
from tests.conftest import SNGAN, WGAN_GP, small_config, small_tree
from tests.curves import assert_same_end, curve, events
from tests.health.signals import CRITIC, HEALTHY, HINGE, STRONG, feed
from tests.launching import ROOT, Train, environment, launch_command, write_config

STEP = 20  # generator steps of a log interval


def config_with(**sections: dict[str, Any]) -> Config:
    return small_config(Path("none"), Path("run"), **sections)


def adjust(
    state: RemedyState, name: Name, steps: range, config: Config | None = None
) -> list[Adjustment]:
    """Return the adjustments of a run that has this diagnosis at these generator steps."""
    settings = config or config_with()
    chosen = [choose_adjustment(state, name, g_steps, settings) for g_steps in steps]
    return [adjustment for adjustment in chosen if adjustment is not None]


def test_settings_are_adjusted_one_at_a_time_with_time_to_respond_and_within_bounds() -> None:
    state = RemedyState()
    adjustments = adjust(state, "discriminator too strong", range(300, 5000, STEP))
    order = (
        ["g_rate"] * 2
        + ["d_rate"] * 4
        + ["label_noise"] * 3
        + ["label_flips"] * 3
        + ["dropout"] * 3
    )
    assert [adjustment.setting for adjustment in adjustments] == order
    times = [adjustment.g_steps for adjustment in adjustments]
    assert min(b - a for a, b in itertools.pairwise(times)) >= WINDOW_STEPS
    assert asdict(state.overrides) == pytest.approx(
        {"d_rate": 0.1, "g_rate": 4.0, "dropout": 0.3, "label_noise": 0.3, "label_flips": 0.15}
    )


@pytest.mark.parametrize(
    "name",
    ["mode collapse", "diverging", "stalled", "memorising"],
)
def test_the_remedies_of_every_problem_stay_within_their_bounds(name: Name) -> None:
    state = RemedyState()
    assert adjust(state, name, range(300, 20_000, STEP))
    overrides = state.overrides
    assert 0.1 <= overrides.d_rate <= 8
    assert 0.1 <= overrides.g_rate <= 4
    assert 0 <= overrides.dropout <= 0.3
    assert adjust(state, name, range(20_000, 30_000, STEP)) == []


def test_a_collapse_while_the_discriminator_leads_gets_a_faster_generator() -> None:
    config = config_with()
    for leads, setting, after in ((False, "d_rate", 2), (True, "g_rate", 2)):
        adjustment = choose_adjustment(RemedyState(), "mode collapse", 300, config, d_leads=leads)
        assert adjustment is not None
        assert (adjustment.setting, adjustment.after) == (setting, after)


def test_only_a_time_without_any_fault_counts_towards_a_reversion() -> None:
    state = RemedyState()
    adjust(state, "memorising", range(300, 320, STEP))
    for start in range(400, 2000, 200):  # a fault that comes and goes
        assert not adjust(state, "no fault seen", range(start, start + 100, STEP))
        assert not adjust(state, "never learnt", range(start + 100, start + 200, STEP))
    assert adjust(state, "no fault seen", range(2000, 2320, STEP))


def test_a_fall_of_the_quality_is_treated_only_while_the_discriminator_wins() -> None:
    config = config_with()
    name: Name = "quality falling"
    assert choose_adjustment(RemedyState(), name, 300, config, d_leads=True) is None
    adjustment = choose_adjustment(RemedyState(), name, 300, config, d_leads=True, d_wins=True)
    assert adjustment is not None
    assert (adjustment.setting, adjustment.after) == ("g_rate", 2)
    assert (adjustment.reason, adjustment.remedy) == (name, "discriminator too strong")


@pytest.mark.parametrize(
    ("line", "kind", "wins"),
    [
        (HEALTHY, "dcgan", False),
        (STRONG, "dcgan", True),
        (HINGE, "hinge", False),
        (STRONG, "hinge", True),
        (CRITIC, "wgan-gp", False),
        (STRONG, "another", False),
    ],
    ids=["balanced", "strong", "balanced-hinge", "strong-hinge", "critic", "unknown"],
)
def test_a_discriminator_wins_if_it_is_right_and_confident(
    line: dict[str, float], kind: str, wins: bool
) -> None:
    state = HealthState()
    list(feed(state, line, range(20, 400, 20), kind))
    assert discriminator_wins(state, kind) == wins


@pytest.mark.parametrize("name", ["quality falling", "never learnt", "dead player"])
def test_what_no_remedy_was_shown_to_help_gets_none(name: Name) -> None:
    assert adjust(RemedyState(), name, range(300, 5000, STEP)) == []


def test_adjustments_are_reverted_when_healthy_and_more_slowly_after_a_relapse() -> None:
    state = RemedyState()
    adjust(state, "discriminator too strong", range(300, 450, STEP))
    assert [adjustment.after for adjustment in state.adjustments] == [2, 4]
    reversions = adjust(state, "no fault seen", range(450, 1400, STEP))
    assert [(x.setting, x.after) for x in reversions] == [("g_rate", 2), ("g_rate", 1)]
    assert state.overrides == Overrides()
    adjust(state, "discriminator too strong", range(1400, 1460, STEP))
    assert not adjust(state, "no fault seen", range(1460, 1980, STEP))
    assert adjust(state, "no fault seen", range(1980, 2100, STEP))


@pytest.mark.parametrize("sections", [WGAN_GP, SNGAN], ids=["wgan-gp", "hinge"])
def test_objectives_without_labels_get_no_label_remedies(
    sections: dict[str, dict[str, Any]],
) -> None:
    config = config_with(**sections)
    adjustments = adjust(RemedyState(), "discriminator too strong", range(300, 9000, STEP), config)
    assert {x.setting for x in adjustments} == {"g_rate", "d_rate", "dropout"}


def test_label_noise_and_dropout_of_the_config_count_towards_the_bounds() -> None:
    config = config_with(
        objective={"label_noise": 0.4, "label_flips": 0.4}, discriminator={"dropout": 0.5}
    )
    adjustments = adjust(RemedyState(), "discriminator too strong", range(300, 9000, STEP), config)
    assert {x.setting for x in adjustments} == {"g_rate", "d_rate"}


def strong_d(shards: Path, run_dir: Path) -> dict[str, Any]:
    """A config of which D is far too strong from the start."""
    return small_tree(
        shards,
        run_dir,
        generator={"learning_rate": 2e-5},
        discriminator={"learning_rate": 1e-2, "norm": "none", "bias": True, "init": "glorot"},
        training={"total_kimg": 1.12},
        metrics={"every_kimg": 0.16, "samples": 32, "features": "random"},
        health={"remedy": "auto"},
    )


def test_a_run_with_remedies_logs_its_adjustments_and_resumes_exactly(
    shards: Path, tmp_path: Path, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first adjustment comes after 30 generator steps."""
    monkeypatch.setattr(diagnosis_module, "QUIET_STEPS", 30)
    monkeypatch.setattr(diagnosis_module, "WINDOW_STEPS", 12)
    monkeypatch.setattr(remedies, "WINDOW_STEPS", 12)
    monkeypatch.setattr(remedy_state, "RESPONSE_STEPS", 12)
    configs = {}
    for name in ("uninterrupted", "resumed"):
        tree = strong_d(shards, tmp_path / name)
        configs[name] = write_config(tmp_path / f"{name}.yaml", tree)
    assert train(configs["uninterrupted"]).returncode == 0
    adjustments = events(tmp_path / "uninterrupted", "remedy")
    done = [(x["setting"], x["after"], x["reason"]) for x in adjustments]
    assert done[:2] == [("g_rate", rate, "discriminator too strong") for rate in (2, 4)]
    assert done[2:4] == [
        ("g_rate", rate, "KID is no better after 2 measurements") for rate in (2, 1)
    ]
    for total in (0.4, 0.576, 0.848, 1.12):
        assert train(configs["resumed"], f"training.total_kimg={total}").returncode == 0
    assert_same_end(tmp_path / "uninterrupted", tmp_path / "resumed")
    keys = ("setting", "after", "g_steps")
    assert {tuple(event[k] for k in keys) for event in events(tmp_path / "resumed", "remedy")} == {
        tuple(event[k] for k in keys) for event in adjustments
    }
    # With remedy=off the overrides of the checkpoint are ignored.
    off = train(configs["resumed"], "training.total_kimg=1.2", "health.remedy=off")
    assert off.returncode == 0
    assert not any(k.startswith("remedy/") for k in curve(tmp_path / "resumed")[-1])


def test_two_ranks_make_the_same_adjustments_at_the_same_time(shards: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path / "config.yaml", strong_d(shards, tmp_path / "run"))
    command = launch_command(config, ranks=2, script=ROOT / "tests" / "early_remedies.py")
    changes = environment(GANTRAIN_RECORD=str(tmp_path))
    done = subprocess.run(
        command, env=changes, capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stderr
    one, other = ((tmp_path / f"adjusted-{rank}.jsonl").read_text() for rank in (0, 1))
    assert one == other
    assert len(one.splitlines()) == len(events(tmp_path / "run", "remedy"))
    (overrides, rates) = json.loads(one.splitlines()[0])
    assert overrides["g_rate"] == 2
    assert rates == pytest.approx([4e-5, 1e-2])
