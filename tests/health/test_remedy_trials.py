"""Remedies by the measured quality: nothing is changed while it improves, and what did not help by
the next measurements is reverted. No setting is changed to and fro."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gantrain.health.diagnosis import WINDOW_STEPS
from gantrain.health.overrides import Overrides
from gantrain.health.problems import ADVICE, NO_FAULT, Name
from gantrain.health.remedies import choose_adjustment
from gantrain.health.remedy_state import Adjustment, RemedyState
from gantrain.health.trend import Trend, trend_of
from tests.conftest import small_config
from tests.health.signals import measured

STEP = 20  # generator steps of a log interval
EVERY = 400  # generator steps between measurements
CONFIG = small_config(Path("none"), Path("run"), metrics={"every_kimg": 6.4})
UNMEASURED = small_config(Path("none"), Path("run"))
FLAT = [100.0, 100.0, 101.0]


def trend(
    values: Sequence[float], metric: str = "quality/fid_lite0", every: int = EVERY
) -> Trend | None:
    """Return the trend after these measurements."""
    return trend_of(measured(values, metric, every=every)[0]) if values else None


def play(
    state: RemedyState,
    name: Name,
    values: Sequence[float],
    start: int = 1,
    metric: str = "quality/fid_lite0",
) -> list[Adjustment]:
    """Return the changes of a run that has this diagnosis after each of these measurements.

    The first is after measurement number `start`; 0 is before any.
    """
    made = []
    for count in range(start, len(values) + 1):
        quality = trend(values[:count], metric)
        for g_steps in range(EVERY * count, EVERY * (count + 1), STEP):
            if g_steps:
                made.append(choose_adjustment(state, name, g_steps, CONFIG, quality=quality))
    return [adjustment for adjustment in made if adjustment is not None]


IMPROVING: dict[str, list[float]] = {
    "quality/fid_lite0": [300, 200, 120, 80, 60, 50, 45],
    "quality/fid_inception": [120, 110, 101, 95, 90, 86, 82],
    "quality/kid_lite0": [0.2, 0.1, 0.05, 0.01, 0.001, -0.001, -0.002],
    "quality/inception_score": [1.2, 2, 3, 4, 5, 5.5, 6],
    "quality/swd": [150, 120, 100, 90, 80, 70, 65],
}


@pytest.mark.parametrize("metric", IMPROVING)
def test_nothing_changes_while_the_quality_improves(metric: str) -> None:
    values = IMPROVING[metric]
    for name in (*ADVICE, NO_FAULT):
        state = RemedyState()
        [first] = play(state, "discriminator too strong", [values[0]], start=1)[:1]
        before = state.model_dump(include={"overrides", "adjustments"})
        assert first.setting == "g_rate"
        assert play(state, name, values, start=2, metric=metric) == []
        assert state.model_dump(include={"overrides", "adjustments"}) == before
    # Once it no longer improves, something is done.
    assert play(RemedyState(), "mode collapse", [*values, *[values[-1]] * 3], start=9) != []


def test_nothing_changes_while_the_quality_improves_slowly() -> None:
    slowly = [100 * 0.988**i for i in range(24)]
    assert play(RemedyState(), "mode collapse", slowly, start=9) == []
    assert play(RemedyState(), "mode collapse", [*slowly, *[slowly[-1]] * 9], start=33) != []
    # A collapse after slow progress is not progress.
    assert play(RemedyState(), "mode collapse", [*slowly, 150], start=25) != []


def test_settings_that_did_not_help_are_reverted_and_not_tried_again() -> None:
    state = RemedyState()
    made = play(state, "mode collapse", [*FLAT, *[100.0] * 7], start=3)
    settings_of = [(x.setting, x.before, x.after, x.reason) for x in made]
    no_better = "FID is no better after 2 measurements"
    d_rate = [("d_rate", a, b, "mode collapse") for a, b in ((1, 2), (2, 4), (4, 8))]
    assert settings_of[:3] == d_rate
    assert settings_of[3:6] == [(s, b, a, no_better) for s, a, b, _ in reversed(d_rate)]
    # Only then comes the other setting, and goes the same way.
    assert {x.setting for x in made[6:]} == {"g_rate"}
    assert state.useless == ["mode collapse: d_rate", "mode collapse: g_rate"]
    assert state.overrides == Overrides()
    assert (state.adjustments, state.trial) == ([], None)
    assert play(state, "mode collapse", [*FLAT, *[100.0] * 12], start=12) == []
    # Another problem may have the same remedy.
    [again, *_] = play(state, "stalled", [*FLAT, *[100.0] * 13], start=16)
    assert again.setting == "d_rate"


def test_settings_that_helped_are_kept() -> None:
    state = RemedyState()
    made = play(state, "mode collapse", [*FLAT, 80, 70, 60], start=3)
    assert [x.after for x in made] == [2, 4, 8]
    assert all(x.g_steps < 4 * EVERY for x in made)
    assert (state.useless, state.trial) == ([], None)
    # The next setting comes when the quality stays where it is and the problem lasts.
    [more, *_] = play(state, "mode collapse", [*FLAT, 80, 70, 60, 60, 60, 60, 60], start=10)
    assert more.setting == "g_rate"


def test_an_adjustment_before_the_first_measurement_is_judged_by_those_after_it() -> None:
    for later, reverted in ((101.0, True), (80.0, False)):
        state = RemedyState()
        made = play(state, "memorising", [100.0, later, later, later], start=0)
        assert made[0].g_steps < EVERY
        assert any("no better" in x.reason for x in made) == reverted
        assert state.useless == (["memorising: dropout"] if reverted else [])


def test_frequent_measurements_do_not_judge_before_the_training_responded() -> None:
    state, made = RemedyState(), []
    for g_steps in range(300, 1000, STEP):  # measured in every log line
        quality = trend([100.0] * (g_steps // STEP), every=STEP)
        made.append(choose_adjustment(state, "memorising", g_steps, CONFIG, quality=quality))
    done = [(x.after, x.g_steps) for x in made if x is not None]
    assert [after for after, _ in done[:4]] == pytest.approx([0.1, 0.2, 0.3, 0.2])
    assert done[3][1] - done[2][1] >= 300


def test_a_problem_that_comes_and_goes_does_not_postpone_the_judgement() -> None:
    state = RemedyState()
    values = [*FLAT, 100.0, 100.0, 100.0]
    made = []
    for count in range(3, 7):
        for i, g_steps in enumerate(range(EVERY * count, EVERY * (count + 1), STEP)):
            name: Name = "mode collapse" if i % 10 < 5 else NO_FAULT
            quality = trend(values[:count])
            made.append(choose_adjustment(state, name, g_steps, CONFIG, quality=quality))
    assert any(x is not None and "no better" in x.reason for x in made)
    assert "mode collapse: d_rate" in state.useless


def change(
    state: RemedyState, name: Name, g_steps: int, values: Sequence[float] = ()
) -> tuple[str, float] | None:
    """Return setting and value of the change at this point, after one measurement each 400 steps.

    values: the measurements, the last one repeated; all the same by default.
    """
    measurements = g_steps // EVERY
    known = [*values, *[values[-1] if values else 100.0] * measurements][:measurements]
    made = choose_adjustment(state, name, g_steps, CONFIG, quality=trend(known))
    return None if made is None else (made.setting, made.after)


def test_each_step_of_a_setting_is_judged_by_two_measurements_after_it() -> None:
    state = RemedyState()
    assert change(state, "mode collapse", 1200) == ("d_rate", 2)
    assert change(state, "never learnt", 1600) is None
    assert change(state, "mode collapse", 1620) == ("d_rate", 4)
    assert change(state, "mode collapse", 2000) == ("d_rate", 8)
    assert change(state, "mode collapse", 2400) is None
    assert change(state, "mode collapse", 2800) == ("d_rate", 4)


def test_what_is_taken_back_beside_a_trial_does_not_end_it() -> None:
    state = RemedyState()
    falls = [100.0, 100.0, 100.0, 80.0, 80.0]
    assert change(state, "diverging", 1200, falls) == ("d_rate", 0.5)
    assert change(state, "never learnt", 1600, falls) is None
    assert change(state, "never learnt", 2000, falls) is None
    assert state.trial is None
    assert change(state, "memorising", 2400, falls) == ("dropout", 0.1)
    assert change(state, "mode collapse", 2500, falls) == ("d_rate", 1)
    assert change(state, "memorising", 2800, falls) == ("dropout", 0.2)
    assert change(state, "memorising", 3200, falls) == ("dropout", 0.3)
    assert change(state, "memorising", 3600, falls) is None
    back = [change(state, "memorising", 4000, falls) for _ in range(3)]
    assert [after for _, after in filter(None, back)] == pytest.approx([0.2, 0.1, 0])
    assert (state.adjustments, state.trial) == ([], None)


def test_a_problem_that_is_gone_when_it_is_judged_has_been_helped() -> None:
    state = RemedyState(patience=10_000)
    assert change(state, "memorising", 1200) == ("dropout", 0.1)
    for g_steps in (1600, 2000, 2400):
        assert change(state, NO_FAULT, g_steps) is None
    assert state.trial is None
    assert change(state, "memorising", 2800) == ("dropout", 0.2)
    assert state.useless == []


def test_a_remedy_that_would_undo_another_one_takes_it_back_for_good() -> None:
    for config, kept in ((CONFIG, None), (UNMEASURED, None)):
        state = RemedyState()
        first = choose_adjustment(state, "mode collapse", 400, config, quality=kept)
        assert first is not None
        assert (first.setting, first.after) == ("d_rate", 2)
        back = choose_adjustment(state, "diverging", 600, config, quality=kept)
        assert back is not None
        assert (back.setting, back.after, back.reason) == ("d_rate", 1, "diverging")
        assert (state.overrides, state.adjustments) == (Overrides(), [])
        assert state.trial is None
        # The collapse now gets the other setting of its remedy, and divergence its own.
        other = choose_adjustment(state, "mode collapse", 800, config, quality=kept)
        assert other is not None
        assert (other.setting, other.after) == ("g_rate", 0.5)
        slower = choose_adjustment(state, "diverging", 1000, config, quality=kept)
        assert slower is not None
        assert (slower.setting, slower.after) == ("d_rate", 0.5)


def test_reversions_become_ever_rarer() -> None:
    state = RemedyState()
    changes = 0
    for g_steps in range(300, 1_000_000, 100):  # a relapse after each reversion
        adjusted = state.overrides.dropout > 0
        name: Name = NO_FAULT if adjusted else "memorising"
        changes += choose_adjustment(state, name, g_steps, UNMEASURED) is not None
    assert changes < 30


def test_what_was_measured_before_measurements_were_turned_off_does_not_count() -> None:
    quality = trend([300, 200, 100])
    for config, acts in ((CONFIG, False), (UNMEASURED, True)):
        state = RemedyState()
        made = choose_adjustment(state, "mode collapse", 9000, config, quality=quality)
        assert (made is not None) == acts
        assert state.trial is None


def test_a_trial_resumes_exactly_and_older_states_have_none() -> None:
    one, other = RemedyState(), RemedyState()
    for g_steps in range(1200, 3600, STEP):
        quality = trend([100.0] * (g_steps // EVERY))
        other = RemedyState.model_validate_json(other.model_dump_json())
        assert choose_adjustment(
            one, "mode collapse", g_steps, CONFIG, quality=quality
        ) == choose_adjustment(other, "mode collapse", g_steps, CONFIG, quality=quality)
    assert one == other
    assert one.useless
    old = one.model_dump(exclude={"trial", "useless"})
    assert RemedyState.model_validate(old).trial is None


STORIES = st.lists(
    st.tuples(
        st.sampled_from(sorted((*ADVICE, NO_FAULT))),
        st.floats(0.5, 1.6),  # from one measurement to the next
        st.booleans(),
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(STORIES)
def test_in_every_story_the_rules_hold(story: list[tuple[Name, float, bool]]) -> None:
    state, resumed = RemedyState(), RemedyState()
    values: list[float] = []
    log: list[Adjustment] = []
    for name, factor, leads in story:
        values.append((values[-1] if values else 100.0) * factor)
        quality = trend(values[-30:])
        assert quality is not None
        for g_steps in range(EVERY * len(values), EVERY * (len(values) + 1), 40):
            useless = list(state.useless)
            change = choose_adjustment(state, name, g_steps, CONFIG, d_leads=leads, quality=quality)
            resumed = RemedyState.model_validate_json(resumed.model_dump_json())
            again = choose_adjustment(
                resumed, name, g_steps, CONFIG, d_leads=leads, quality=quality
            )
            assert (change, state) == (again, resumed)
            if change is None:
                continue
            assert not quality.improving
            assert change.remedy is None or change.key not in useless
            if change.remedy is not None and log:
                assert g_steps - log[-1].g_steps >= WINDOW_STEPS
            log.append(change)
            replayed = vars(Overrides()) | {x.setting: x.after for x in log}
            assert vars(state.overrides) == replayed
            assert 0.1 <= state.overrides.d_rate <= 8
            assert 0.1 <= state.overrides.g_rate <= 4
            assert 0 <= state.overrides.dropout <= 0.3
    assert_few_turns(log, state.useless)


def assert_few_turns(log: Sequence[Adjustment], useless: Sequence[str]) -> None:
    """Assert that settings turn no more often than reversions explain, of which each is the last
    of its kind or follows a time without a fault."""
    turns = 0
    rising: dict[str, bool] = {}
    for change in log:
        up = change.after > change.before
        turns += rising.get(change.setting, up) != up
        rising[change.setting] = up
    quiet = sum(x.reason.startswith("no fault seen") for x in log)
    assert turns <= 2 * (len(useless) + quiet)
