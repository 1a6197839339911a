"""Remedies: one knob at a time, within bounds, taken back, exact after a stop, alike on ranks."""

import itertools
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from gantrain.common.rng import PositionalRNG
from gantrain.config import Config
from gantrain.health import diagnosis as health
from gantrain.health import remedies
from gantrain.health.diagnosis import WINDOW_STEPS, Name
from gantrain.health.overrides import Overrides
from gantrain.health.remedies import Adjustment, RemedyState, choose_adjustment
from tests.conftest import WGAN_GP, small_config, small_tree
from tests.curves import assert_same_end, curve, events
from tests.launching import Train, write_config

STEP = 20
AT = PositionalRNG(0, 0, 4000)


def config_with(**sections: dict[str, Any]) -> Config:
    return small_config(Path("none"), Path("run"), **sections)


def turns_of(
    state: RemedyState, name: Name, steps: range, config: Config | None = None
) -> list[Adjustment]:
    settings = config or config_with()
    found = [choose_adjustment(state, name, at, settings) for at in steps]
    return [turn for turn in found if turn is not None]


def test_one_knob_at_a_time_each_with_time_to_answer_and_none_beyond_its_bound() -> None:
    state = RemedyState()
    turns = turns_of(state, "discriminator too strong", range(300, 5000, STEP))
    order = (
        ["g_rate"] * 2
        + ["d_rate"] * 4
        + ["label_noise"] * 3
        + ["label_flips"] * 3
        + ["dropout"] * 3
    )
    assert [turn.knob for turn in turns] == order
    times = [turn.g_steps for turn in turns]
    assert min(b - a for a, b in itertools.pairwise(times)) >= WINDOW_STEPS
    assert asdict(state.overrides) == pytest.approx(
        {"d_rate": 0.1, "g_rate": 4.0, "dropout": 0.3, "label_noise": 0.3, "label_flips": 0.15}
    )


@pytest.mark.parametrize("name", ["mode collapse", "diverging", "stalled", "memorising"])
def test_the_knobs_of_every_illness_stay_within_their_bounds(name: Name) -> None:
    state = RemedyState()
    assert turns_of(state, name, range(300, 20_000, STEP))
    overrides = state.overrides
    assert 0.1 <= overrides.d_rate <= 8
    assert 0.1 <= overrides.g_rate <= 4
    assert 0 <= overrides.dropout <= 0.3
    assert turns_of(state, name, range(20_000, 30_000, STEP)) == []


def test_a_collapse_before_a_leading_discriminator_is_treated_by_a_faster_generator() -> None:
    config = config_with()
    for leads, knob, after in ((False, "d_rate", 2), (True, "g_rate", 2)):
        turn = choose_adjustment(RemedyState(), "mode collapse", 300, config, d_leads=leads)
        assert turn is not None
        assert (turn.knob, turn.after) == (knob, after)


def test_health_takes_the_turns_back_and_a_relapse_makes_that_slower() -> None:
    state = RemedyState()
    turns_of(state, "discriminator too strong", range(300, 450, STEP))
    assert [turn.after for turn in state.turns] == [2, 4]
    back = turns_of(state, "healthy", range(450, 1400, STEP))
    assert [(turn.knob, turn.after) for turn in back] == [("g_rate", 2), ("g_rate", 1)]
    assert state.overrides == Overrides()
    turns_of(state, "discriminator too strong", range(1400, 1460, STEP))
    assert not turns_of(state, "healthy", range(1460, 1980, STEP))
    assert turns_of(state, "healthy", range(1980, 2100, STEP))


def test_the_critic_of_wgan_gp_is_given_no_labels_and_the_config_counts_towards_the_bounds() -> (
    None
):
    critic = config_with(**WGAN_GP)
    turned = turns_of(RemedyState(), "discriminator too strong", range(300, 9000, STEP), critic)
    assert {turn.knob for turn in turned} == {"g_rate", "d_rate", "dropout"}
    noisy = config_with(
        objective={"label_noise": 0.4, "label_flips": 0.4}, discriminator={"dropout": 0.5}
    )
    turned = turns_of(RemedyState(), "discriminator too strong", range(300, 9000, STEP), noisy)
    assert {turn.knob for turn in turned} == {"g_rate", "d_rate"}


def test_a_treated_run_logs_its_turns_and_goes_on_exactly_after_a_stop(
    shards: Path, tmp_path: Path, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D is far too strong from the start; overrides turn from 30 generator steps on."""
    monkeypatch.setattr(health, "QUIET_STEPS", 30)
    monkeypatch.setattr(health, "WINDOW_STEPS", 12)
    monkeypatch.setattr(remedies, "WINDOW_STEPS", 12)
    configs = {}
    for name in ("whole", "parted"):
        tree = small_tree(
            shards,
            tmp_path / name,
            generator={"learning_rate": 1e-9},
            discriminator={"learning_rate": 1e-2, "norm": "none", "bias": True, "init": "glorot"},
            training={"total_kimg": 1.12},
            health={"remedy": "auto"},
        )
        configs[name] = write_config(tmp_path / f"{name}.yaml", tree)
    assert train(configs["whole"]).returncode == 0
    turns = events(tmp_path / "whole", "remedy")
    assert [turn["knob"] for turn in turns[:2]] == ["g_rate", "g_rate"]
    assert len(turns) >= 3
    assert turns[0]["reason"] == "discriminator too strong"
    for total in (0.4, 0.576, 0.848, 1.12):
        assert train(configs["parted"], f"training.total_kimg={total}").returncode == 0
    assert_same_end(tmp_path / "whole", tmp_path / "parted")
    told = {(t["knob"], t["after"], t["g_steps"]) for t in events(tmp_path / "parted", "remedy")}
    assert told == {(t["knob"], t["after"], t["g_steps"]) for t in turns}
    # Without remedies the overrides are as the config has them, whatever the checkpoint says.
    assert train(configs["parted"], "training.total_kimg=1.2", "health.remedy=off").returncode == 0
    assert not any(k.startswith("remedy/") for k in curve(tmp_path / "parted")[-1])
