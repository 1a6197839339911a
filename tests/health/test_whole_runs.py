"""The courses of whole runs, ill in ways that people meet, and without a fault, replayed."""

import math
import random
from collections.abc import Callable, Sequence

import pytest

from gantrain.health.problems import Name
from gantrain.health.replay import Line, replay
from tests.health.signals import CRITIC, HEALTHY, STEP, STRONG, Signals

STEPS = 4000
EVERY = 200  # steps from one measurement to the next

Course = Callable[[float], Signals]  # of the part of the run that is over


def lines_of(signals: Course, quality: Course | None = None, steps: int = STEPS) -> list[Line]:
    """Return the lines of a run that logs these signals, and this quality each 200 steps."""
    lines: list[Line] = []
    for step in range(STEP, steps + 1, STEP):
        part = step / steps
        measured = quality(part) if quality and step % EVERY == 0 else {}
        lines.append((step, 32 * step, signals(part) | measured))
    return lines


def problems(kind: str, lines: Sequence[Line]) -> list[str]:
    """Return the names of the problems that are found, the first one first."""
    return replay(kind, lines).problems


def always(line: Signals, **changes: float) -> Course:
    """Return the course of a run that logs the same all the time. changes: `health/…` metrics."""
    constant = line | {f"health/{name}": value for name, value in changes.items()}
    return lambda part: constant


def only(*names: str) -> Course:
    return lambda part: {name: HEALTHY[name] for name in names}


def fid(first: float, last: float, features: str = "lite0", /, **others: float) -> Course:
    """Return a FID that goes from one value to another by the same factor all the time."""
    beside = {f"quality/{name}": value for name, value in others.items()}
    name = f"quality/fid_{features}" if features else "quality/fid"
    return lambda part: {name: first * (last / first) ** part, **beside}


LOSSES = only("loss/discriminator", "loss/generator")
NOTHING: Course = lambda part: {}  # noqa: E731
SPREAD_OUT = {"classes_covered": 0.8, "classes_divergence": 0.25}


def without_penalty(part: float) -> Signals:
    """Return the signals of a critic whose gradient grows, since nothing holds it back."""
    distance = 0.2 * math.exp(4 * part)
    losses = {"loss/discriminator": -distance, "loss/wasserstein": distance}
    return CRITIC | losses | {"loss/penalty": 0.1 * math.exp(6 * part)}


@pytest.mark.parametrize(
    ("kind", "signals", "quality", "name"),
    [
        ("dcgan", always(HEALTHY), fid(10, 400), "quality falling"),
        ("dcgan", NOTHING, fid(10, 400, ""), "quality falling"),
        ("dcgan", LOSSES, fid(10, 400, ""), "quality falling"),
        ("unknown", LOSSES, fid(300, 310, ""), "never learnt"),
        ("wgan-gp", always(CRITIC), fid(2900, 2900), "never learnt"),
        ("dcgan", always(HEALTHY), fid(310, 300, "classifier"), "never learnt"),
        ("dcgan", always(HEALTHY), fid(60, 60, classes_covered=0.2), "never learnt"),
        ("dcgan", always(HEALTHY), fid(30, 30, **SPREAD_OUT), "mode collapse"),
        (
            "wgan-gp",
            always(CRITIC, d_weight_change=5e-5, g_weight_change=2e-3),
            None,
            "dead player",
        ),
        ("hinge", always(HEALTHY, g_weight_change=0), None, "dead player"),
        ("dcgan", always(STRONG, fake_range=0.45), None, "saturated output"),
        ("dcgan", always(HEALTHY, real_range=1 / 255), None, "unsuitable data"),
        ("dcgan", always(HEALTHY, fake_twins=0.1), fid(26, 143), "mode collapse"),
        # One image or two, whose colours come nearer to the data.
        ("dcgan", always(HEALTHY, fake_twins=0.6), fid(300, 12), "mode collapse"),
        ("wgan-gp", always(CRITIC | {"loss/penalty": 4.4}), fid(217, 139), "diverging"),
        (
            "dcgan",
            always(HEALTHY | {"loss/discriminator": 0.692}, d_logit_margin=0.04),
            None,
            "uninformative labels",
        ),
        ("wgan-gp", without_penalty, None, "penalty off"),
        ("dcgan", always({"loss/discriminator": 0.01, "loss/generator": 8.0}), None, None),
    ],
)
def test_runs_that_are_ill(
    kind: str, signals: Course, quality: Course | None, name: Name | None
) -> None:
    expected = name or "discriminator too strong"
    assert problems(kind, lines_of(signals, quality))[:1] == [expected]


def noisy_fid(part: float) -> Signals:
    """Return a FID that falls to 30 and is measured with an error of a tenth."""
    error = random.Random(part).gauss(0, 0.1)
    return {"quality/fid": (30 + 300 * math.exp(-8 * part)) * math.exp(error)}


def young_critic(part: float) -> Signals:
    """Return the signals of WGAN-GP on real images, whose own are alike for long."""
    return CRITIC | {"health/fake_spread": 0.15 * (0.04 + 0.8 * max(0, part - 0.4))}


def slow_critic(part: float) -> Signals:
    """Return the signals of a critic whose gradient norm comes down from 3.1 to 1.2."""
    return CRITIC | {"loss/penalty": 0.05 + 4.4 * math.exp(-6 * part)}


@pytest.mark.parametrize(
    ("kind", "signals", "quality"),
    [
        ("dcgan", lambda part: HEALTHY | {"health/fake_twins": 0.3 * (part > 0.3)}, fid(300, 12)),
        ("wgan-gp", slow_critic, fid(217, 139)),
        # Near the data by the features of a classifier that finds few classes.
        ("dcgan", always(HEALTHY), fid(20, 20, "classifier", classes_covered=0.2)),
        ("dcgan", always(HEALTHY), fid(300, 12)),
        ("dcgan", always(HEALTHY), None),
        ("dcgan", LOSSES, None),
        ("unknown", LOSSES, fid(60, 25, "")),
        ("dcgan", NOTHING, fid(300, 12, "")),
        ("dcgan", always(HEALTHY), noisy_fid),
        ("wgan-gp", young_critic, fid(270, 51, "classifier")),
        ("wgan-gp", always(CRITIC, d_weight_change=1e-2, g_weight_change=2e-2), fid(200, 20)),
        # The images of a young generator show no class.
        ("dcgan", always(HEALTHY), fid(90, 30, classes_covered=0.2, classes_divergence=2.2)),
    ],
)
def test_runs_without_a_fault(kind: str, signals: Course, quality: Course | None) -> None:
    assert problems(kind, lines_of(signals, quality)) == []


def test_a_run_with_two_measurements_and_one_that_is_resumed_raise_no_alarm() -> None:
    lines = lines_of(always(HEALTHY), fid(90, 30), steps=500)
    assert sum("quality/fid_lite0" in line[2] for line in lines) == 2
    assert problems("dcgan", lines) == []
    whole = lines_of(always(HEALTHY), fid(300, 12))
    assert problems("dcgan", [*whole[:120], *whole[100:]]) == []
