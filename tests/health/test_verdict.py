"""The verdict on quality: levels, trends, and what it says of runs of older versions."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gantrain.common.statistics import Interval
from gantrain.health.problems import CODES, words_for
from gantrain.health.verdict import NEAR, Floor, Verdict, floor_of, judge, recorded_floor

FID, KID = "quality/fid_lite0", "quality/kid_lite0"
SPREAD = 192.0
Line = dict[str, Any]


def line(value: float, half: float | None = 2.0, at: int = 0, name: str = FID) -> Line:
    short = name.removeprefix("quality/")
    ends = {f"interval/{short}_low": value - (half or 0), f"interval/{short}_high": value}
    ends[f"interval/{short}_high"] += half or 0
    return {"images_seen": at, name: value, **(ends if half is not None else {})}


def floor(value: float = 3.0, half: float = 0.5, name: str = FID, **more: float) -> Floor:
    return Floor({**line(value, half, name=name), **more}, {name: SPREAD})


def verdict_of(*values: float, half: float | None = 2.0) -> Verdict:
    lines = [line(value, half, 1000 * (i + 1)) for i, value in enumerate(values)]
    return judge(lines, floor())


@pytest.mark.parametrize(
    ("value", "level"),
    [
        (400.0, "far from the data"),
        (3.0 + NEAR["fid"] * SPREAD + 0.1, "far from the data"),
        (3.0 + NEAR["fid"] * SPREAD - 0.1, "near the data"),
        (5.2, "near the data"),  # further from 3 than both intervals explain
        (4.9, "at the floor of real images"),
        (1.0, "at the floor of real images"),
    ],
)
def test_the_level_follows_from_the_floor_and_the_spread(value: float, level: str) -> None:
    assert judge([line(value)], floor()).level == level


def test_an_interval_that_reaches_the_floor_from_far_away_is_not_at_the_floor() -> None:
    assert judge([line(100, half=200)], floor()).level == "far from the data"


def test_images_that_a_classifier_tells_from_real_ones_are_not_at_the_floor() -> None:
    def verdict(area: float) -> Verdict:
        real = floor() if area < 0 else floor(**line(0.52, 0.03, name="quality/c2st"))
        return judge([line(4.0) | line(abs(area), 0.01, name="quality/c2st")], real)

    assert verdict(0.53).level == "at the floor of real images"
    assert verdict(-0.98).level == "at the floor of real images"  # real ones were not tested
    separable = verdict(0.98)
    assert separable.level == "near the data"
    assert "AUC 0.98, real ones among themselves 0.52" in separable.sentence


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([80.0], ""),
        ([80.0, 60.0], "improving"),
        ([80.0, 77.0], "flat"),
        ([90.0, 87.0, 84.0, 82.0, 79.5, 77.0], "improving"),  # neighbours differ by chance
        ([80.0, 50.0, 50.0, 51.0, 50.0, 49.0], "flat"),
        ([80.0, 41.0, 50.0, 61.0], "worse than its best"),
        ([80.0, 41.0, 44.0], "flat"),
    ],
)
def test_the_trend_follows_from_intervals_that_do_not_overlap(
    values: list[float], expected: str
) -> None:
    assert verdict_of(*values).trend == expected


def test_a_run_that_was_better_says_when_and_by_how_much() -> None:
    verdict = judge([line(90, at=100_000), line(41, at=250_000), line(61, at=400_000)], floor())
    assert verdict.words == "far from the data, worse than its best"
    assert verdict.evidence == (
        "FID 61 (59 to 63) at 400 kimg, 1.49 times worse than its best, 41 at 250 kimg; floor 3"
    )


def test_a_run_of_an_older_version_has_a_level_and_no_known_floor() -> None:
    old = [line(90, None, 1000), line(11, None, 2000)]
    verdict = judge(old, Floor())
    assert verdict.words == "near the data, improving"
    assert verdict.evidence == "FID 11; floor unknown"
    assert judge([line(0.1, None)], Floor()).level == "near the data"  # not: at the floor
    # Without intervals, a tenth either way is taken for noise.
    assert judge([line(10, None), line(11.5, None, 1)], Floor()).trend == "flat"
    assert judge([line(10, None), line(13, None, 1)], Floor()).trend == "worse than its best"
    brick = judge([line(64, None, name="quality/fid_brick")], Floor())
    assert (brick.level, brick.metric) == ("far from the data", "quality/fid_brick")


def test_where_the_spread_is_unknown_the_trend_is_stated_all_the_same() -> None:
    for name in (KID, "quality/fid_inception"):
        verdict = judge([line(90, name=name), line(60, at=1, name=name)], Floor())
        assert verdict.words == "unknown distance from the data, improving"
        assert verdict.evidence.endswith("60 (58 to 62); floor unknown")


def test_kid_judges_where_no_fid_is_measured_or_where_it_is_asked_for() -> None:
    both = line(100.0) | line(0.1, 0.01, name=KID)
    assert judge([both], floor()).metric == FID
    assert judge([both], floor(), "quality/kid").metric == KID
    assert judge([both], floor(), "quality/coverage").metric == FID
    alone = judge([line(100.0, name=KID)], floor(name=KID))
    assert (alone.metric, alone.level) == (KID, "far from the data")


def test_what_is_not_measured_says_why() -> None:
    assert judge([{"images_seen": 1, "loss/g": 1.0}], Floor()).sentence == (
        "not measured (no measurement yet)"
    )
    assert "every_kimg is 0" in judge([], Floor(), measures=False).sentence
    novelty = judge([{"images_seen": 1, "quality/unique": 0.9}], Floor())
    assert novelty.sentence == "not measured (no metric of the distance from the data)"
    broken = judge([line(9.0, at=1), {"images_seen": 2, "quality/swd": 3.0}], floor())
    assert broken.sentence == "not measured (the newest fid_lite0 is not a number)"


def test_damaged_events_hold_no_floor() -> None:
    assert recorded_floor([{"event": "floor", "scores": "?"}, {"event": "best"}]) == Floor()
    assert floor_of({"scores": {"a": 1, "b": None, "c": "x"}, "spread": 3}) == Floor({"a": 1.0})
    events = [{"event": "floor", "scores": {FID: n}, "spread": {}} for n in (1, 2)]
    assert recorded_floor(events).scores == {FID: 2.0}


def test_no_diagnosis_is_called_healthy() -> None:
    assert words_for("healthy") == "no fault seen"
    assert not any("healthy" in words_for(name) for name in CODES)


ORDER = ("at the floor of real images", "near the data", "far from the data")
values = st.floats(0, 1000)
halves = st.floats(0, 50)


@given(values, values, halves, st.floats(0, 20), st.floats(0, 5), st.booleans())
def test_a_lower_fid_is_never_a_worse_level(
    one: float, other: float, half: float, real: float, real_half: float, known: bool
) -> None:
    marks = floor(real, real_half) if known else Floor()
    levels = [judge([line(value, half)], marks).level for value in sorted((one, other))]
    assert ORDER.index(levels[0]) <= ORDER.index(levels[1])


@given(st.floats(1, 500), st.floats(0, 0.9), st.lists(st.floats(-1, 1), min_size=2, max_size=30))
def test_noise_within_the_intervals_is_never_a_trend(
    truth: float, relative: float, noise: list[float]
) -> None:
    half = truth * relative  # each interval contains the truth
    found = verdict_of(*(truth + half * each for each in noise), half=half)
    assert found.trend == "flat"


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from([FID, KID, "interval/fid_lite0_low", "quality/c2st", "loss/g"]),
            st.one_of(st.none(), st.booleans(), st.floats(), st.text(max_size=2)),
        ),
        max_size=6,
    )
)
def test_any_file_of_metrics_gets_a_verdict(lines: list[Line]) -> None:
    seen = [{"images_seen": i, **each} for i, each in enumerate(lines)]
    interval: Interval = (0.0, math.inf)
    assert judge(seen, floor(half=interval[0])).sentence
