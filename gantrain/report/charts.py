"""Which metrics share a chart on the page of a run, and what a reader needs beside each."""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from gantrain.config.quality import class_name_of, describe_goal, interval_names
from gantrain.health.problems import CODES, NO_FAULT, words_for
from gantrain.health.verdict import Verdict
from gantrain.runs.records import Record

Section = Literal["Quality", "Classes", "Losses", "Health", "Schedules and speed"]

_HEADLINES = 3
_CLASSES_IN_A_CHART = 8  # more curves cannot be distinguished
_SUMMARY = "quality/classes_covered"  # shown with the accuracy of the classifier that it hangs on
_COMPETE = "neither loss has a best value: G and D compete"
_GAP = "lower is better while the critic keeps up"


@dataclass(frozen=True)
class Chart:
    """Metrics that share a chart.

    hint: which values are better; "" where none are.
    floor: what real images score against other real images in the first metric, if it is known.
    log: whether the axis is logarithmic unless the reader wants another.
    """

    title: str
    metrics: list[str]
    section: Section
    hint: str = ""
    floor: float | None = None
    log: bool = False


@dataclass(frozen=True)
class Band:
    """A span of the training with one diagnosis. start, end: images seen. tone: good, soft, bad."""

    start: int
    end: int
    name: str
    tone: Literal["good", "soft", "bad"]


@dataclass(frozen=True)
class Charts:
    """The charts of a run: the few that say most, and the others."""

    headline: list[Chart] = field(default_factory=list)
    others: list[Chart] = field(default_factory=list)


_LIKE_REAL = "best like the real images"
_MORE = "higher is better"
_CHANCE = "0.5 is chance; near 1, D sees through every image"
_SPEED: Section = "Schedules and speed"
_GROUPS = (
    Chart("loss", ["loss/discriminator", "loss/generator"], "Losses", _COMPETE),
    Chart(
        "score gap of the critic (Wasserstein estimate)",
        ["loss/wasserstein", "loss/critic_held_out"],
        section="Losses",
        hint=_GAP,
    ),
    Chart(
        "squared gradient of D at real (r1) and generated images (r2)",
        ["loss/r1", "loss/r2"],
        "Losses",
    ),
    Chart("accuracy of D", ["health/d_accuracy_real", "health/d_accuracy_fake"], "Health", _CHANCE),
    Chart(
        "pairs in which D scores the real image higher",
        ["health/d_pair_accuracy"],
        section="Health",
        hint=_CHANCE,
    ),
    Chart("gradient norms", ["health/d_grad_norm", "health/g_grad_norm"], "Health", log=True),
    Chart(
        "diversity of images", ["health/fake_spread", "health/real_spread"], "Health", _LIKE_REAL
    ),
    Chart(
        "almost equal pairs of images",
        ["health/fake_twins", "health/real_twins"],
        section="Health",
        hint=_LIKE_REAL,
    ),
    Chart(
        "diversity within a class",
        ["health/fake_class_spread", "health/real_class_spread"],
        section="Health",
        hint=_LIKE_REAL,
    ),
    Chart(
        "almost equal pairs within a class",
        ["health/fake_class_twins", "health/real_class_twins"],
        section="Health",
        hint=_LIKE_REAL,
    ),
    Chart("range of pixels", ["health/fake_range", "health/real_range"], "Health", _LIKE_REAL),
    Chart(
        "black and white pixels",
        ["health/fake_saturated", "health/real_saturated"],
        section="Health",
        hint=_LIKE_REAL,
    ),
    Chart(
        "relative change of weights in a step",
        ["health/d_weight_change", "health/g_weight_change"],
        "Health",
        log=True,
    ),
    Chart(
        "ADA: probability p of augmentation, overfitting r of D",
        ["augment/p", "augment/r"],
        "Health",
    ),
    Chart(
        "schedules of the learning rates",
        ["schedule/d_learning_rate", "schedule/g_learning_rate"],
        _SPEED,
    ),
    Chart("schedules of Adam's β₂", ["schedule/d_beta2", "schedule/g_beta2"], _SPEED),
)
# The diagnosis is a band over all charts. The shares are the schedules over the highest rate.
_WITHOUT_CHART = ("health/diagnosis", "health/d_rate_share", "health/g_rate_share")


def choose_charts(
    metrics: Sequence[str], verdict: Verdict, floor: Mapping[str, float] | None = None
) -> Charts:
    """Return the charts of a run that has logged these metrics; each is in at most one chart.

    verdict: its metric comes first. floor: scores of real images, by metric.
    """
    charts = list(_group(metrics, floor or {}))
    by_metric = {metric: chart for chart in charts for metric in chart.metrics}
    wanted = [by_metric[metric] for metric in _by_importance(metrics, verdict)]
    headline = list({chart.title: chart for chart in wanted}.values())[:_HEADLINES]
    return Charts(headline, [chart for chart in charts if chart not in headline])


def diagnosis_bands(events: Sequence[Record], images: Sequence[int]) -> list[Band]:
    """Return the diagnoses of a run over images seen, without gaps from the first line on.

    events: oldest first. A run that resumed may repeat a part of itself; the repetition counts.
    images: images seen at each line of metrics.
    """
    found: list[tuple[int, str]] = [(0, words_for("starting"))]
    for event in events:
        seen, name = event.get("images_seen"), event.get("diagnosis")
        back = event.get("to") if event.get("event") == "rolled_back" else seen
        if event.get("event") in ("resumes", "rolled_back") and isinstance(back, int):
            found = [(start, was) for start, was in found if start <= back]
        if event.get("event") == "diagnosis" and name and isinstance(seen, int):
            found = [(start, was) for start, was in found if start < seen]
            found.append((seen, words_for(str(name))))
    if not images or len(found) < 2:
        return []
    ends = [start for start, _ in found[1:]] + [max(images[-1], found[-1][0])]
    spans = [(start, end, name) for (start, name), end in zip(found, ends, strict=True)]
    return [Band(start, end, name, _tone(name)) for start, end, name in _joined(spans)]


def _joined(spans: Sequence[tuple[int, int, str]]) -> Iterator[tuple[int, int, str]]:
    for name, same in itertools.groupby(spans, key=lambda span: span[2]):
        parts = list(same)
        yield parts[0][0], parts[-1][1], name


def _tone(name: str) -> Literal["good", "soft", "bad"]:
    if name == NO_FAULT:
        return "good"
    return "soft" if name == words_for("starting") or name not in CODES else "bad"


def _by_importance(metrics: Sequence[str], verdict: Verdict) -> list[str]:
    """Return the metrics that deserve a headline, most telling first."""
    patterns = (
        *(verdict.metric, r"quality/fid_.*", r"quality/kid_.*"),
        *(_SUMMARY, "quality/class_accuracy", r"quality/recall_.*"),
        *("loss/wasserstein", "loss/discriminator"),
        *("health/d_accuracy_real", "health/d_pair_accuracy", "health/d_grad_norm"),
        *("health/fake_spread", "loss/generator", r"quality/.*", r"loss/.*", r"health/.*"),
    )
    # Of the first three, and of the next three, one is enough.
    groups = (patterns[:3], patterns[3:6], *((pattern,) for pattern in patterns[6:]))
    found = []
    for group in groups:
        matches = (m for p in group if p for m in metrics if re.fullmatch(p, m))
        found += [m for m in itertools.islice(matches, 1) if m not in _WITHOUT_CHART]
    return found


def _group(metrics: Sequence[str], floor: Mapping[str, float]) -> Iterator[Chart]:
    remaining = dict.fromkeys(m for m in metrics if m not in _WITHOUT_CHART)

    def take(names: Sequence[str]) -> list[str]:
        present = [name for name in names if name in remaining]
        for name in present:
            del remaining[name]
        return present

    if _SUMMARY in remaining:
        names = [_SUMMARY, "quality/classes_accuracy", *interval_names(_SUMMARY)]
        yield Chart(_SUMMARY, take(names), "Quality", describe_goal(_SUMMARY), floor.get(_SUMMARY))
    for name in [m for m in remaining if m.startswith("quality/")]:
        names = take([name, *interval_names(name)])
        yield Chart(name, names, "Quality", describe_goal(name), floor.get(name))
    for chart in _GROUPS:
        if present := take(chart.metrics):
            yield replace(chart, metrics=present)
    for kind in ("accuracy", "diversity"):
        of_classes = take([m for m in remaining if class_name_of(m, kind)])
        for i in range(0, len(of_classes), _CLASSES_IN_A_CHART):
            shown = of_classes[i : i + _CLASSES_IN_A_CHART]
            count = f" ({i + 1} to {i + len(shown)})" if len(of_classes) > len(shown) else ""
            yield Chart(f"{kind} of each class{count}", shown, "Classes", _MORE)
    for name in [m for m in remaining if not m.startswith("interval/")]:
        yield Chart(name, [name], _section_of(name))


def _section_of(metric: str) -> Section:
    if metric.startswith("loss/"):
        return "Losses"
    return _SPEED if metric.startswith(("schedule/", "speed/")) else "Health"
