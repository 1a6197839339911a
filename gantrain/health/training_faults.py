"""Problems that losses, gradients and weights show. Each function is a Detector."""

import itertools
import math
import statistics
from collections.abc import Sequence

from gantrain.health.signals import (
    NOT_FINITE,
    LogLine,
    accuracies_of,
    lower_quartile,
    relative_spreads,
    resting,
    values_of,
)
from gantrain.health.state import HealthState
from gantrain.health.trend import trend_of
from gantrain.health.weight_faults import stands_still

_CHANCE_LOSS = math.log(2)  # DCGAN's D loss if D guesses
_CHANCE_HINGE_LOSS = 2.0  # likewise with the hinge loss
_MAX_FLOAT_MARGIN = 100.0  # exp(-104) is 0 in float32
TINY_GRADIENT = 0.02  # norm of G's gradient
_CHANGED = 1.5  # factor between spreads of images that do change
_LOOSE_PENALTY = 0.02  # of a critic whose gradient norm is off by 0.14 in the mean
_LEARNS = 1e-3  # relative change of a network's weights in a step


def detect_strong_d(state: HealthState, lines: Sequence[LogLine], slack: float) -> str | None:
    """D classifies all images correctly and confidently.

    G's gradient then shows which pixels give an image away, not what is missing from it (Arjovsky
    and Bottou 2017).
    """
    return _strong_evidence(
        lines,
        slack,
        accuracies=accuracies_of(lines),
        errors=0.05,
        text="D is right on at least {} of real and fake images, its mean logits differ by {}",
    )


def detect_strong_pairwise_d(
    state: HealthState, lines: Sequence[LogLine], slack: float
) -> str | None:
    """With relativistic pairing, D scores real images far above generated ones in nearly all pairs.

    D's loss is then next to 0. A single image is classified correctly less often than a pair: a D
    that is right on 95% of the images of each kind, with scores of normal distributions, is right
    on 99% of the pairs.
    """
    return _strong_evidence(
        lines,
        slack,
        accuracies=values_of(lines, "health/d_pair_accuracy"),
        errors=0.01,
        text="D scores the real image above the generated one in at least {} of the pairs, by {} "
        "in the mean",
    )


def _strong_evidence(
    lines: Sequence[LogLine],
    slack: float,
    *,
    accuracies: Sequence[float],
    errors: float,
    text: str,
) -> str | None:
    """Return what shows that D is too strong, by its accuracies and logits or else by the losses.

    errors: the largest fraction of errors of a D that is too strong.
    text: of the evidence, with the least accuracy and the median difference of the logits.
    """
    margins = values_of(lines, "health/d_logit_margin")
    if not accuracies and not margins:
        return _strong_by_losses(lines, slack)
    if not accuracies or not margins:
        return None
    if min(accuracies) < 1 - errors / slack or min(margins) < 6 * slack:
        return None
    found = text.format(f"{min(accuracies):.0%}", f"{statistics.median(margins):.1f}")
    return f"{found} (below 5 if D and G are balanced)"


def _strong_by_losses(lines: Sequence[LogLine], slack: float) -> str | None:
    """The same where only losses were logged.

    D's is the mean over real and fake or their sum; G's is that of `-log D`, which is usual.
    """
    d, g = (values_of(lines, f"loss/{name}") for name in ("discriminator", "generator"))
    if not d or not g or max(d) > 0.05 / slack or min(g) < 4 * slack:
        return None
    return (
        f"D's loss is {statistics.median(d):.2g} and G's {statistics.median(g):.1f}, so that D "
        "takes nearly all images for what they are (0.69 and 0.69 if it guesses)"
    )


def detect_met_margins(state: HealthState, lines: Sequence[LogLine], slack: float) -> str | None:
    """With the hinge loss, D scores nearly all images beyond its margins and has stopped learning.

    G then follows the slope of a D that no longer answers it.
    """
    accuracies, losses = accuracies_of(lines), values_of(lines, "loss/discriminator")
    if not accuracies or not losses:
        return None
    if min(accuracies) < 1 - 0.05 / slack or max(losses) > 0.1 * _CHANCE_HINGE_LOSS / slack:
        return None
    if stands_still("generator", lines, slack):
        return None  # it could not meet these margins, whatever D taught it
    return (
        f"D is right on at least {min(accuracies):.0%} of real and fake images, and its loss is "
        f"{statistics.median(losses):.2g}, so that few images still teach it (2 if it guesses)"
    )


def detect_divergence(state: HealthState, lines: Sequence[LogLine], slack: float) -> str | None:
    """Losses or logits of DCGAN are far larger than in any working training."""
    return _margin_evidence(
        lines,
        slack,
        "D's mean logits differ by {}, so that the probability of fake images to be real is 0 in "
        "float32",
    ) or _loss_evidence(lines, _CHANCE_LOSS, slack)


def detect_pair_divergence(
    state: HealthState, lines: Sequence[LogLine], slack: float
) -> str | None:
    """With relativistic pairing, the loss or the margin is far larger than in any working training.

    As for DCGAN: D's loss of a pair is the cross-entropy of the difference of its scores.
    """
    return _margin_evidence(
        lines,
        slack,
        "D scores real images above generated ones by {}, so that its loss is 0 in float32",
    ) or _loss_evidence(lines, _CHANCE_LOSS, slack)


def detect_hinge_divergence(
    state: HealthState, lines: Sequence[LogLine], slack: float
) -> str | None:
    """The hinge loss is far larger than in any working training; its scores have no bound."""
    return _loss_evidence(lines, _CHANCE_HINGE_LOSS, slack)


def _margin_evidence(lines: Sequence[LogLine], slack: float, text: str) -> str | None:
    margins = values_of(lines, "health/d_logit_margin")
    if margins and lower_quartile(margins) > _MAX_FLOAT_MARGIN * slack:
        return text.format(f"{statistics.median(margins):.3g}")
    return None


def _loss_evidence(lines: Sequence[LogLine], chance: float, slack: float) -> str | None:
    losses = values_of(lines, "loss/discriminator")
    if losses and lower_quartile(losses) > 2 * chance * slack:
        return f"D's loss is {statistics.median(losses):.2f}, more than twice that of guessing"
    return None


def detect_critic_divergence(
    state: HealthState, lines: Sequence[LogLine], slack: float
) -> str | None:
    """The gradient penalty fails to keep the critic's gradient norm near 1.

    That of a young critic may start far above, and come down steadily.
    """
    penalties = values_of(lines, "loss/penalty")
    if slack == 1 and _falls(penalties):
        return None
    if penalties and lower_quartile(penalties) > 2 * slack:
        return (
            f"the critic's gradient norm is {1 + statistics.median(penalties) ** 0.5:.1f}; the "
            "penalty should keep it near 1"
        )
    return None


def _falls(values: Sequence[float]) -> bool:
    """Return whether values get smaller from line to line, and all in all by a tenth."""
    steady = all(b <= a for a, b in itertools.pairwise(values))
    return steady and len(values) > 1 and values[-1] < 0.9 * values[0]


def detect_broken_steps(state: HealthState, lines: Sequence[LogLine], slack: float) -> str | None:
    """Many steps had gradients, or many lines losses, that were not finite."""
    for name, what in (
        ("health/skipped_steps", "steps had gradients"),
        (NOT_FINITE, "losses were logged"),
    ):
        counts = [line.signals.get(name, 0.0) for line in lines]
        if sum(count > 0 for count in counts) >= max(len(counts) / 2 * slack, 2):
            return f"{sum(counts):.0f} {what} that were not finite"
    return None


def detect_stall(state: HealthState, lines: Sequence[LogLine], slack: float) -> str | None:
    """DCGAN, or D with the hinge loss or relativistic pairing, learns no longer."""
    return _stall_evidence(state, lines, "health/d_logit_margin", slack)


def detect_critic_stall(state: HealthState, lines: Sequence[LogLine], slack: float) -> str | None:
    """WGAN-GP learns no longer."""
    return _stall_evidence(state, lines, "loss/wasserstein", slack)


def _stall_evidence(
    state: HealthState, lines: Sequence[LogLine], margin_metric: str, slack: float
) -> str | None:
    """D does not separate real and fake images, G's gradient is tiny, and its images do not change.

    All three are needed: Adam scales small gradients up, so that G may keep learning from them.
    """
    gradients, margins = values_of(lines, "health/g_grad_norm"), values_of(lines, margin_metric)
    if not gradients or max(gradients) > TINY_GRADIENT / slack:
        return None
    if any(resting(line.signals) for line in lines):
        return None
    if max(map(abs, margins), default=1) > 0.1 / slack:
        return None
    spreads = relative_spreads(state.course)
    if max(spreads, default=0.0) > _CHANGED * min(spreads, default=0.0):
        return None
    trend = trend_of(state)
    progress = trend.values[-3:] if trend else relative_spreads(lines)
    if len(progress) < 3 or max(progress) > min(progress) * (1 + 0.1 / slack):
        return None
    metric = trend.label if trend else "spread of the images"
    return (
        f"D's mean outputs for real and fake images differ by only "
        f"{statistics.median(margins):.2g}, the norm of G's gradient is "
        f"{statistics.median(gradients):.1g}, and the {metric} stays at {progress[-1]:.3g}"
    )


def detect_idle_labels(state: HealthState, lines: Sequence[LogLine], slack: float) -> str | None:
    """D learns, but has never separated real from fake images, not even those of an untrained G.

    With flips of probability p, D's best logits are ±ln((1 - p) / p), and its loss is the entropy
    of p: at 0.45 they differ by 0.4, at a loss of 0.993 ln 2.
    """
    losses = values_of(lines, "loss/discriminator")
    changes = values_of(lines, "health/d_weight_change")
    if not losses or not changes or min(changes) < _LEARNS * slack:
        return None
    if state.max_margin is None or state.max_margin > 0.6 / slack or state.min_loss is None:
        return None
    # An upper bound as well: the loss of a diverging D is far above.
    low, high = state.min_loss / _CHANCE_LOSS, max(losses) / _CHANCE_LOSS
    if low < 1 - 0.07 / slack or high > 1 + 0.1 / slack:
        return None
    return (
        f"D learns, but its loss stays at {statistics.median(losses):.3f}, that of guessing, and "
        f"its mean logits never differed by more than {state.max_margin:.2g}, not even while G "
        "was untrained"
    )


def detect_penalty_off(state: HealthState, lines: Sequence[LogLine], slack: float) -> str | None:
    """The critic's gradient norm is too large, and the penalty has next to no weight."""
    return _without_penalty(lines, slack, least=1.0)


def detect_light_penalty(state: HealthState, lines: Sequence[LogLine], slack: float) -> str | None:
    """The penalty has next to no weight, and the critic's gradient norm is not near 1.

    For a critic whose gradient nothing else bounds; spectral normalisation keeps it below 1.
    """
    return _without_penalty(lines, slack, least=_LOOSE_PENALTY)


def _without_penalty(lines: Sequence[LogLine], slack: float, least: float) -> str | None:
    """Return what shows that the penalty has next to no weight, or None.

    The weight follows from the losses: D's loss is weight * penalty - score difference.

    least: of the penalty, the mean squared distance of the gradient norm from 1.
    """
    penalties = values_of(lines, "loss/penalty")
    if not penalties or lower_quartile(penalties) < least * slack:
        return None
    weights = []
    for line in lines:
        found = [line.signals.get(f"loss/{n}") for n in ("discriminator", "wasserstein", "penalty")]
        loss, distance, penalty = (math.nan if value is None else value for value in found)
        if penalty > 0 and 1e-6 * abs(distance) < 0.01 * penalty:  # else rounding hides it
            weights.append((loss + distance) / penalty)
    if len(weights) < len(lines) / 2 or max(map(abs, weights)) > 0.05 / slack:
        return None
    return (
        f"the gradient penalty counts {max(statistics.median(weights), 0.0):.1g} times in the "
        f"critic's loss, and its gradient norm is off by {statistics.median(penalties) ** 0.5:.2g} "
        "instead of near 1"
    )
