"""The verdict on runs as they come: bad ones, odd ones, resumed ones and those of other tools."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gantrain.health.verdict import Floor, judge

FID, KID = "quality/fid_lite0", "quality/kid_lite0"
LITE0 = Floor(
    {FID: 8.0, "interval/fid_lite0_low": 7.5, "interval/fid_lite0_high": 8.5, "quality/c2st": 0.58},
    {FID: 192.0, KID: 1.0},
)
LEVELS = ("at the floor of real images", "near the data", "far from the data")


def run(values: Sequence[float], metric: str = FID, **others: float) -> list[dict[str, Any]]:
    """Return a run that measures these values, one every 10 kimg, without intervals."""
    more = {f"quality/{name}": value for name, value in others.items()}
    return [
        {"images_seen": 10_000 * (i + 1), metric: value, **more} for i, value in enumerate(values)
    ]


def words(values: Sequence[float], metric: str = FID, floor: Floor = LITE0) -> str:
    return judge(run(values, metric), floor).words


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([300, 120, 40, 10, 60, 150, 400], "far from the data, worse than its best"),
        ([10, 60, 150, 400], "far from the data, worse than its best"),
        ([2900, 2880, 2910, 2890], "far from the data, flat"),  # one class of ten
        ([4368, 3000, 2000], "far from the data, improving"),
        ([60, 61, 59, 60, 60.5], "far from the data, flat"),
        ([200, 20, 21, 19.5], "near the data, flat"),
        ([200, 12, 8], "at the floor of real images, improving"),
        ([8.1], "at the floor of real images"),
    ],
)
def test_what_is_said_of_a_run(values: list[float], expected: str) -> None:
    assert words(values) == expected


def test_a_fall_is_measured_from_the_best_which_has_its_place() -> None:
    verdict = judge(run([300, 120, 40, 10, 60, 150, 400]), LITE0)
    assert "400 at 70 kimg, 40 times worse than its best, 10 at 40 kimg" in verdict.evidence
    assert verdict.to_record()["best_images_seen"] == 40_000


def test_metrics_of_neighbours_do_not_excuse_a_distance() -> None:
    """Grey potatoes score precision 0.97 and coverage 0.85; a small network knows them all."""
    potatoes = run([150, 95, 90], precision_lite0=0.97, coverage_lite0=0.85, c2st=0.9999)
    for ruler in (None, "quality/precision", "quality/coverage_lite0", "quality/c2st"):
        assert judge(potatoes, LITE0, ruler).level == "far from the data"
    close = run([8.0], precision_lite0=0.97, coverage_lite0=0.85, c2st=0.9999)
    assert judge(close, LITE0).level == "near the data"
    assert "AUC 1.00" in judge(close, LITE0).evidence


@pytest.mark.parametrize("floor", [0.0, -0.5, 8.0, math.nan])
def test_any_floor_is_a_mark(floor: float) -> None:
    marks = Floor({FID: floor} if math.isfinite(floor) else {}, {FID: 192.0})
    levels = [judge(run([value]), marks).level for value in (0.0, 30.0, 300.0)]
    assert levels[1:] == ["near the data", "far from the data"]
    known = math.isfinite(floor) and floor >= 0
    assert levels[0] == ("at the floor of real images" if known else "near the data")


def test_kid_about_zero_is_noise_and_not_a_fall() -> None:
    """KID is unbiased: of a generator at the floor it is about 0, and often below."""
    floor = Floor({KID: 0.0001}, {KID: 1.0})
    assert words([0.4, 0.01, -0.0003, 0.0004], KID, floor) == "at the floor of real images, flat"
    assert words([0.0002, -0.0003, 0.0005, -0.0001], KID, floor).endswith("flat")
    fallen = judge(run([0.4, -0.0003, 0.05, 0.2], KID), floor)
    assert fallen.words == "far from the data, worse than its best"
    assert "times" not in fallen.evidence  # than a value below 0
    assert "-0.0003 at 20 kimg" in fallen.evidence


@pytest.mark.parametrize(
    ("metric", "values", "trend"),
    [
        ("quality/coverage_lite0", [0.1, 0.5, 0.8], "improving"),
        ("quality/coverage_lite0", [0.1, 0.8, 0.3], "worse than its best"),
        ("quality/precision", [0.9, 0.92, 0.91], "flat"),
        ("quality/inception_score", [2.0, 5.0, 8.0], "improving"),
        ("quality/inception_score", [2.0, 8.0, 4.0], "worse than its best"),
        ("quality/swd", [3.0, 2.0, 1.0], "improving"),
    ],
)
def test_other_metrics_have_a_trend_only(metric: str, values: list[float], trend: str) -> None:
    verdict = judge(run(values, metric), LITE0)
    assert verdict.words == f"unknown distance from the data, {trend}"
    assert "neither FID nor KID is measured" in verdict.evidence
    if metric.endswith("score") and trend == "worse than its best":
        assert "inception score 4 at 30 kimg, 2 times worse than its best, 8" in verdict.evidence


def test_losses_alone_are_no_quality() -> None:
    losses = [{"images_seen": i, "loss/generator": 1.0, "health/diagnosis": 0.0} for i in range(9)]
    assert judge(losses, LITE0).sentence == "not measured (no measurement yet)"


@pytest.mark.parametrize("broken", [math.nan, math.inf, None, "x", -3e68, 8e64])
def test_a_broken_measurement_is_not_judged_by_the_one_before(broken: Any) -> None:
    lines = run([300, 20])
    assert judge([*lines, *run([1, 1, broken])[2:]], LITE0).level == "not measured"
    # Earlier ones are left out; an impossible best would make a fall of everything.
    earlier = [lines[0], {**lines[1], FID: broken}, {"images_seen": 30_000, FID: 20.0}]
    assert judge(earlier, LITE0).words == "near the data, improving"


def test_in_a_table_each_metric_has_lines_of_its_own() -> None:
    table = [
        {"step": 1000, "quality/fid": 40.0},
        {"step": 1000, "quality/precision": 0.5},
        {"step": 2000, "quality/fid": 90.0},
        {"step": 2500, "quality/fid": math.nan, "quality/precision": 0.4},
    ]
    verdict = judge(table, Floor(), sparse=True)
    assert verdict.words == "unknown distance from the data, worse than its best"
    assert "FID 90 at step 2,000, 2.25 times worse than its best, 40 at step 1,000" in (
        verdict.evidence
    )
    assert judge(table[-1:], Floor(), sparse=True).metric == "quality/fid"
    assert judge(table[-1:], Floor(), sparse=True).level == "not measured"


def test_a_resumed_run_is_judged_without_what_it_repeats() -> None:
    lines = [*run([200, 100, 9, 300]), *run([1, 1, 60, 40])[2:]]
    verdict = judge(lines, LITE0)
    assert verdict.best is not None
    assert verdict.best.value == 40
    assert verdict.trend == "improving"


def test_other_features_are_another_ruler() -> None:
    """From one part of a run to the next: of other features, or of a network trained anew."""
    old, new = "quality/fid_classifier", FID
    lines = [*run([90, 5], old), *run([0, 0, 70, 60], new)[2:]]
    verdict = judge(lines, LITE0)
    assert (verdict.metric, verdict.level) == (new, "far from the data")
    assert verdict.best is not None
    assert verdict.best.value == 60
    renamed = [*run([90, 50], "quality/fid_brick"), *run([0, 0, 40], old)[2:]]
    assert judge(renamed, LITE0).metric == old
    assert judge(renamed, LITE0).trend == ""


def test_runs_of_old_versions_are_judged_by_their_names() -> None:
    old = run([300, 64], "quality/fid_brick", parts_made=7, kid_brick=0.1)
    verdict = judge(old, Floor(), "quality/fid_brick")
    assert (verdict.metric, verdict.words) == (
        "quality/fid_brick",
        "far from the data, improving",
    )
    assert judge(old, Floor(), "quality/kid_classifier").metric == "quality/kid_brick"


WORSE = {  # each metric, and by how much more it is worse
    FID: 1,
    KID: 1,
    "quality/c2st": 1,
    "quality/precision_lite0": -1,
    "quality/coverage_lite0": -1,
    "quality/swd": 1,
}
lines_of_run = st.lists(
    st.fixed_dictionaries(
        {
            FID: st.floats(0, 500),
            KID: st.floats(-0.01, 2),
            "quality/c2st": st.floats(0.4, 0.9),
            "quality/precision_lite0": st.floats(0.1, 1),
            "quality/coverage_lite0": st.floats(0.1, 1),
            "quality/swd": st.floats(0, 10),
        }
    ),
    min_size=1,
    max_size=6,
)
rulers = st.sampled_from([None, "quality/fid", "quality/kid", KID, "quality/coverage"])


def numbered(lines: Sequence[Mapping[str, float]]) -> list[dict[str, Any]]:
    return [{"images_seen": 1000 * (i + 1), **line} for i, line in enumerate(lines)]


@given(lines_of_run, st.floats(0, 0.1), st.floats(0, 50), rulers)
def test_the_level_is_never_better_where_every_metric_is_worse(
    lines: list[dict[str, float]], fraction: float, shift: float, ruler: str | None
) -> None:
    worse = [
        {
            name: value * (1 + WORSE[name] * fraction) + (shift if name == FID else 0)
            if value > 0
            else value
            for name, value in line.items()
        }
        for line in lines
    ]
    before, after = (judge(numbered(each), LITE0, ruler).level for each in (lines, worse))
    assert LEVELS.index(before) <= LEVELS.index(after)


@given(lines_of_run, st.randoms(use_true_random=False), rulers)
def test_the_order_of_the_keys_says_nothing(
    lines: list[dict[str, float]], random: Any, ruler: str | None
) -> None:
    mixed = []
    for line in numbered(lines):
        keys = [*line, "quality/fid_random"]
        random.shuffle(keys)
        mixed.append({key: {**line, "quality/fid_random": 1.0}[key] for key in keys})
    plain = [{**line, "quality/fid_random": 1.0} for line in numbered(lines)]
    assert judge(mixed, LITE0, ruler) == judge(plain, LITE0, ruler)


@given(lines_of_run, st.integers(1, 10**6))
def test_the_unit_of_progress_says_nothing(lines: list[dict[str, float]], unit: int) -> None:
    other = [{**line, "images_seen": unit * (i + 1)} for i, line in enumerate(lines)]
    assert judge(other, LITE0).words == judge(numbered(lines), LITE0).words
