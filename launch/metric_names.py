"""Which metrics a run logs, from its config: for the metrics that a sweep file names."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, get_args

from gantrain.config.objectives import ObjectiveConfig
from gantrain.config.quality import goal_of
from gantrain.config.sections import DEFAULT_METRIC
from gantrain.health.overrides import Overrides

Direction = Literal["min", "max"]

_ALWAYS = (
    *("loss/discriminator", "loss/generator", "health/d_accuracy_real", "health/d_accuracy_fake"),
    *("health/d_grad_norm", "health/g_grad_norm", "health/real_spread", "health/fake_spread"),
    *("health/diagnosis", "speed/images_per_second"),
)
_BY_FEATURES = ("fid", "kid", "precision", "recall", "density", "coverage")
_BY_CLASSES = ("parts_made", "parts_covered", "parts_divergence")
_BY_PIXELS = ("swd", "diversity", "ms_ssim", "checkerboard", "memorisation")
_REMEDIES = tuple(f"remedy/{field.name}" for field in dataclasses.fields(Overrides))


def names_of(flat: Mapping[str, Any]) -> list[str]:
    """Return the metrics that a run with this config logs, if its data set allows all of them."""
    names = [*_ALWAYS, *_of_objective(flat["objective.kind"])]
    if flat["health.remedy"] == "auto":
        names += _REMEDIES
    if flat["metrics.every_kimg"]:
        features = flat["metrics.features"]
        kinds = ("brick", "random") if features == "auto" else (features,)
        names += [f"quality/{name}_{kind}" for kind in kinds for name in _BY_FEATURES]
        names += [f"quality/{name}" for name in _BY_CLASSES if "brick" in kinds]
        names += [f"quality/{name}" for name in _BY_PIXELS]
        names.append("speed/seconds_of_metrics")
    return names


def measures(flat: Mapping[str, Any], metric: str) -> bool:
    """Return whether a run with this config logs a metric.

    The losses and health metrics of an objective that does not list them count as logged.
    """
    if _listed(flat["objective.kind"]) is None and metric.startswith(("loss/", "health/")):
        return True
    return full_name(metric, names_of(flat)) is not None


def full_name(metric: str, logged: Iterable[str]) -> str | None:
    """Return the logged metric that a name stands for; None if there is none.

    `quality/fid` stands for the FID by whichever features the runs use.
    """
    by_features = []
    for name in logged:
        if name == metric:
            return name
        if name.rpartition("_")[0] == metric and goal_of(metric):
            by_features.append(name)
    return by_features[0] if by_features else None


def is_due(line: Mapping[str, Any], metric: str) -> bool:
    """Return whether a line of metrics.jsonl has a metric, or lacks it although it was measured."""
    group = "quality/" if metric == "speed/seconds_of_metrics" else metric.rpartition("/")[0] + "/"
    return metric in line or group == "/" or any(key.startswith(group) for key in line)


def direction_of(metric: str | None) -> Direction | None:
    """Return which values of a metric are better, as its name says; None if it does not say it."""
    goal = goal_of(f"{metric or DEFAULT_METRIC}")
    goals: dict[str | None, Direction] = {"lowest": "min", "highest": "max"}
    return goals.get(goal)


def _of_objective(kind: str) -> Sequence[str]:
    return _listed(kind) or ()


def _listed(kind: str) -> Sequence[str] | None:
    sections = get_args(get_args(ObjectiveConfig)[0])
    by_kind = {get_args(s.model_fields["kind"].annotation)[0]: s for s in sections}
    listed: Sequence[str] | None = getattr(by_kind.get(kind), "LOGGED", None)
    return listed
