"""Diagnosis of a training run from its metrics, with evidence and advice; see docs/health.md.

The signals are the means of a log interval, as in metrics.jsonl. A problem is diagnosed if it shows
in every log line of the last 100 generator steps, or of the last 300 if young GANs without a fault
show it for a while, or in successive measurements of the quality. The diagnosis ends once milder
thresholds have not been met for 100 steps.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import BaseModel

from gantrain.health.class_faults import (
    detect_alike_within_classes,
    detect_flat_classes,
    detect_ignored_classes,
)
from gantrain.health.image_faults import (
    detect_narrow_range,
    detect_outrun,
    detect_pinned_range,
    detect_saturated_output,
    detect_saturation,
    detect_spread_collapse,
    detect_twins,
    detect_unsuitable_data,
)
from gantrain.health.known import UNKNOWN, Known
from gantrain.health.problems import ADVICE, NO_FAULT, NO_PROBLEM, Name
from gantrain.health.quality_faults import (
    detect_class_collapse,
    detect_falling_quality,
    detect_memorisation,
    detect_never_learnt,
    detect_same_images,
)
from gantrain.health.signals import LogLine, split_signals, values_of, without_rest
from gantrain.health.state import COURSE_STEPS, HealthState, note_extremes
from gantrain.health.training_faults import (
    detect_broken_steps,
    detect_critic_divergence,
    detect_critic_stall,
    detect_divergence,
    detect_hinge_divergence,
    detect_idle_labels,
    detect_light_penalty,
    detect_met_margins,
    detect_pair_divergence,
    detect_penalty_off,
    detect_stall,
    detect_strong_d,
    detect_strong_pairwise_d,
)
from gantrain.health.trend import note_measurement
from gantrain.health.weight_faults import detect_dead_player, detect_slow_player

QUIET_STEPS = 250  # generator steps before the first diagnosis
WINDOW_STEPS = 100  # generator steps for which a problem must show
_MIN_LINES = 3
_MAX_LINES = 64
_MILDER = 0.7  # factor on the thresholds that keep a diagnosis

# Returns the evidence of a problem, or None. Arguments: the state; the log lines that must all show
# the problem, possibly none; a factor on the thresholds, below 1 to keep a diagnosis rather than to
# make one.
Detector = Callable[[HealthState, Sequence[LogLine], float], str | None]


class Diagnosis(BaseModel):
    """The name of a problem, the numbers that show it, and what may help ("" without a problem)."""

    name: Name
    evidence: str
    advice: str


@dataclass(frozen=True)
class Check:
    """A detector, the problem that it finds and the values of objective.kind that it applies to.

    kinds: empty for any.
    from_start: it needs no training before it, as one of the data.
    lasting: whether its signs must show for `COURSE_STEPS`: a young GAN shows them for a while.
    """

    name: Name
    detect: Detector
    kinds: tuple[str, ...] = ()
    from_start: bool = False
    lasting: bool = False


# Most urgent first: causes before what follows from them, and what a user can lose the best
# generator by before what is only slow. A strong critic is no problem: WGAN-GP needs one.
CHECKS = (
    Check("unsuitable data", detect_unsuitable_data, from_start=True),
    Check("saturated output", detect_saturated_output),
    Check("saturated output", detect_pinned_range),
    Check("discriminator too strong", detect_met_margins, ("hinge",)),  # D stands still then
    Check("dead player", detect_dead_player),
    Check("mode collapse", detect_outrun),
    Check("dead player", detect_slow_player),
    Check("penalty off", detect_penalty_off, ("wgan-gp",)),
    Check("penalty off", detect_light_penalty, ("wgan-gp",)),
    Check("uninformative labels", detect_idle_labels, ("dcgan",)),
    Check("diverging", detect_divergence, ("dcgan",)),
    Check("diverging", detect_critic_divergence, ("wgan-gp",)),
    Check("diverging", detect_hinge_divergence, ("hinge",)),
    Check("diverging", detect_pair_divergence, ("rpgan",)),
    Check("diverging", detect_broken_steps),
    Check("mode collapse", detect_class_collapse),
    Check("quality falling", detect_falling_quality),
    Check("saturated output", detect_saturation),
    Check("discriminator too strong", detect_strong_d, ("dcgan",)),
    Check("discriminator too strong", detect_strong_pairwise_d, ("rpgan",)),
    Check("mode collapse", detect_spread_collapse, lasting=True),
    Check("mode collapse", detect_alike_within_classes, lasting=True),
    Check("mode collapse", detect_twins, lasting=True),
    Check("mode collapse", detect_flat_classes),
    Check("mode collapse", detect_same_images),
    Check("classes ignored", detect_ignored_classes),
    Check("saturated output", detect_narrow_range, lasting=True),
    Check("stalled", detect_stall, ("dcgan", "hinge", "rpgan")),
    Check("stalled", detect_critic_stall, ("wgan-gp",)),
    Check("memorising", detect_memorisation),
    Check("never learnt", detect_never_learnt),
)


def observe(
    state: HealthState,
    kind: str,
    g_steps: int,
    metrics: Mapping[str, float],
    *,
    images_seen: int | None = None,
    known: Known = UNKNOWN,
) -> Diagnosis | None:
    """Add a line of metrics to the state; return the diagnosis if it changed, else None.

    kind: objective.kind of the config; one that CHECKS does not name gets the checks that do not
        depend on the loss.
    g_steps: number of generator steps so far.
    metrics: means of the log interval; only loss/…, health/…, quality/…, class/… and interval/…
        count.
    images_seen: real images that D has seen so far, for the evidence and for an early stop.
    known: of the settings and the data. A D that only starts slowly looks as if few labels were
        right.
    """
    signals, quality = split_signals(metrics)
    signals = without_rest(signals)
    if quality:
        measurement = LogLine(g_steps=g_steps, signals=quality, images_seen=images_seen)
        note_measurement(state, measurement)
    if signals:
        line = LogLine(g_steps=g_steps, signals=signals, images_seen=images_seen)
        note_extremes(state, line)
        lines = [*state.recent, line][-_MAX_LINES:]
        in_window = sum(line.g_steps > g_steps - WINDOW_STEPS for line in lines)
        state.recent = lines[-max(in_window, _MIN_LINES) :]
    checks = _ready_checks(state, kind, g_steps, _with_known(known))
    checks = [check for check in checks if _fits(check, known)]
    if not checks:
        return None
    name, evidence = _diagnose(state, checks, g_steps)
    if name == state.diagnosis or (name == NO_FAULT and g_steps < QUIET_STEPS):
        return None
    state.diagnosis = name
    state.clear_since = None
    return Diagnosis(name=name, evidence=evidence, advice=ADVICE.get(name, ""))


def _fits(check: Check, known: Known) -> bool:
    """Return whether the settings allow the problem of a check."""
    if check.name == "uninformative labels":
        return not known.has_labels
    return check.detect is not detect_light_penalty or known.needs_penalty


def discriminator_leads(state: HealthState) -> bool:
    """Return whether D, not a critic, separates real and fake images in the newest log lines."""
    margins = values_of(state.recent[-_MIN_LINES:], "health/d_logit_margin")
    return bool(margins) and min(margins) > 1


def discriminator_wins(state: HealthState, kind: str) -> bool:
    """Return whether D is as good as too strong, whatever more urgent problem was diagnosed.

    kind: objective.kind of the config.
    """
    lines = state.recent[-_MIN_LINES:]
    return any(
        check.detect(state, lines, _MILDER) is not None
        for check in CHECKS
        if check.name == "discriminator too strong" and kind in check.kinds
    )


def _with_known(known: Known) -> list[Check]:
    few = known.few_images
    if not few:
        return list(CHECKS)
    # What is wrong with the images themselves says more than their number.
    unsuitable, *others = CHECKS
    return [unsuitable, Check("unsuitable data", lambda *_: few, from_start=True), *others]


def _ready_checks(
    state: HealthState, kind: str, g_steps: int, checks: Sequence[Check]
) -> list[Check]:
    """Return the checks that apply to the objective and have enough to judge by."""
    if len(state.recent) < _MIN_LINES and len(state.measurements) < 2:
        return []
    return [
        check
        for check in checks
        if kind in (check.kinds or (kind,)) and (check.from_start or g_steps >= QUIET_STEPS)
    ]


def _diagnose(state: HealthState, checks: Sequence[Check], g_steps: int) -> tuple[Name, str]:
    """Return the most urgent problem and its evidence; the current one has milder thresholds."""
    recent = state.recent if len(state.recent) >= _MIN_LINES else []
    for check in checks:
        is_current = check.name == state.diagnosis
        lines = recent[-_MIN_LINES:] if is_current else recent
        if check.lasting and not is_current:
            if g_steps < COURSE_STEPS:
                continue
            lines = state.course
        evidence = check.detect(state, lines, _MILDER if is_current else 1.0)
        if evidence is not None:
            state.clear_since = None
            return check.name, evidence
    if state.diagnosis in {check.name for check in checks}:
        if state.clear_since is None:
            state.clear_since = g_steps
        if g_steps - state.clear_since < WINDOW_STEPS:
            return state.diagnosis, ""
    return NO_FAULT, NO_PROBLEM
