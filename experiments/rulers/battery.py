"""The tests that a ruler has to pass on a set of real images, and their verdicts."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from experiments.rulers import damage
from experiments.rulers.damage import Damage
from experiments.rulers.grounds import Ground
from gantrain.metrics.distances import Moments, frechet_distance, kernel_distance
from gantrain.metrics.neighbours import expected_coverage, precision_recall_density_coverage

Describe = Callable[[Tensor], Tensor]
Scores = dict[str, float]

NEAR_IDEAL = 0.9  # of real images against real ones, relative to the ideal
MOST_LOST = 0.2  # by damage that nobody sees, relative to undamaged images
_KERNEL_IMAGES = 2000
_SLACK = 0.02  # by which a fraction may rise where it should fall: that of 20 of 1,000 images
_NEIGHBOURS_VOTING = 5

WHOLE_SET = {"fid": "rises", "kid": "rises", "precision": "falls", "coverage": "falls"}
PART_OF_SET = {"fid": "rises", "kid": "rises", "recall": "falls", "coverage": "falls"}

GRADED = (
    Damage("blur, σ in pixels", (0.5, 1, 2, 4), damage.blur, WHOLE_SET),
    Damage("noise, σ in grey levels", (5, 15, 45), damage.noise, WHOLE_SET),
    Damage("less contrast", (0.1, 0.25, 0.5), damage.contrast, WHOLE_SET),
    Damage("shuffled quarters", (0.25, 0.5, 1), damage.shuffle_quarters, WHOLE_SET),
    Damage("dropped classes", (0.25, 0.5, 0.75), damage.drop_classes, PART_OF_SET),
    Damage("copied images", (0.5, 0.9, 0.98), damage.duplicate, PART_OF_SET),
)
UNSEEN = (
    Damage("brighter, grey levels", (1,), damage.brighten, {}),
    Damage("moved, pixels", (1,), damage.shift, {}),
)


@dataclass(frozen=True)
class Verdict:
    """The outcome of a test.

    value: what was measured, for display. passed: whether it is as it has to be.
    """

    test: str
    value: str
    passed: bool


def measure(reference: Tensor, fake: Tensor) -> Scores:
    """Return the metrics of features (N, D) against those of a reference (R, D)."""
    x, y = reference[:_KERNEL_IMAGES], fake[:_KERNEL_IMAGES]
    return {
        "fid": frechet_distance(Moments.of(reference), Moments.of(fake)),
        "kid": 1000 * kernel_distance(x, y),
        **precision_recall_density_coverage(reference[: len(fake)], fake),
    }


def run_battery(
    describe: Describe, ground: Ground, graded: Sequence[Damage] = GRADED
) -> tuple[list[Verdict], dict[tuple[str, float], Scores]]:
    """Return the verdicts on a ruler, and the metrics by damage and level."""
    reference = describe(ground.reference).double()
    scale = reference.var(0).mean().sqrt().clamp_min(1e-12)
    reference = reference / scale

    def score(images: Tensor) -> Scores:
        return measure(reference, describe(images).double() / scale)

    undamaged = score(ground.others)
    scores = {("none", 0.0): undamaged}
    verdicts = [_near_ideal(undamaged, ground)]
    for kind in graded:
        levels = [score(kind.apply(ground.others, ground.other_classes, x)) for x in kind.levels]
        scores |= {(kind.name, x): s for x, s in zip(kind.levels, levels, strict=True)}
        verdicts += [graded_verdict(kind, name, [undamaged, *levels]) for name in kind.expected]
    varied = ground.only_varied()
    before = undamaged if len(varied.others) == len(ground.others) else score(varied.others)
    for kind in UNSEEN:
        after = score(kind.apply(varied.others, varied.other_classes, kind.levels[0]))
        scores[kind.name, kind.levels[0]] = after
        verdicts.append(_invariance(kind, before, after))
    if len(ground.unseen):
        unseen = describe(ground.unseen).double() / scale
        accuracy = neighbour_accuracy(
            reference,
            ground.classes,
            unseen,
            ground.unseen_classes,
        )
        held_out = measure(reference, unseen)
        ideal = expected_coverage(len(ground.unseen), len(ground.unseen))
        coverage = held_out["coverage"] / ideal
        scores["held-out", 0.0] = {"accuracy": accuracy, "coverage_of_ideal": coverage}
    return verdicts, scores


def graded_verdict(kind: Damage, name: str, levels: Sequence[Scores]) -> Verdict:
    """Return whether a metric gets worse at each level; the first level is that of no damage."""
    values = [scores[name] for scores in levels]
    if kind.expected[name] == "rises":
        passed = all(b > a for a, b in itertools.pairwise(values))
    else:
        steps = all(b < a + _SLACK for a, b in itertools.pairwise(values))
        passed = steps and values[-1] < values[0] - _SLACK
    return Verdict(f"{kind.name}: {name}", " ".join(f"{v:.3g}" for v in values), passed)


def neighbour_accuracy(rows: Tensor, labels: Tensor, queries: Tensor, expected: Tensor) -> float:
    """Return how often the majority of the five nearest rows has the class of a query."""
    nearest = torch.cdist(queries.float(), rows.float()).topk(_NEIGHBOURS_VOTING, largest=False)
    return float((labels[nearest.indices].mode(1).values == expected).double().mean())


def _near_ideal(scores: Scores, ground: Ground) -> Verdict:
    count = len(ground.others)
    # Of precision and recall no ideal is known that holds for every distribution; 1 is the bound.
    ideals = {"precision": 1.0, "recall": 1.0, "coverage": expected_coverage(count, count)}
    shares = {name: scores[name] / ideal for name, ideal in ideals.items()}
    value = " ".join(f"{share:.3f}" for share in shares.values())
    return Verdict("real against real, of the ideal", value, min(shares.values()) >= NEAR_IDEAL)


def _invariance(kind: Damage, before: Scores, after: Scores) -> Verdict:
    kept = {name: after[name] / before[name] for name in ("precision", "recall", "coverage")}
    value = " ".join(f"{share:.2f}" for share in kept.values())
    return Verdict(kind.name, value, min(kept.values()) >= 1 - MOST_LOST)
