"""Diagnoses of made-up and of recorded signals: what is said, when, and when it is taken back."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gantrain.config import parse_config
from gantrain.health import diagnosis as health
from gantrain.health.diagnosis import (
    QUIET_STEPS,
    WINDOW_STEPS,
    Diagnosis,
    HealthState,
    discriminator_leads,
    observe,
)
from tests.conftest import small_tree
from tests.curves import curve, events
from tests.launching import Train, write_config

Signals = dict[str, float]
STEP = 20  # generator steps of a log interval

WELL: Signals = {
    "loss/discriminator": 0.55,
    "loss/generator": 1.2,
    "health/d_accuracy_real": 0.8,
    "health/d_accuracy_fake": 0.8,
    "health/d_logit_margin": 2.0,
    "health/real_spread": 0.15,
    "health/fake_spread": 0.14,
    "health/d_grad_norm": 2.0,
    "health/g_grad_norm": 3.0,
}
STRONG = WELL | {
    "health/d_accuracy_real": 0.995,
    "health/d_accuracy_fake": 0.99,
    "health/d_logit_margin": 11.0,
    "loss/discriminator": 0.02,
}
CRITIC: Signals = {
    "loss/discriminator": -8.0,
    "loss/wasserstein": 9.0,
    "loss/penalty": 0.1,
    "health/d_accuracy_real": 1.0,
    "health/d_accuracy_fake": 0.99,
    "health/real_spread": 0.15,
    "health/fake_spread": 0.12,
    "health/d_grad_norm": 8.0,
    "health/g_grad_norm": 30.0,
}


def feed(
    state: HealthState, line: Signals, steps: range, kind: str = "dcgan"
) -> Iterator[tuple[int, Diagnosis]]:
    for at in steps:
        found = observe(state, kind, at, line)
        if found is not None:
            yield at, found


def diagnosed(line: Signals, kind: str = "dcgan") -> Diagnosis:
    """What is said of a run that is like this from the beginning."""
    ((_, found),) = feed(HealthState(), line, range(STEP, 1000, STEP), kind)
    return found


@pytest.mark.parametrize(
    ("changes", "name", "evidence", "advice"),
    [
        ({}, "healthy", "no sign", ""),
        (STRONG, "discriminator too strong", "at least 99%", "discriminator.dropout"),
        ({"health/fake_spread": 0.015}, "mode collapse", "10% as much", "objective.n_critic"),
        ({"loss/discriminator": 4.0}, "diverging", "4.00", "training.clip_norm"),
        ({"health/skipped_steps": 3.0}, "diverging", "not finite", "learning rates"),
        (
            {"health/d_logit_margin": 0.001, "health/g_grad_norm": 1e-5},
            "stalled",
            "stays at",
            "discriminator.width",
        ),
    ],
)
def test_each_illness_of_dcgan_has_its_name_evidence_and_advice(
    changes: Signals, name: str, evidence: str, advice: str
) -> None:
    found = diagnosed(WELL | changes)
    assert found.name == name
    assert evidence in found.evidence
    assert advice in found.advice


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "healthy"),  # though the critic tells all real from fake: it should
        ({"health/d_accuracy_fake": 1.0}, "healthy"),
        ({"loss/penalty": 300.0}, "diverging"),
        ({"health/fake_spread": 0.01}, "mode collapse"),
        ({"loss/wasserstein": 0.001, "health/g_grad_norm": 1e-4}, "stalled"),
    ],
)
def test_each_illness_of_wgan_gp_has_its_name(changes: Signals, name: str) -> None:
    assert diagnosed(CRITIC | changes, "wgan-gp").name == name


def test_nothing_is_said_at_the_start_nor_of_a_short_episode() -> None:
    state = HealthState()
    assert not list(feed(state, STRONG, range(STEP, QUIET_STEPS - WINDOW_STEPS, STEP)))
    said = dict(feed(state, WELL, range(QUIET_STEPS - WINDOW_STEPS, 600, STEP)))
    assert [found.name for found in said.values()] == ["healthy"]
    assert not list(feed(state, STRONG, range(600, 600 + WINDOW_STEPS - STEP, STEP)))
    assert not list(feed(state, WELL, range(700, 1000, STEP)))


def test_an_illness_comes_after_a_window_and_goes_after_a_window_of_health() -> None:
    state = HealthState()
    list(feed(state, WELL, range(STEP, 600, STEP)))
    ((came, found),) = feed(state, STRONG, range(600, 900, STEP))
    assert found.name == "discriminator too strong"
    assert came == 600 + WINDOW_STEPS - STEP
    ((gone, after),) = feed(state, WELL, range(900, 1400, STEP))
    assert after.name == "healthy"
    assert WINDOW_STEPS <= gone - 900 <= 2 * WINDOW_STEPS


def test_between_the_two_thresholds_it_neither_comes_nor_goes() -> None:
    between = STRONG | {"health/d_logit_margin": 5.0, "health/d_accuracy_fake": 0.94}
    state = HealthState()
    list(feed(state, WELL, range(STEP, 600, STEP)))
    assert not list(feed(state, between, range(600, 900, STEP)))
    list(feed(state, STRONG, range(900, 1200, STEP)))
    assert state.diagnosis == "discriminator too strong"
    assert not list(feed(state, between, range(1200, 2000, STEP)))
    assert state.diagnosis == "discriminator too strong"


def test_a_known_illness_stays_while_its_milder_signs_do_though_another_shows() -> None:
    state = HealthState()
    list(feed(state, WELL, range(STEP, 600, STEP)))
    list(feed(state, STRONG, range(600, 900, STEP)))
    alike = {"health/fake_spread": 0.01}
    milder = STRONG | alike | {"health/d_logit_margin": 5.0}
    assert not list(feed(state, milder, range(900, 1500, STEP)))
    assert discriminator_leads(state)
    fooled = WELL | alike | {"health/d_logit_margin": 0.1}
    ((_, after),) = feed(state, fooled, range(1500, 2000, STEP))
    assert after.name == "mode collapse"
    assert not discriminator_leads(state)


def test_parts_that_vanish_are_a_collapse_and_parts_that_come_late_are_none() -> None:
    def ends_at(shares: list[float]) -> str:
        state = HealthState()
        for i, share in enumerate(shares):
            observe(state, "dcgan", 200 * (i + 1), WELL | {"quality/parts_covered": share})
            list(feed(state, WELL, range(200 * (i + 1) + STEP, 200 * (i + 2), STEP)))
        return state.diagnosis

    assert ends_at([0.1, 0.3, 0.4, 0.8, 1.0]) == "healthy"
    assert ends_at([0.5, 0.9, 1.0, 0.5, 0.5]) == "mode collapse"
    assert ends_at([0.5, 0.9, 1.0, 0.5, 0.9]) == "healthy"


def test_copies_in_two_measurements_are_memorising() -> None:
    state = HealthState()
    copies = WELL | {"quality/memorisation": 0.9}
    list(feed(state, WELL, range(STEP, 400, STEP)))
    assert observe(state, "dcgan", 400, copies) is None
    found = observe(state, "dcgan", 420, copies)
    assert found is not None
    assert found.name == "memorising"
    assert "90% of the images" in found.evidence


def test_a_generator_that_gets_better_on_small_gradients_is_not_stalled() -> None:
    blind = WELL | {"health/d_logit_margin": 0.001, "health/g_grad_norm": 1e-4}
    state = HealthState()
    for at in range(STEP, 1200, STEP):
        line = blind | ({"quality/fid_brick": 1e5 / at} if at % 100 == 0 else {})
        observe(state, "dcgan", at, line)
    assert state.diagnosis == "healthy"


def test_images_that_were_always_alike_and_are_not_pushed_stand_and_have_not_collapsed() -> None:
    """A new generator's images are alike: it takes a move to tell that they became so."""
    still = WELL | {
        "health/d_logit_margin": 0.001,
        "health/g_grad_norm": 1e-3,
        "health/fake_spread": 0.01,
    }
    assert diagnosed(still).name == "stalled"
    state = HealthState()
    observe(state, "dcgan", STEP, still | {"health/fake_spread": 0.02})
    ((_, found),) = feed(state, still, range(2 * STEP, 1000, STEP))
    assert found.name == "mode collapse"
    state = HealthState()
    observe(state, "dcgan", STEP, still | {"health/fake_spread": 0.006})
    ((_, found),) = feed(state, still, range(2 * STEP, 1000, STEP))
    assert found.name == "mode collapse"


def test_logits_beyond_float32_and_a_penalty_that_swings_are_diverging() -> None:
    assert diagnosed(STRONG | {"health/d_logit_margin": 1e4}).name == "diverging"
    state = HealthState()
    for i in range(40):
        penalty = 0.2 if i % 5 == 0 else 900.0
        observe(state, "wgan-gp", STEP * (i + 1), CRITIC | {"loss/penalty": penalty})
    assert state.diagnosis == "diverging"


def test_the_state_survives_a_checkpoint() -> None:
    whole, parted = HealthState(), HealthState()
    lines = [WELL] * 30 + [STRONG] * 9 + [WELL] * 9
    for i, line in enumerate(lines):
        parted = HealthState.model_validate_json(parted.model_dump_json())
        assert observe(whole, "dcgan", STEP * (i + 1), line) == observe(
            parted, "dcgan", STEP * (i + 1), line
        )
    assert whole == parted


def test_a_run_tells_of_its_illness_on_the_line_in_its_events_and_its_curve(
    shards: Path, tmp_path: Path, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "QUIET_STEPS", 30)
    monkeypatch.setattr(health, "WINDOW_STEPS", 12)
    run = tmp_path / "run"
    tree = small_tree(
        shards,
        run,
        generator={"learning_rate": 1e-9},
        discriminator={"learning_rate": 1e-2, "norm": "none", "bias": True, "init": "glorot"},
        training={"total_kimg": 0.8},
    )
    done = train(write_config(tmp_path / "config.yaml", tree))
    assert done.returncode == 0
    (told,) = events(run, "diagnosis")
    assert told["diagnosis"] == "discriminator too strong"
    assert told["images_seen"] >= 30 * 16
    assert "label_flips" in told["advice"]
    assert "health: discriminator too strong: D is right on" in done.stderr
    assert "DISCRIMINATOR TOO STRONG" in done.stderr
    codes = [line["health/diagnosis"] for line in curve(run)]
    assert codes[0] == 0
    assert codes[-1] == 1
    quiet = small_tree(shards, tmp_path / "quiet", health={"remedy": False})
    assert parse_config(quiet, "test").health.remedy == "off"
