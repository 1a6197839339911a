"""Diagnosis of a training run from its metrics, with evidence and advice; see docs/health.md.

The signals are the means of a log interval, as in metrics.jsonl. A problem is diagnosed if it shows
in every log line of the last 100 generator steps. The diagnosis ends once milder thresholds have
not been met for as long.
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

Name = Literal[
    "starting",
    "healthy",
    "discriminator too strong",
    "mode collapse",
    "diverging",
    "stalled",
    "memorising",
]
# Values of the metric health/diagnosis.
CODES: dict[Name, int] = {
    "starting": 0,
    "healthy": 0,
    "discriminator too strong": 1,
    "mode collapse": 2,
    "diverging": 3,
    "stalled": 4,
    "memorising": 5,
}
QUIET_STEPS = 250  # generator steps before the first diagnosis
WINDOW_STEPS = 100  # generator steps for which a problem must show
_MIN_LINES = 3
_MAX_LINES = 64
_MAX_MEASUREMENTS = 24
_MILDER = 0.7  # factor on the thresholds that keep a diagnosis
_CHANCE_LOSS = math.log(2)  # DCGAN's D loss if D guesses
_MAX_FLOAT_MARGIN = 100.0  # exp(-104) is 0 in float32
_TINY_GRADIENT = 0.02  # norm of G's gradient

ADVICE: dict[Name, str] = {
    "discriminator too strong": "raise discriminator.dropout, lower discriminator.learning_rate or "
    "discriminator.width, set objective.label_noise or objective.label_flips",
    "mode collapse": "use more D steps (objective.n_critic), a lower generator.learning_rate, "
    "objective.kind=wgan-gp, or discriminator.norm=batch, which lets D compare images",
    "diverging": "lower both learning rates, set training.clip_norm, raise "
    "objective.penalty_weight (wgan-gp) or objective.label_smoothing (dcgan)",
    "stalled": "raise discriminator.width or its learning_rate, check generator.learning_rate "
    "(D cannot learn if it is too high), or stop here if the images are good",
    "memorising": "use more images, augment.diffaugment, discriminator.dropout, or stop earlier",
}


class LogLine(BaseModel):
    """The signals of one log interval, and the generator steps at its end."""

    g_steps: int
    signals: dict[str, float]


class HealthState(BaseModel):
    """What the diagnosis remembers of a run; saved in every checkpoint.

    recent: log lines of the last window, oldest first.
    measurements: quality metrics, oldest first.
    max_spread, min_spread: extremes over all log lines of the spread of generated images, relative
        to that of real images.
    clear_since: generator steps since which the milder thresholds have not been met.
    """

    model_config = ConfigDict(populate_by_name=True)  # aliases: names in files of version 0.1
    diagnosis: Name = "starting"
    recent: list[LogLine] = Field(
        default_factory=list, validation_alias=AliasChoices("recent", "lines")
    )
    measurements: list[LogLine] = Field(
        default_factory=list, validation_alias=AliasChoices("measurements", "measured")
    )
    max_spread: float = Field(0.0, validation_alias=AliasChoices("max_spread", "widest"))
    min_spread: float | None = Field(None, validation_alias=AliasChoices("min_spread", "narrowest"))
    clear_since: int | None = None


class Diagnosis(BaseModel):
    """The name of a problem, the numbers that show it, and what may help ("" if healthy)."""

    name: Name
    evidence: str
    advice: str


# Returns the evidence of a problem, or None. Arguments: the state; the log lines that must all show
# the problem; a factor on the thresholds, below 1 to keep a diagnosis rather than to make one.
Detector = Callable[[HealthState, Sequence[LogLine], float], str | None]


def observe(
    state: HealthState, kind: str, g_steps: int, metrics: Mapping[str, float]
) -> Diagnosis | None:
    """Add a line of metrics to the state; return the diagnosis if it changed, else None.

    kind: objective.kind of the config; any other than dcgan or wgan-gp gets the checks that do not
        depend on the loss.
    g_steps: number of generator steps so far.
    metrics: means of the log interval; only loss/…, health/… and quality/… count.
    """
    signals = {k: v for k, v in metrics.items() if k.startswith(("loss/", "health/"))}
    quality = {k: v for k, v in metrics.items() if k.startswith("quality/")}
    if quality:
        measurement = LogLine(g_steps=g_steps, signals=quality)
        state.measurements = [*state.measurements, measurement][-_MAX_MEASUREMENTS:]
    if signals:
        lines = [*state.recent, LogLine(g_steps=g_steps, signals=signals)][-_MAX_LINES:]
        for spread in _relative_spreads(lines[-1:]):
            state.max_spread = max(state.max_spread, spread)
            state.min_spread = min(state.min_spread or spread, spread)
        in_window = sum(line.g_steps > g_steps - WINDOW_STEPS for line in lines)
        state.recent = lines[-max(in_window, _MIN_LINES) :]
    if g_steps < QUIET_STEPS or len(state.recent) < _MIN_LINES:
        return None
    name, evidence = _diagnose(state, kind, g_steps)
    if name == state.diagnosis:
        return None
    state.diagnosis = name
    state.clear_since = None
    return Diagnosis(name=name, evidence=evidence, advice=ADVICE.get(name, ""))


def discriminator_leads(state: HealthState) -> bool:
    """Return whether DCGAN's D separates real and fake images clearly in the newest log lines."""
    margins = _values(state.recent[-_MIN_LINES:], "health/d_logit_margin")
    return bool(margins) and min(margins) > 1


def _diagnose(state: HealthState, kind: str, g_steps: int) -> tuple[Name, str]:
    """Return the most urgent problem and its evidence; the current one has milder thresholds."""
    for name, detect in _DETECTORS.get(kind, _ANY_OBJECTIVE).items():
        is_current = name == state.diagnosis
        lines = state.recent[-_MIN_LINES:] if is_current else state.recent
        evidence = detect(state, lines, _MILDER if is_current else 1.0)
        if evidence is not None:
            state.clear_since = None
            return name, evidence
    if state.diagnosis in _DETECTORS.get(kind, _ANY_OBJECTIVE):
        if state.clear_since is None:
            state.clear_since = g_steps
        if g_steps - state.clear_since < WINDOW_STEPS:
            return state.diagnosis, ""
    return "healthy", "no sign of a problem in the last lines"


def _detect_strong_d(state: HealthState, lines: Sequence[LogLine], slack: float) -> str | None:
    """D classifies all images correctly and confidently.

    G's gradient then shows which pixels give an image away, not what is missing from it (Arjovsky
    and Bottou 2017).
    """
    accuracies = [
        *_values(lines, "health/d_accuracy_real"),
        *_values(lines, "health/d_accuracy_fake"),
    ]
    margins = _values(lines, "health/d_logit_margin")
    if not accuracies or not margins:
        return None
    if min(accuracies) < 1 - 0.05 / slack or min(margins) < 6 * slack:
        return None
    return (
        f"D is right on at least {min(accuracies):.0%} of real and fake images, its mean logits "
        f"differ by {statistics.median(margins):.1f} (below 5 if D and G are balanced)"
    )


def _detect_collapse(state: HealthState, lines: Sequence[LogLine], slack: float) -> str | None:
    """Generated images are alike, or classes that G used to generate are missing.

    The images of an untrained generator are alike too. It has collapsed only if their spread was
    different before, or if G receives gradients; otherwise it is stalled.
    """
    spreads = _relative_spreads(lines)
    if spreads and max(spreads) < 0.25 / slack:
        changed = state.max_spread > 1.5 * (state.min_spread or 0.0)
        gradients = _values(lines, "health/g_grad_norm")
        if changed or min(gradients, default=0.0) > _TINY_GRADIENT:
            return f"generated images differ at most {max(spreads):.0%} as much as real images"
    # In the first steps a blur counts as one class or another.
    measurements = [line for line in state.measurements if line.g_steps >= QUIET_STEPS]
    covered = _values(measurements, "quality/parts_covered")
    if len(covered) >= 3 and max(covered) >= 0.5:
        best, current = max(covered), max(covered[-2:])
        if current < best * min(0.6 / slack, 1):
            return f"G generates {current:.0%} of the classes; earlier it generated {best:.0%}"
    return None


def _detect_divergence(state: HealthState, lines: Sequence[LogLine], slack: float) -> str | None:
    """Losses or logits of DCGAN are far larger than in any working training."""
    margins = _values(lines, "health/d_logit_margin")
    if margins and _lower_quartile(margins) > _MAX_FLOAT_MARGIN * slack:
        return (
            f"D's mean logits differ by {statistics.median(margins):.3g}, so that the probability "
            "of fake images to be real is 0 in float32"
        )
    losses = _values(lines, "loss/discriminator")
    if losses and _lower_quartile(losses) > 2 * _CHANCE_LOSS * slack:
        return f"D's loss is {statistics.median(losses):.2f}, more than twice that of guessing"
    return _detect_skipped_steps(lines, slack)


def _detect_critic_divergence(
    state: HealthState, lines: Sequence[LogLine], slack: float
) -> str | None:
    """The gradient penalty fails to keep the critic's gradient norm near 1."""
    penalties = _values(lines, "loss/penalty")
    if penalties and _lower_quartile(penalties) > 2 * slack:
        return (
            f"the critic's gradient norm is {1 + statistics.median(penalties) ** 0.5:.1f}; the "
            "penalty should keep it near 1"
        )
    return _detect_skipped_steps(lines, slack)


def _detect_skipped_steps(lines: Sequence[LogLine], slack: float) -> str | None:
    skipped = [line.signals.get("health/skipped_steps", 0.0) for line in lines]
    if sum(count > 0 for count in skipped) >= max(len(skipped) / 2 * slack, 2):
        return f"{sum(skipped):.0f} steps had gradients that were not finite"
    return None


def _detect_stall(state: HealthState, lines: Sequence[LogLine], slack: float) -> str | None:
    return _stall_evidence(state, lines, "health/d_logit_margin", slack)


def _detect_critic_stall(state: HealthState, lines: Sequence[LogLine], slack: float) -> str | None:
    return _stall_evidence(state, lines, "loss/wasserstein", slack)


def _stall_evidence(
    state: HealthState, lines: Sequence[LogLine], margin_metric: str, slack: float
) -> str | None:
    """D does not separate real and fake images, G's gradient is tiny, and its images do not change.

    All three are needed: Adam scales small gradients up, so that G may keep learning from them.
    """
    gradients, margins = _values(lines, "health/g_grad_norm"), _values(lines, margin_metric)
    if not gradients or max(gradients) > _TINY_GRADIENT / slack:
        return None
    if max(map(abs, margins), default=1) > 0.1 / slack:
        return None
    fids = [
        next((v for k, v in line.signals.items() if k.startswith("quality/fid_")), math.nan)
        for line in state.measurements[-3:]
    ]
    progress = fids if fids else _relative_spreads(lines)
    if len(progress) < 2 or max(progress) > min(progress) * (1 + 0.1 / slack):
        return None
    metric = "FID" if fids else "spread of the images"
    return (
        f"D's mean outputs for real and fake images differ by only "
        f"{statistics.median(margins):.2g}, the norm of G's gradient is "
        f"{statistics.median(gradients):.1g}, and the {metric} stays at {progress[-1]:.3g}"
    )


def _detect_memorisation(state: HealthState, lines: Sequence[LogLine], slack: float) -> str | None:
    """Generated images are closer to training images than held-out images are."""
    copies = _values(state.measurements, "quality/memorisation")
    if len(copies) >= 2 and min(copies[-2:]) > 0.3 * slack:
        return (
            f"{copies[-1]:.0%} of the images are less than half as far from a training image as "
            "held-out images are"
        )
    return None


def _lower_quartile(values: Sequence[float]) -> float:
    """Return what three quarters of the values reach: the signals of a diverging pair oscillate."""
    return sorted(values)[len(values) // 4]


def _relative_spreads(lines: Sequence[LogLine]) -> list[float]:
    """Return the spread of generated images relative to that of real images, for each line."""
    return [
        line.signals["health/fake_spread"] / line.signals["health/real_spread"]
        for line in lines
        if line.signals.get("health/real_spread") and "health/fake_spread" in line.signals
    ]


def _values(lines: Sequence[LogLine], name: str) -> list[float]:
    return [line.signals[name] for line in lines if name in line.signals]


# Most urgent first. A strong critic is no problem: WGAN-GP needs one.
_DETECTORS: dict[str, dict[Name, Detector]] = {
    "dcgan": {
        "diverging": _detect_divergence,
        "discriminator too strong": _detect_strong_d,
        "mode collapse": _detect_collapse,
        "stalled": _detect_stall,
        "memorising": _detect_memorisation,
    },
    "wgan-gp": {
        "diverging": _detect_critic_divergence,
        "mode collapse": _detect_collapse,
        "stalled": _detect_critic_stall,
        "memorising": _detect_memorisation,
    },
}
# For an objective whose losses have no thresholds above.
_ANY_OBJECTIVE: dict[Name, Detector] = {
    "diverging": lambda state, lines, slack: _detect_skipped_steps(lines, slack),
    "mode collapse": _detect_collapse,
    "memorising": _detect_memorisation,
}
