"""Names the illness of a training from its signals, with evidence and advice; see docs/health.md.

Signals are the means of a log interval as in metrics.jsonl. An illness must show in every line of
the last 100 generator steps, and is over when milder thresholds, which keep it, are missed as long.
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from pydantic import BaseModel, Field

Name = Literal[
    "starting",
    "healthy",
    "discriminator too strong",
    "mode collapse",
    "diverging",
    "stalled",
    "memorising",
]
# As health/diagnosis in metrics.jsonl and on W&B.
CODES: dict[Name, int] = {
    "starting": 0,
    "healthy": 0,
    "discriminator too strong": 1,
    "mode collapse": 2,
    "diverging": 3,
    "stalled": 4,
    "memorising": 5,
}
QUIET_STEPS = 250  # of the generator, before anything is said
WINDOW_STEPS = 100  # in which an illness must show
_FEWEST_LINES = 3
_MOST_LINES = 64
_CHANCE = math.log(2)  # DCGAN's D loss where it knows nothing
_BEYOND_FLOATS = 100.0  # exp(-104) is 0 in float32
_NO_PUSH = 0.02  # a norm of G's gradient that is next to nothing
_MEASUREMENTS_KEPT = 24

ADVICE: dict[Name, str] = {
    "discriminator too strong": "raise discriminator.dropout, lower discriminator.learning_rate or "
    "discriminator.width, set objective.label_noise or objective.label_flips",
    "mode collapse": "take more D steps (objective.n_critic) or a lower generator.learning_rate, "
    "objective.kind=wgan-gp, or discriminator.norm=batch, which lets D compare images",
    "diverging": "lower both learning rates, set training.clip_norm, raise "
    "objective.penalty_weight (wgan-gp) or objective.label_smoothing (dcgan)",
    "stalled": "raise discriminator.width or its learning_rate, check generator.learning_rate "
    "(too high silences D), or stop here if the images are good",
    "memorising": "use more images, augment.diffaugment, discriminator.dropout, or stop earlier",
}


class Line(BaseModel):
    """The signals of one log interval, at the generator's steps so far."""

    g_steps: int
    signals: dict[str, float]


class HealthState(BaseModel):
    """What the diagnosis knows of the run so far; part of every checkpoint.

    lines: of the last window, oldest first. measured: quality metrics, oldest first.
    widest, narrowest: the most and least that generated images ever differed in a line, as a
    share of real ones.
    clear_since: generator steps at which the milder thresholds were first missed.
    """

    diagnosis: Name = "starting"
    lines: list[Line] = Field(default_factory=list)
    measured: list[Line] = Field(default_factory=list)
    widest: float = 0.0
    narrowest: float | None = None
    clear_since: int | None = None


class Diagnosis(BaseModel):
    """What is the matter: a name, the numbers that say so, and what may help ("" if healthy)."""

    name: Name
    evidence: str
    advice: str


# From what is known, the lines in which the illness must show, and the factor that is milder than 1
# for the one that is there already.
Test = Callable[[HealthState, Sequence[Line], float], str | None]


def observe(
    state: HealthState, kind: str, g_steps: int, metrics: Mapping[str, float]
) -> Diagnosis | None:
    """Take a line of metrics into the state; gives the diagnosis if it has just changed.

    kind: dcgan or wgan-gp. metrics: loss/…, health/… and, where measured, quality/….
    """
    signals = {k: v for k, v in metrics.items() if k.startswith(("loss/", "health/"))}
    quality = {k: v for k, v in metrics.items() if k.startswith("quality/")}
    if quality:
        state.measured = [*state.measured, Line(g_steps=g_steps, signals=quality)]
        state.measured = state.measured[-_MEASUREMENTS_KEPT:]
    if signals:
        lines = [*state.lines, Line(g_steps=g_steps, signals=signals)][-_MOST_LINES:]
        for spread in _spreads(lines[-1:]):
            state.widest = max(state.widest, spread)
            state.narrowest = min(state.narrowest or spread, spread)
        recent = [line for line in lines if line.g_steps > g_steps - WINDOW_STEPS]
        state.lines = lines[-max(len(recent), _FEWEST_LINES) :]
    if g_steps < QUIET_STEPS or len(state.lines) < _FEWEST_LINES:
        return None
    name, evidence = _judge(state, kind, g_steps)
    if name == state.diagnosis:
        return None
    state.diagnosis = name
    state.clear_since = None
    return Diagnosis(name=name, evidence=evidence, advice=ADVICE.get(name, ""))


def discriminator_leads(state: HealthState) -> bool:
    """Whether DCGAN's D tells real from fake with some confidence, in the newest lines."""
    margin = _all(state.lines[-_FEWEST_LINES:], "health/d_logit_margin")
    return bool(margin) and min(margin) > 1


def _judge(state: HealthState, kind: str, g_steps: int) -> tuple[Name, str]:
    """The most urgent illness; the one that is known needs less to stay than another to come."""
    for name, test in _TESTS[kind].items():
        known = name == state.diagnosis
        lines = state.lines[-_FEWEST_LINES:] if known else state.lines
        evidence = test(state, lines, 0.7 if known else 1.0)
        if evidence is not None:
            state.clear_since = None
            return name, evidence
    if state.diagnosis in _TESTS[kind]:
        if state.clear_since is None:
            state.clear_since = g_steps
        if g_steps - state.clear_since < WINDOW_STEPS:
            return state.diagnosis, ""
    return "healthy", "no sign of illness in the last lines"


def _too_strong(state: HealthState, lines: Sequence[Line], slack: float) -> str | None:
    """D knows every image, by far: G's gradient says which pixel gives it away, not what is
    missing (Arjovsky & Bottou 2017)."""
    right = [*_all(lines, "health/d_accuracy_real"), *_all(lines, "health/d_accuracy_fake")]
    margin = _all(lines, "health/d_logit_margin")
    if not right or not margin or min(right) < 1 - 0.05 / slack or min(margin) < 6 * slack:
        return None
    return (
        f"D is right on at least {min(right):.0%} of real and fake, its logits "
        f"{statistics.median(margin):.1f} apart (a D that learns beside G: below 5)"
    )


def _collapsed(state: HealthState, lines: Sequence[Line], slack: float) -> str | None:
    """Images are alike, or whole parts are gone that were there.

    Those of a new generator are alike too: if nothing pushes it, it has not collapsed, but stands.
    """
    spread = _spreads(lines)
    if spread and max(spread) < 0.25 / slack:
        moved = state.widest > 1.5 * (state.narrowest or 0.0)
        pushed = min(_all(lines, "health/g_grad_norm"), default=0.0) > _NO_PUSH
        if moved or pushed:
            return f"generated images differ {max(spread):.0%} as much as real ones, or less"
    # Before, a blur counts for some part or other.
    settled = [line for line in state.measured if line.g_steps >= QUIET_STEPS]
    covered = _all(settled, "quality/parts_covered")
    if len(covered) >= 3 and max(covered) >= 0.5:
        best, now = max(covered), max(covered[-2:])
        if now < best * min(0.6 / slack, 1):
            return f"{now:.0%} of the parts are made; it was {best:.0%}"
    return None


def _diverging(state: HealthState, lines: Sequence[Line], slack: float) -> str | None:
    """Losses or logits beyond what any state of a working pair has."""
    margin = _all(lines, "health/d_logit_margin")
    if margin and _mostly(margin) > _BEYOND_FLOATS * slack:
        apart = statistics.median(margin)
        return f"D's logits lie {apart:.3g} apart, so that G's chances are 0 in float32"
    loss = _all(lines, "loss/discriminator")
    if loss and _mostly(loss) > 2 * _CHANCE * slack:
        return f"D's loss is {statistics.median(loss):.2f}, more than twice that of a blind guess"
    return _skipping(lines, slack)


def _critic_diverging(state: HealthState, lines: Sequence[Line], slack: float) -> str | None:
    """The penalty does not hold the critic's slope near 1."""
    penalty = _all(lines, "loss/penalty")
    if penalty and _mostly(penalty) > 2 * slack:
        return (
            f"the critic's slope is {1 + statistics.median(penalty) ** 0.5:.1f} where the penalty "
            "should hold it near 1"
        )
    return _skipping(lines, slack)


def _skipping(lines: Sequence[Line], slack: float) -> str | None:
    skipped = [line.signals.get("health/skipped_steps", 0.0) for line in lines]
    if sum(count > 0 for count in skipped) >= max(len(skipped) / 2 * slack, 2):
        return f"{sum(skipped):.0f} steps had gradients that are not finite"
    return None


def _stalled(state: HealthState, lines: Sequence[Line], slack: float) -> str | None:
    """D tells nothing apart, G's gradient is next to nothing, and its images stay as they are.

    The third is needed: Adam scales small gradients up, and G may learn from them for long.
    """
    return _still(state, lines, "health/d_logit_margin", slack)


def _critic_stalled(state: HealthState, lines: Sequence[Line], slack: float) -> str | None:
    return _still(state, lines, "loss/wasserstein", slack)


def _still(state: HealthState, lines: Sequence[Line], told_apart: str, slack: float) -> str | None:
    push, apart = _all(lines, "health/g_grad_norm"), _all(lines, told_apart)
    if not push or max(push) > _NO_PUSH / slack or max(map(abs, apart), default=1) > 0.1 / slack:
        return None
    distance = [
        next((v for k, v in line.signals.items() if k.startswith("quality/fid_")), math.nan)
        for line in state.measured[-3:]
    ]
    moving = distance if distance else _spreads(lines)
    if len(moving) < 2 or max(moving) > min(moving) * (1 + 0.1 / slack):
        return None
    what = "FID" if distance else "spread of the images"
    return (
        f"D tells real and fake apart by {statistics.median(apart):.2g} alone, G's gradient is "
        f"{statistics.median(push):.1g}, and the {what} stays at {moving[-1]:.3g}"
    )


def _memorising(state: HealthState, lines: Sequence[Line], slack: float) -> str | None:
    """Images lie nearer to training images than held-out ones do."""
    copies = _all(state.measured, "quality/memorisation")
    if len(copies) >= 2 and min(copies[-2:]) > 0.3 * slack:
        return (
            f"{copies[-1]:.0%} of the images are less than half as far from a training image "
            "as held-out ones are"
        )
    return None


def _mostly(values: Sequence[float]) -> float:
    """What three quarters of them reach: a pair that diverges swings."""
    return sorted(values)[len(values) // 4]


def _spreads(lines: Sequence[Line]) -> list[float]:
    """How much generated images differ, as a share of what real ones do."""
    return [
        line.signals["health/fake_spread"] / line.signals["health/real_spread"]
        for line in lines
        if line.signals.get("health/real_spread") and "health/fake_spread" in line.signals
    ]


def _all(lines: Sequence[Line], name: str) -> list[float]:
    return [line.signals[name] for line in lines if name in line.signals]


# In the order of urgency. A strong critic is what WGAN-GP wants.
_TESTS: dict[str, dict[Name, Test]] = {
    "dcgan": {
        "diverging": _diverging,
        "discriminator too strong": _too_strong,
        "mode collapse": _collapsed,
        "stalled": _stalled,
        "memorising": _memorising,
    },
    "wgan-gp": {
        "diverging": _critic_diverging,
        "mode collapse": _collapsed,
        "stalled": _critic_stalled,
        "memorising": _memorising,
    },
}
