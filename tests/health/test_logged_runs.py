"""Runs of the hunt's first draw, as they were logged, replayed; see docs/health.md."""

import csv
from pathlib import Path

import pytest

from gantrain.health.known import Known
from gantrain.health.replay import Line, Replay, replay
from gantrain.health.state import COURSE_STEPS

CURVES = Path(__file__).parent / "curves"


def logged(name: str) -> list[Line]:
    """Return the lines of a run of batches of 32 images."""
    with (CURVES / f"{name}.csv").open() as file:
        rows = [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]
    return [(int(row["step"]), 32 * int(row.pop("step")), row) for row in rows]


def replayed(name: str, lines: list[Line] | None = None) -> Replay:
    kind = "hinge" if "hinge" in name else "dcgan"
    return replay(kind, lines or logged(name), known=Known(label_flips=0.0))


@pytest.mark.parametrize(
    "name",
    ["healthy-dropout-dcgan-shapes", "healthy-slower-dcgan-shapes", "healthy-slower-dcgan-fashion"],
)
def test_images_that_are_alike_for_a_while_are_no_collapse(name: str) -> None:
    """All three runs made nearly the same image for 150 to 500 steps, and then left it."""
    spreads = [x["health/fake_spread"] / x["health/real_spread"] for _, _, x in logged(name)]
    trough = spreads.index(min(spreads[6:20]))
    assert spreads[trough] < 0.15 < 0.4 < min(max(spreads[:trough]), max(spreads[trough:]))
    assert replayed(name).problems == []


@pytest.mark.parametrize("twins", [True, False])
def test_a_run_that_stays_where_images_are_alike_has_collapsed(twins: bool) -> None:
    """The same course, if it had stopped at the lines in which images were the most alike."""
    lines = logged("healthy-slower-dcgan-shapes")
    stuck = next(i for i, (step, _, _) in enumerate(lines) if step > 300)
    values = {k: v for k, v in lines[stuck][2].items() if not k.startswith("quality/")}
    if not twins:
        values = {k: v for k, v in values.items() if not k.endswith("_twins")}
    stays = [(step, seen, values) for step, seen, _ in lines[stuck:]]
    found = replayed("dcgan", [*lines[:stuck], *stays])
    assert found.problems == ["mode collapse"]
    assert found.final == "mode collapse"
    since = next(step for step, _, x in lines if step > 150 and x["health/fake_spread"] < 0.03)
    (named,) = [x.g_steps for x in found.changes if x.diagnosis.name == "mode collapse"]
    # Means of a third of these steps count for twins, so that they are named a bit earlier.
    assert COURSE_STEPS - 100 <= named - since <= COURSE_STEPS + 50


def test_a_collapse_does_not_end_because_fid_falls() -> None:
    """G made one image all the time, whose colours came nearer to the data: FID 12,900 to 290."""
    name = "alike-dcgan-bricks"
    assert logged(name)[-1][2]["health/fake_twins"] > 0.99
    found = replayed(name)
    assert found.problems == ["mode collapse"]
    assert found.final == "mode collapse"
    assert found.changes[0].g_steps <= COURSE_STEPS + 100


def test_a_discriminator_without_a_loss_is_not_dead() -> None:
    """At step 650 the learning rates grew, and D soon met all margins, so that it stood still."""
    found = replayed("late-steps-hinge-bricks")
    assert found.problems == ["discriminator too strong", "quality falling"]


def test_an_output_that_was_always_saturated_is_why_d_is_too_strong() -> None:
    assert replayed("saturated-hinge-fashion").problems == ["saturated output"]
    # Pixels that become black or white are no such output: another fault comes before them.
    (step, seen, first), *rest = logged("saturated-hinge-fashion")
    grey = (step, seen, {**first, "health/fake_saturated": 0.3})
    assert replayed("hinge", [grey, *rest]).problems[0] == "discriminator too strong"
