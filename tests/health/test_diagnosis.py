"""Diagnoses of synthetic signals and of real runs: which one, when it starts, when it ends."""

from pathlib import Path

import pytest

from gantrain.config import parse_config
from gantrain.health import diagnosis as diagnosis_module
from gantrain.health.diagnosis import QUIET_STEPS, WINDOW_STEPS, discriminator_leads, observe
from gantrain.health.known import Known
from gantrain.health.state import HealthState
from tests.conftest import small_tree
from tests.curves import curve, events
from tests.health.signals import (
    CRITIC,
    HEALTHY,
    HINGE,
    PAIRED,
    STEP,
    STRONG,
    Signals,
    assert_diagnosed,
    diagnosed,
    feed,
)
from tests.launching import Train, write_config


@pytest.mark.parametrize(
    ("changes", "name", "evidence", "advice"),
    [
        ({}, "no fault seen", "no sign", ""),
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
def test_dcgan_problems_have_a_name_evidence_and_advice(
    changes: Signals, name: str, evidence: str, advice: str
) -> None:
    diagnosis = assert_diagnosed(HEALTHY | changes, name=name, evidence=evidence)
    assert advice in diagnosis.advice


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "no fault seen"),  # a critic should separate all real and fake images
        ({"health/d_accuracy_fake": 1.0}, "no fault seen"),
        ({"loss/penalty": 300.0, "loss/discriminator": 2991.0}, "diverging"),
        ({"loss/penalty": 300.0}, "penalty off"),
        ({"health/fake_spread": 0.01}, "mode collapse"),
        ({"loss/wasserstein": 0.001, "health/g_grad_norm": 1e-4}, "stalled"),
    ],
)
def test_wgan_gp_problems_have_a_name(changes: Signals, name: str) -> None:
    assert diagnosed(CRITIC | changes, "wgan-gp").name == name


MET_MARGINS: Signals = {
    "loss/discriminator": 0.002,
    "health/d_accuracy_real": 1.0,
    "health/d_accuracy_fake": 1.0,
    "health/d_logit_margin": 12.0,
}


@pytest.mark.parametrize(
    ("changes", "name", "evidence"),
    [
        ({}, "no fault seen", "no sign"),
        ({"health/d_logit_margin": 300.0}, "no fault seen", "no sign"),  # scores have no bound
        ({"loss/discriminator": 0.5, "health/d_accuracy_real": 1.0}, "no fault seen", "no sign"),
        (MET_MARGINS, "discriminator too strong", "its loss is 0.002"),
        # Nothing moves a D whose margins are all met.
        (MET_MARGINS | {"health/d_weight_change": 1e-9}, "discriminator too strong", "100% of"),
        # Nor do they tell anything of a G that cannot move.
        (MET_MARGINS | {"health/g_weight_change": 1e-11}, "dead player", "the generator stands"),
        ({"loss/discriminator": 5.0}, "diverging", "more than twice that of guessing"),
        ({"health/skipped_steps": 3.0}, "diverging", "not finite"),
        ({"health/fake_spread": 0.015}, "mode collapse", "10% as much"),
        ({"health/d_logit_margin": 0.001, "health/g_grad_norm": 1e-5}, "stalled", "stays at"),
    ],
)
def test_hinge_problems_have_a_name_and_evidence(
    changes: Signals, name: str, evidence: str
) -> None:
    assert_diagnosed(HINGE | changes, "hinge", name=name, evidence=evidence)


STRONG_IN_PAIRS: Signals = {
    "loss/discriminator": 0.003,
    "health/d_pair_accuracy": 0.998,
    "health/d_logit_margin": 9.0,
}


@pytest.mark.parametrize(
    ("changes", "name", "evidence"),
    [
        ({}, "no fault seen", "no sign"),
        # All pairs, but D's loss is not small: regularised, it is good and still teaches.
        ({"health/d_pair_accuracy": 1.0, "health/d_logit_margin": 4.0}, "no fault seen", "no sign"),
        ({"health/d_pair_accuracy": 0.95, "health/d_logit_margin": 9.0}, "no fault seen", ""),
        (STRONG_IN_PAIRS, "discriminator too strong", "in at least 100% of the pairs, by 9.0"),
        ({"health/d_logit_margin": 300.0}, "diverging", "its loss is 0 in float32"),
        ({"loss/discriminator": 3.0}, "diverging", "more than twice that of guessing"),
        ({"health/skipped_steps": 3.0}, "diverging", "not finite"),
        ({"health/fake_spread": 0.015}, "mode collapse", "10% as much"),
        (
            {"health/d_logit_margin": 0.001, "health/g_grad_norm": 1e-5},
            "stalled",
            "stays at",
        ),
    ],
)
def test_problems_of_relativistic_pairing_have_a_name_and_evidence(
    changes: Signals, name: str, evidence: str
) -> None:
    assert_diagnosed(PAIRED | changes, "rpgan", name=name, evidence=evidence)


def test_a_relativistic_d_that_is_too_strong_shows_in_losses_alone() -> None:
    losses = {"loss/discriminator": 0.01, "loss/generator": 6.0}
    assert diagnosed(losses, "rpgan").name == "discriminator too strong"
    fair = {"loss/discriminator": 0.4, "loss/generator": 1.5}
    assert diagnosed(fair, "rpgan").name == "no fault seen"


def test_no_diagnosis_at_the_start_or_of_a_short_episode() -> None:
    state = HealthState()
    assert not list(feed(state, STRONG, range(STEP, QUIET_STEPS - WINDOW_STEPS, STEP)))
    changes = feed(state, HEALTHY, range(QUIET_STEPS - WINDOW_STEPS, 600, STEP))
    assert [diagnosis.name for _, diagnosis in changes] == ["no fault seen"]
    assert not list(feed(state, STRONG, range(600, 600 + WINDOW_STEPS - STEP, STEP)))
    assert not list(feed(state, HEALTHY, range(700, 1000, STEP)))


def test_a_diagnosis_starts_and_ends_after_a_full_window() -> None:
    state = HealthState()
    list(feed(state, HEALTHY, range(STEP, 600, STEP)))
    ((start, problem),) = feed(state, STRONG, range(600, 900, STEP))
    assert problem.name == "discriminator too strong"
    assert start == 600 + WINDOW_STEPS - STEP
    ((end, after),) = feed(state, HEALTHY, range(900, 1400, STEP))
    assert after.name == "no fault seen"
    assert WINDOW_STEPS <= end - 900 <= 2 * WINDOW_STEPS


def test_between_the_two_thresholds_the_diagnosis_does_not_change() -> None:
    between = STRONG | {"health/d_logit_margin": 5.0, "health/d_accuracy_fake": 0.94}
    state = HealthState()
    list(feed(state, HEALTHY, range(STEP, 600, STEP)))
    assert not list(feed(state, between, range(600, 900, STEP)))
    list(feed(state, STRONG, range(900, 1200, STEP)))
    assert state.diagnosis == "discriminator too strong"
    assert not list(feed(state, between, range(1200, 2000, STEP)))
    assert state.diagnosis == "discriminator too strong"


def test_a_diagnosis_stays_above_its_milder_thresholds_even_if_another_problem_shows() -> None:
    state = HealthState()
    list(feed(state, HEALTHY, range(STEP, 600, STEP)))
    list(feed(state, STRONG, range(600, 900, STEP)))
    alike = {"health/fake_spread": 0.01}
    milder = STRONG | alike | {"health/d_logit_margin": 5.0}
    assert not list(feed(state, milder, range(900, 1500, STEP)))
    assert discriminator_leads(state)
    fooled = HEALTHY | alike | {"health/d_logit_margin": 0.1}
    ((_, after),) = feed(state, fooled, range(1500, 2000, STEP))
    assert after.name == "mode collapse"
    assert not discriminator_leads(state)


def test_classes_that_vanish_are_a_collapse_but_late_classes_are_not() -> None:
    def final_diagnosis(fractions: list[float]) -> str:
        state = HealthState()
        for i, fraction in enumerate(fractions):
            observe(state, "dcgan", 200 * (i + 1), HEALTHY | {"quality/classes_covered": fraction})
            list(feed(state, HEALTHY, range(200 * (i + 1) + STEP, 200 * (i + 2), STEP)))
        return state.diagnosis

    assert final_diagnosis([0.1, 0.3, 0.4, 0.8, 1.0]) == "no fault seen"
    assert final_diagnosis([0.5, 0.9, 1.0, 0.5, 0.5]) == "mode collapse"
    assert final_diagnosis([0.5, 0.9, 1.0, 0.5, 0.9]) == "no fault seen"


def test_copies_in_two_measurements_are_memorisation() -> None:
    state = HealthState()
    copies = HEALTHY | {"quality/memorisation": 0.9}
    list(feed(state, HEALTHY, range(STEP, 400, STEP)))
    assert observe(state, "dcgan", 400, copies) is None
    diagnosis = observe(state, "dcgan", 420, copies)
    assert diagnosis is not None
    assert diagnosis.name == "memorising"
    assert "90% of the images" in diagnosis.evidence


def test_a_generator_that_improves_on_small_gradients_is_not_stalled() -> None:
    weak = HEALTHY | {"health/d_logit_margin": 0.001, "health/g_grad_norm": 1e-4}
    state = HealthState()
    for g_steps in range(STEP, 1200, STEP):
        line = weak | ({"quality/fid_lite0": 1e5 / g_steps} if g_steps % 100 == 0 else {})
        observe(state, "dcgan", g_steps, line)
    assert state.diagnosis == "no fault seen"


def test_images_that_were_always_alike_without_gradients_are_a_stall_not_a_collapse() -> None:
    """The images of an untrained generator are alike: only a change shows that it collapsed."""
    still = HEALTHY | {
        "health/d_logit_margin": 0.001,
        "health/g_grad_norm": 1e-3,
        "health/fake_spread": 0.01,
    }
    assert diagnosed(still).name == "stalled"
    state = HealthState()
    observe(state, "dcgan", STEP, still | {"health/fake_spread": 0.02})
    *_, (_, diagnosis) = feed(state, still, range(2 * STEP, 1000, STEP))
    assert diagnosis.name == "mode collapse"
    state = HealthState()
    observe(state, "dcgan", STEP, still | {"health/fake_spread": 0.006})
    *_, (_, diagnosis) = feed(state, still, range(2 * STEP, 1000, STEP))
    assert diagnosis.name == "mode collapse"


def test_logits_beyond_float32_and_an_oscillating_penalty_are_divergence() -> None:
    assert diagnosed(STRONG | {"health/d_logit_margin": 1e4}).name == "diverging"
    state = HealthState()
    for i in range(40):
        penalty = 0.2 if i % 5 == 0 else 900.0
        line = {"loss/penalty": penalty, "loss/discriminator": 10 * penalty - 9}
        observe(state, "wgan-gp", STEP * (i + 1), CRITIC | line)
    assert state.diagnosis == "diverging"


def test_the_state_round_trips_through_a_checkpoint() -> None:
    uninterrupted, resumed = HealthState(), HealthState()
    lines = [HEALTHY] * 30 + [STRONG] * 9 + [HEALTHY] * 9
    for i, line in enumerate(lines):
        resumed = HealthState.model_validate_json(resumed.model_dump_json())
        assert observe(uninterrupted, "dcgan", STEP * (i + 1), line) == observe(
            resumed, "dcgan", STEP * (i + 1), line
        )
    assert uninterrupted == resumed


def test_a_run_reports_a_diagnosis_in_its_log_progress_line_events_and_metrics(
    shards: Path, tmp_path: Path, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagnosis_module, "QUIET_STEPS", 30)
    monkeypatch.setattr(diagnosis_module, "WINDOW_STEPS", 12)
    run = tmp_path / "run"
    tree = small_tree(
        shards,
        run,
        generator={"learning_rate": 1e-4},
        discriminator={"learning_rate": 1e-2, "norm": "none", "bias": True, "init": "glorot"},
        training={"total_kimg": 0.8},
    )
    done = train(write_config(tmp_path / "config.yaml", tree))
    assert done.returncode == 0
    (event,) = events(run, "diagnosis")
    assert event["diagnosis"] == "discriminator too strong"
    assert event["images_seen"] >= 30 * 16
    assert "label_flips" in event["advice"]
    assert "training: discriminator too strong: D is right on" in done.stderr
    assert "DISCRIMINATOR TOO STRONG" in done.stderr
    codes = [line["health/diagnosis"] for line in curve(run)]
    assert codes[0] == 0
    assert codes[-1] == 1
    off = small_tree(shards, tmp_path / "off", health={"remedy": False})
    assert parse_config(off, "test").health.remedy == "off"


def test_labels_that_the_config_seldom_flips_are_informative() -> None:
    """A D that guesses from the start, as before a slow start or under a fast G, has other ills."""
    guessing = HEALTHY | {"loss/discriminator": 0.692, "health/d_logit_margin": 0.1}
    for flips, name in ((None, "uninformative labels"), (0.45, "uninformative labels")):
        assert end_of(guessing, flips) == name
    for flips in (0.0, 0.15):
        assert end_of(guessing, flips) == "no fault seen"
        alike = guessing | {"health/fake_spread": 0.01, "health/g_grad_norm": 3.0}
        assert end_of(alike, flips) == "mode collapse"


def end_of(line: Signals, label_flips: float | None) -> str:
    """Return the diagnosis of a run whose signals are these from the beginning."""
    state = HealthState()
    for g_steps in range(STEP, 1000, STEP):
        observe(state, "dcgan", g_steps, line, known=Known(label_flips=label_flips))
    return state.diagnosis
