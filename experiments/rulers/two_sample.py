"""The battery for the classifier two-sample test, which compares images instead of features."""

import itertools
from collections.abc import Sequence

from torch import Tensor

from experiments.rulers.battery import MOST_LOST, UNSEEN, Scores, Verdict
from experiments.rulers.damage import Damage
from experiments.rulers.grounds import Ground
from gantrain.metrics.two_sample import two_sample_test

_CHANCE = 0.5
_SLACK = 0.05  # two standard deviations with 250 unseen images of each set


def run_two_sample_battery(
    ground: Ground, graded: Sequence[Damage]
) -> tuple[list[Verdict], dict[tuple[str, float], Scores]]:
    """Return the verdicts on the two-sample test, and its areas by damage and level."""

    def score(images: Tensor) -> float:
        return two_sample_test(ground.reference, images)[0]

    undamaged = score(ground.others)
    scores = {("none", 0.0): {"c2st": undamaged}}
    near = abs(undamaged - _CHANCE) < 2 * _SLACK
    verdicts = [Verdict("real against real", f"{undamaged:.3f}", near)]
    for kind in graded:
        levels = [score(kind.apply(ground.others, ground.other_classes, x)) for x in kind.levels]
        verdicts.append(_graded(kind.name, [undamaged, *levels]))
        for level, area in zip(kind.levels, levels, strict=True):
            scores[kind.name, level] = {"c2st": area}
    for kind in UNSEEN:
        area = score(kind.apply(ground.others, ground.other_classes, kind.levels[0]))
        scores[kind.name, kind.levels[0]] = {"c2st": area}
        # A fifth of the way from images that cannot be told apart to those that always can.
        kept = area <= undamaged + MOST_LOST * (1 - _CHANCE)
        verdicts.append(Verdict(kind.name, f"{undamaged:.3f} {area:.3f}", kept))
    return verdicts, scores


def _graded(name: str, areas: Sequence[float]) -> Verdict:
    """Return whether the area rises with the damage, except by chance, and ends higher."""
    rises = all(after > before - _SLACK for before, after in itertools.pairwise(areas))
    passed = rises and areas[-1] > areas[0] + _SLACK
    return Verdict(name, " ".join(f"{area:.3f}" for area in areas), passed)
