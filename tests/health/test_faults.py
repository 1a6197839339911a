"""Each diagnosis that needs more than the losses: signals that raise it, and near misses."""

import json
import math
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gantrain.health.diagnosis import CHECKS, observe
from gantrain.health.known import Known
from gantrain.health.problems import ADVICE, CODES, Name
from gantrain.health.state import HealthState
from gantrain.health.trend import stops_early
from tests.health.signals import (
    CRITIC,
    HEALTHY,
    PAIRED,
    STEP,
    STRONG,
    Signals,
    assert_diagnosed,
    diagnosed,
    feed,
    measured,
)

YOUNG = 0.03


@pytest.mark.parametrize(
    ("changes", "name", "evidence"),
    [
        ({"health/real_spread": 0.0}, "unsuitable data", "all the same"),
        ({"health/real_range": 0.004, "health/fake_range": 0.004}, "unsuitable data", "1 of the"),
        ({"health/real_range": 0.2, "health/fake_range": 0.2}, "no fault seen", ""),
        ({"health/g_weight_change": 3e-11}, "dead player", "the generator stands still"),
        ({"health/d_weight_change": 0.0}, "dead player", "the discriminator stands still"),
        ({"health/g_weight_change": 1e-5}, "dead player", "the generator hardly moves"),
        ({"health/d_weight_change": 5e-5}, "dead player", "60 times less than the generator"),
        ({"health/d_weight_change": 1.2e-4}, "no fault seen", ""),  # 25 times
        ({"health/fake_saturated": 0.99}, "saturated output", "99% of the generated"),
        ({"health/fake_saturated": 0.8}, "no fault seen", ""),
        ({"health/fake_saturated": 0.99, "health/real_saturated": 0.97}, "no fault seen", ""),
        ({"health/fake_range": 0.45}, "saturated output", "50% of the range"),
        ({"health/fake_range": 0.6}, "no fault seen", ""),
        ({"health/fake_twins": 0.1}, "mode collapse", "about 10 different"),
        ({"health/fake_twins": 0.07}, "no fault seen", ""),
        ({"health/fake_twins": 0.1, "health/real_twins": 0.05}, "no fault seen", ""),
        (
            {"loss/discriminator": 0.692, "health/d_logit_margin": 0.2},
            "uninformative labels",
            "never differed by more than 0.2",
        ),
        ({"loss/discriminator": 0.62, "health/d_logit_margin": 0.2}, "no fault seen", ""),
    ],
)
def test_dcgan_signals_and_near_misses(changes: Signals, name: Name, evidence: str) -> None:
    diagnosis = assert_diagnosed(HEALTHY | changes, name=name, evidence=evidence)
    assert diagnosis.advice == ADVICE.get(name, "")


def test_a_discriminator_that_guesses_once_g_is_good_has_informative_labels() -> None:
    """Also if it never led by much: its loss was below that of guessing for a short time."""
    guessing = HEALTHY | {"loss/discriminator": 0.692, "health/d_logit_margin": 0.1}
    for before in (HEALTHY, guessing | {"loss/discriminator": 0.63}):
        state = HealthState()
        assert not list(feed(state, before, range(STEP, 100, STEP)))
        changes = feed(state, guessing, range(100, 1500, STEP))
        assert [change.name for _, change in changes] == ["no fault seen"]


@pytest.mark.parametrize(
    ("penalty", "weight", "name"),
    [(1.5, 1e-6, "penalty off"), (1.5, 10.0, "no fault seen"), (0.1, 0.0, "no fault seen")],
)
def test_the_weight_of_a_penalty_follows_from_the_losses(
    penalty: float, weight: float, name: Name
) -> None:
    loss = weight * penalty - CRITIC["loss/wasserstein"]
    line = {"loss/penalty": penalty, "loss/discriminator": loss}
    assert diagnosed(CRITIC | line, "wgan-gp").name == name


@pytest.mark.parametrize("spectral_norm", [None, True, False])
def test_a_penalty_without_weight_is_named_early_if_nothing_else_bounds_the_gradient(
    spectral_norm: bool | None,
) -> None:
    def name(penalty: float, weight: float) -> str:
        loss = weight * penalty - CRITIC["loss/wasserstein"]
        line = CRITIC | {"loss/penalty": penalty, "loss/discriminator": loss}
        state, known = HealthState(), Known(spectral_norm=spectral_norm)
        for g_steps in range(STEP, 500, STEP):
            observe(state, "wgan-gp", g_steps, line, known=known)
        return state.diagnosis

    assert name(1.5, 0.0) == "penalty off"
    assert name(0.1, 0.0) == ("penalty off" if spectral_norm is False else "no fault seen")
    assert name(0.1, 10.0) == name(0.005, 0.0) == "no fault seen"


@pytest.mark.parametrize(
    ("images", "name"), [(8, "unsuitable data"), (50, "no fault seen"), (None, "no fault seen")]
)
def test_too_few_images_are_named_though_no_metric_shows_it(images: int | None, name: str) -> None:
    state, evidence = HealthState(), ""
    for g_steps in range(STEP, 500, STEP):
        change = observe(state, "dcgan", g_steps, HEALTHY, known=Known(images=images))
        evidence = evidence or (change.evidence if change else "")
    assert state.diagnosis == name
    assert ("there are 8 images to train on" in evidence) == (images == 8)


def test_quality_that_fell_while_pixels_became_white_says_so() -> None:
    def evidence(fake: float, real: float) -> str:
        shares = {"health/fake_saturated": fake, "health/real_saturated": real}
        return measured([300, 80, 26, 90, 143], line=HEALTHY | shares)[1][-1].evidence

    said = "; 38% of the generated pixels are black or white, and 0% of the real ones"
    assert evidence(0.38, 0.0).endswith(said)
    assert evidence(0.9, 0.85).endswith("at 96 kimg")


@pytest.mark.parametrize("line", [None, HEALTHY])
def test_quality_that_fell_names_the_best_measurement(line: Signals | None) -> None:
    state, changes = measured([300, 80, 26, 90, 143], line=line)
    assert [change.name for change in changes] == ["no fault seen", "quality falling"]
    assert changes[-1].evidence == "FID is 143, 5.5 times worse than its best, 26 at 96 kimg"
    assert state.worse_since == 4 * 500 * 64
    _, recovered = measured([300, 80, 26, 90, 143, 28, 27], line=line)
    assert [change.name for change in recovered][-1] == "no fault seen"


@pytest.mark.parametrize(
    "values",
    [
        [300, 80, 26, 143, 27, 143],  # never twice in a row
        [300, 80, 26, 38, 38],
        [300, 200, 100, 80, 60, 59],
    ],
)
def test_quality_that_fell_once_or_a_little_is_no_fall(values: list[float]) -> None:
    _, changes = measured(values)
    assert [change.name for change in changes] == ["no fault seen"]


def test_a_fall_within_the_intervals_is_none() -> None:
    def changes(high: float) -> list[str]:
        state = HealthState()
        names: list[str] = []
        for i, (value, low, top) in enumerate([(9, 5, high), (14, 10, 18), (15, 11, 19)]):
            interval = {"interval/fid_lite0_low": low, "interval/fid_lite0_high": top}
            line = {"quality/fid_lite0": value, **interval}
            change = observe(state, "hinge", 1000 * (i + 1), line)
            names += [change.name] if change else []
        return names

    assert changes(high=13) == ["no fault seen"]
    assert changes(high=9.5) == ["no fault seen", "quality falling"]


def test_measurements_that_scatter_are_no_fall() -> None:
    """A generator that does not change, measured with an error of 15%, and one that then falls."""
    rng = random.Random(0)
    names = []
    for _ in range(100):
        flat = [30 * math.exp(rng.gauss(0, 0.15)) for _ in range(12)]
        names.append([change.name for change in measured([90, 60, 45, *flat])[1]][-1])
    assert names.count("quality falling") <= 5
    fallen = [30 * math.exp(rng.gauss(0, 0.15)) for _ in range(9)] + [110, 130, 150]
    assert measured(fallen)[1][-1].name == "quality falling"


@pytest.mark.parametrize(
    ("d_loss", "g_loss", "name"),
    [
        (0.01, 6.0, "discriminator too strong"),
        (0.01, 3.0, "no fault seen"),
        (0.4, 6.0, "no fault seen"),
    ],
)
def test_losses_alone_show_a_discriminator_that_is_too_strong(
    d_loss: float, g_loss: float, name: Name
) -> None:
    line = {"loss/discriminator": d_loss, "loss/generator": g_loss}
    assert diagnosed(line).name == name
    assert diagnosed(line, "other").name == "no fault seen"


def test_scores_with_other_goals_fall_as_well() -> None:
    _, changes = measured([1.2, 6.0, 3.0, 2.5], "quality/inception_score")
    assert changes[-1].name == "quality falling"
    _, changes = measured([0.4, -0.001, 0.002, 0.002], "quality/kid_lite0")
    assert [change.name for change in changes] == ["no fault seen"]


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ([380, 371, 385, 366, 372], "never learnt"),
        ([380, 300, 250, 200, 160], "no fault seen"),  # far, but improving
        ([90, 52, 50, 51, 50], "no fault seen"),  # flat, but near
        ([4.3e53, -3.1e68, -2.7e57, 7.9e64], "never learnt"),
        ([3300, 3200, 3400], "no fault seen"),  # too early to say
    ],
)
def test_quality_that_is_far_and_flat_was_never_learnt(values: list[float], name: Name) -> None:
    _, changes = measured(values)
    assert changes[-1].name == name


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "saturated output"),
        ({"health/fake_range": 0.65}, "saturated output"),
        ({"health/fake_range": 0.75}, "discriminator too strong"),
        ({"health/g_weight_change": 1e-4}, "discriminator too strong"),  # G is slow
    ],
)
def test_a_range_that_ends_at_a_bound_is_why_d_is_too_strong(changes: Signals, name: Name) -> None:
    assert diagnosed(STRONG | {"health/fake_range": 0.45} | changes).name == name


def test_a_range_that_changes_is_not_why_d_is_too_strong() -> None:
    state = HealthState()
    for i in range(50):
        line = STRONG | {"health/fake_range": 0.4 + 0.03 * (i % 2)}
        observe(state, "dcgan", STEP * (i + 1), line)
    assert state.diagnosis == "discriminator too strong"


@pytest.mark.parametrize(("first", "name"), [(0, "never learnt"), (130, "no fault seen")])
def test_metrics_without_a_limit_are_compared_with_an_untrained_generator(
    first: int, name: Name
) -> None:
    """A first measurement after a while is of a generator that may be good already."""
    state = HealthState()
    for i, value in enumerate([200, 180, 190, 185, 188, 187, 186]):
        observe(state, "hinge", first + 400 * i, {"quality/swd": float(value)})
    assert state.diagnosis == name


@pytest.mark.parametrize(
    ("features", "precision", "name"),
    [
        ("lite0", 0.0, "never learnt"),
        ("lite0", 0.1, "no fault seen"),
        ("classifier", 0.0, "no fault seen"),
    ],
)
def test_images_that_are_like_no_real_one_were_never_learnt(
    features: str, precision: float, name: Name
) -> None:
    nothing = {f"precision_{features}": [precision] * 6, f"coverage_{features}": [0.0] * 6}
    _, changes = measured([90.0] * 6, f"quality/fid_{features}", others=nothing)
    assert changes[-1].name == name


def test_few_classes_from_the_start_and_some_that_are_never_made() -> None:
    def name(covered: list[float], fid: float = 50, **others: list[float]) -> str:
        values = [fid] * len(covered)
        others["classes_covered"] = covered
        _, changes = measured(values, "quality/fid_lite0", HEALTHY, others=others)
        return changes[-1].name

    assert name([0.1] * 6) == "never learnt"
    alone = measured([0.2] * 6, "quality/classes_covered")[1]  # no distance was measured
    assert alone[-1].name == "never learnt"
    assert measured([500.0] * 6, "quality/fid_lite0")[1][-1].name == "never learnt"
    assert name([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]) == "no fault seen"
    assert name([0.5, 0.8, 0.8, 0.8, 0.8, 0.8]) == "mode collapse"
    assert name([0.5, 0.8, 0.9, 0.9, 0.9, 0.9]) == "no fault seen"
    # Images that show no class, as those of a young generator, do not say which classes it makes.
    few = [0.2] * 6
    assert name([0.1] * 6, classes_divergence=[2.3] * 6) == "never learnt"
    for fid, expected in ((100.0, "no fault seen"), (150.0, "never learnt")):
        found = measured(
            [fid] * 6, "quality/fid_classifier", HEALTHY, others={"classes_covered": few}
        )[1]
        assert found[-1].name == expected
    assert name(few, classes_divergence=[2.2] * 6) == "no fault seen"
    assert name(few, classes_divergence=[1.7] * 6) == "never learnt"
    assert name([0.0] * 6) == "no fault seen"
    full = [1.0] * 6
    good, none, some = [0.7] * 6, [0.0] * 6, [0.2] * 6
    assert name(full, precision_lite0=good, recall_lite0=none) == "mode collapse"
    assert name(full, precision_lite0=good, recall_lite0=some) == "no fault seen"
    squeezed = {"classes_covered": full, "precision_classifier": good, "recall_classifier": none}
    found = measured([50.0] * 6, "quality/fid_classifier", HEALTHY, others=squeezed)[1]
    assert found[-1].name == "no fault seen"
    # Images that are far from the data are not good, whatever their precision.
    assert name(full, fid=300, precision_lite0=good, recall_lite0=none) == "never learnt"


def test_a_network_that_becomes_faster_is_not_dead() -> None:
    """As while learning rates warm up."""
    state, names = HealthState(), []
    for g_steps in range(STEP, 1000, STEP):
        line = HEALTHY | {"health/d_weight_change": 2e-8 * g_steps, "health/g_weight_change": 2e-8}
        change = observe(state, "dcgan", g_steps, line | {"health/g_weight_change": 2e-8 * g_steps})
        names += [change.name] if change else []
    assert names == ["no fault seen"]


def test_a_discriminator_that_has_won_may_hardly_move() -> None:
    """Its gradients are tiny, so it is not D that is too slow."""
    won = STRONG | {"health/d_weight_change": 2e-5}
    assert diagnosed(won).name == "discriminator too strong"
    fooled = HEALTHY | {"health/d_weight_change": 3e-5, "health/g_weight_change": 2e-3}
    assert diagnosed(fooled).name == "dead player"
    slow_g = HEALTHY | {"health/d_weight_change": 1e-2, "health/g_weight_change": 5e-5}
    assert "200 times less than the discriminator" in diagnosed(slow_g).evidence


def test_a_young_run_is_not_collapsed() -> None:
    """The course of a critic on real data: alike for long, then ever more different."""
    state, names = HealthState(), []
    for i in range(80):
        line = CRITIC | {"health/fake_spread": 0.15 * min(YOUNG + max(0, i - 10) * 0.006, 0.9)}
        if i % 10 == 9:
            line |= {"quality/fid_lite0": 300.0 - 3 * i}
        change = observe(state, "wgan-gp", 13 * (i + 1), line, images_seen=4000 * (i + 1))
        names += [change.name] if change else []
    assert names == ["no fault seen"]
    # The same images for good are a collapse.
    for i in range(80, 160):
        line = CRITIC | {"health/fake_spread": 0.15 * YOUNG, "quality/fid_lite0": 300.0}
        observe(state, "wgan-gp", 13 * (i + 1), line, images_seen=4000 * (i + 1))
    assert state.diagnosis == "mode collapse"


def test_a_run_whose_images_begin_to_differ_fast_is_not_collapsed() -> None:
    """The course of rpgan on stacked digits, as logged every 63 generator steps."""
    state, names = HealthState(), []
    for i, spread in enumerate([0.0242, 0.0183, 0.0284, 0.0776, 0.18, 0.249, 0.311, 0.345, 0.4]):
        line = PAIRED | {"health/real_spread": 0.413, "health/fake_spread": spread}
        change = observe(state, "rpgan", 63 * (i + 1), line)
        names += [change.name] if change else []
    assert names == ["no fault seen"]


def test_an_early_stop_needs_a_fall_that_lasts() -> None:
    state, _ = measured([300, 26, 90, 143])
    assert stops_early(state, None) == ""
    assert stops_early(state, 33) == ""
    reason = stops_early(state, 32)
    assert "best, 26 at 64 kimg, for 32 kimg" in reason
    assert "guard.stop_after_worse_kimg=32" in reason
    assert stops_early(measured([300, 26, 90, 143, 30])[0], 1) == ""
    assert stops_early(measured([300, 26, 90])[0], 0) == ""


def test_every_problem_has_advice_a_code_of_its_own_and_a_check() -> None:
    problems = CODES.keys() - {"starting", "no fault seen"}
    assert ADVICE.keys() == problems == {check.name for check in CHECKS}
    codes = sorted(code for name, code in CODES.items() if name in problems)
    assert codes == list(range(1, len(problems) + 1))
    # Files of earlier versions contain these.
    old = ["discriminator too strong", "mode collapse", "diverging", "stalled", "memorising"]
    assert list(CODES)[2:7] == old
    assert list(CODES.values())[2:7] == [1, 2, 3, 4, 5]


NAMES = [
    *sorted({*HEALTHY, *CRITIC, *PAIRED, "health/skipped_steps"}),
    *(f"quality/{n}" for n in ("fid", "fid_lite0", "kid_random", "memorisation", "swd", "fid_")),
    *("quality/classes_covered", "quality/parts_covered", "quality/inception_score"),
    *("quality/precision_lite0", "quality/recall_lite0", "interval/fid_lite0_low"),
    *("interval/fid_lite0_high", "speed/x", "quality/", "loss/", "health/real_range"),
]
NUMBERS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0.0, -0.0, 1.0, 1e308, -1e308, 5e-324, 0.5]),
)
LINES = st.lists(
    st.tuples(st.integers(0, 400), st.dictionaries(st.sampled_from(NAMES), NUMBERS)), max_size=30
)


@settings(max_examples=150)
@given(LINES, st.sampled_from(["dcgan", "wgan-gp", "hinge", "rpgan"]))
def test_no_finite_numbers_are_an_error_and_the_state_resumes_exactly(
    lines: list[tuple[int, Signals]], kind: str
) -> None:
    state, resumed, steps = HealthState(), HealthState(), 0
    for more, line in lines:
        steps += more
        resumed = HealthState.model_validate_json(resumed.model_dump_json())
        change = observe(state, kind, steps, line, images_seen=steps * 64)
        assert change == observe(resumed, kind, steps, line, images_seen=steps * 64)
        stops_early(state, 1.0)
    assert state == resumed
    json.dumps(state.model_dump(), allow_nan=False)


@given(
    st.floats(1e-3, 1e5),
    st.lists(st.floats(0.5, 0.999), min_size=2, max_size=40),
    st.sampled_from(["fid", "fid_lite0", "kid_random", "swd"]),
    st.floats(0.01, 0.9),
)
def test_a_run_that_always_improves_raises_no_alarm(
    first: float, factors: list[float], metric: str, spread: float
) -> None:
    """At least 10% in each three measurements; its images are alike at first."""
    values = [first]
    for i, factor in enumerate(factors):
        values.append(values[-1] * (factor if i % 2 else min(factor, 0.9)))
    line = HEALTHY | {"health/fake_spread": 0.15 * spread}
    for beside in (None, line):
        state, changes = measured(values, f"quality/{metric}", beside, every=200)
        assert {change.name for change in changes} <= {"no fault seen", "mode collapse"}
        if len(values) >= 3 and beside is None:
            assert state.diagnosis != "mode collapse"


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_losses_that_are_not_finite_are_divergence(value: float) -> None:
    line: dict[str, Any] = {"loss/discriminator": value, "loss/generator": 1.0}
    assert diagnosed(line, "hinge").name == "diverging"


REST = {"health/g_rate_share": 0.01, "health/d_rate_share": 0.01}


@pytest.mark.parametrize("network", ["d", "g"])
def test_a_network_that_rests_as_its_schedule_asks_is_not_dead(network: str) -> None:
    still = HEALTHY | {f"health/{network}_weight_change": 0.0}
    assert diagnosed(still).name == "dead player"
    assert diagnosed(still | {f"health/{network}_rate_share": 1.0}).name == "dead player"
    assert diagnosed(still | {f"health/{network}_rate_share": 0.0}).name == "no fault seen"
    other = "g" if network == "d" else "d"
    assert diagnosed(still | {f"health/{other}_rate_share": 0.0}).name == "dead player"


@pytest.mark.parametrize("kind", ["dcgan", "wgan-gp"])
def test_a_training_that_rests_as_its_schedule_asks_is_not_stalled(kind: str) -> None:
    still = HEALTHY if kind == "dcgan" else CRITIC
    still = still | {"health/g_grad_norm": 0.001, "health/d_logit_margin": 0.01}
    still = still | {"loss/wasserstein": 0.01, "loss/discriminator": 0.6}
    assert diagnosed(still, kind).name == "stalled"
    assert diagnosed(still | REST, kind).name == "no fault seen"


def test_a_schedule_that_ends_at_0_raises_no_alarm_and_a_warm_up_neither() -> None:
    """Weights change in proportion to the rate, as with Adam."""
    ends = [max(0, 80 - i) / 80 for i in range(100)]
    for shares in (ends, [1 - share for share in ends]):
        state, changes = HealthState(), []
        for i, share in enumerate(shares):
            signals = {f"health/{n}_rate_share": share for n in "dg"}
            signals |= {f"health/{n}_weight_change": 3e-3 * share for n in "dg"}
            changes.append(observe(state, "dcgan", STEP * (i + 1), HEALTHY | signals))
        assert [change.name for change in changes if change] == ["no fault seen"]
