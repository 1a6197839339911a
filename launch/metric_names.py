"""Which metrics a run logs, from its config: for the metrics that a sweep file names."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from gantrain.config.objectives import sections_by_kind
from gantrain.config.quality import (
    BY_CLASSES,
    BY_CONDITION,
    BY_FEATURES,
    BY_HELD_OUT,
    BY_PIXELS,
    BY_TWO_SAMPLES,
    MIN_TWO_SAMPLES,
    WITH_CLASSES,
    default_features,
    full_name,
    goal_of,
    images_for_fid,
)
from gantrain.config.sections import DEFAULT_METRIC
from gantrain.health.overrides import Overrides

Direction = Literal["min", "max"]

LABELLED = "labelled"  # beside the keys of a config: whether its data set has several classes
_ALWAYS = (
    *("loss/discriminator", "loss/generator"),
    *(f"health/{n}_{what}" for what in ("grad_norm", "weight_change") for n in "dg"),
    *(
        f"health/{kind}_{what}"
        for what in ("spread", "twins", "range", "saturated")
        for kind in ("real", "fake")
    ),
    *("health/diagnosis", "speed/images_per_second"),
)
_WITHIN_CLASSES = tuple(
    f"health/{kind}_class_{what}" for what in ("spread", "twins") for kind in ("real", "fake")
)
_REMEDIES = tuple(f"remedy/{field.name}" for field in dataclasses.fields(Overrides))


def names_of(flat: Mapping[str, Any]) -> list[str]:
    """Return the metrics that a run with this config logs, if its data set allows all of them.

    The ends of the 95% intervals of quality metrics are logged too, but runs are not compared by
    them."""
    names = [*_ALWAYS, *_of_objective(flat["objective.kind"])]
    conditioned = flat.get("conditioning.kind", "none") != "none"
    if conditioned:
        names += _WITHIN_CLASSES
    names += [f"loss/{r}" for r in ("r1", "r2") if _has_weight(flat, f"objective.{r}_gamma")]
    if flat["health.remedy"] == "auto":
        names += _REMEDIES
    if flat["metrics.every_kimg"]:
        features = flat["metrics.features"]
        streamed = flat.get("data.mode") == "stream"
        kind = default_features(streamed=streamed) if features == "auto" else features
        samples = flat.get("metrics.samples", math.inf)
        with_fid = samples >= images_for_fid(kind)
        names += [f"quality/{name}_{kind}" for name in BY_FEATURES if with_fid or name != "fid"]
        classified = kind in WITH_CLASSES and not streamed and flat.get(LABELLED, True)
        if classified:
            names += [f"quality/{name}" for name in BY_CLASSES]
        if conditioned:
            measured = [n for n in BY_CONDITION if classified or n != "class_accuracy"]
            names += [f"quality/{name}" for name in measured]
        names += [f"quality/{name}" for name in (*BY_PIXELS, *BY_HELD_OUT)]
        names += [f"quality/{name}" for name in BY_TWO_SAMPLES if samples >= MIN_TWO_SAMPLES]
        names.append("speed/seconds_of_metrics")
    return names


def _has_weight(flat: Mapping[str, Any], key: str) -> bool:
    """Return whether a weight is not 0: a number, a word, or a schedule with keys of its own."""
    return bool(flat.get(key)) or any(name.startswith(f"{key}.") for name in flat)


def measures(flat: Mapping[str, Any], metric: str) -> bool:
    """Return whether a run with this config logs a metric.

    The losses and health metrics of an objective that does not list them count as logged.
    """
    if _listed(flat["objective.kind"]) is None and metric.startswith(("loss/", "health/")):
        return True
    return full_name(metric, names_of(flat)) is not None


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
    listed: Sequence[str] | None = getattr(sections_by_kind().get(kind), "LOGGED", None)
    return listed
