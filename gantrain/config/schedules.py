"""Values that change during a run: numbers, or schedules over the images seen."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import ConfigDict, Discriminator, Field, Tag, model_validator

from gantrain.common.expectations import quoted
from gantrain.common.records import is_number
from gantrain.config.section import Section
from gantrain.config.values import Beta, Fraction, NotNegative, Positive

Value = TypeVar("Value")  # a number and its range

Kimg = Annotated[float, Field(ge=0, le=1e9)]


class Schedule(Section, Generic[Value]):
    """A value that changes with the images seen.

    `value_at` has the formulas.
    """

    model_config = ConfigDict(json_schema_extra={"expected": "a schedule {from: …, to: …}"})

    start: Value = Field(alias="from", description="value before the change")
    end: Value | None = Field(None, alias="to", description="value after the change")
    kind: Literal["constant", "linear", "cosine"] = Field(
        "linear",
        description="how `from` changes to `to`; constant: it does not; left out: linear if `to` "
        "is given, else constant",
    )
    start_kimg: Kimg = Field(0.0, description="kimg at which the change begins")
    end_kimg: Annotated[float, Field(gt=0, le=1e9)] | None = Field(
        None, description="kimg at which the change ends; empty: training.total_kimg"
    )
    warmup_kimg: Kimg = Field(
        0.0, description="kimg over which a factor on the value rises linearly from 0 to 1"
    )

    @model_validator(mode="before")
    @classmethod
    def _choose_kind(cls, tree: Any) -> Any:
        if isinstance(tree, Mapping) and "kind" not in tree:
            return {**tree, "kind": "constant" if tree.get("to") is None else "linear"}
        return tree

    @model_validator(mode="after")
    def _fits_together(self) -> "Schedule[Value]":
        if self.kind != "constant":
            if self.end is None:
                raise ValueError(
                    f"kind {self.kind} needs the value that it ends at; give it as `to`"
                )
        elif self.end is not None:
            raise ValueError("kind constant stays at `from`; remove `to`, or choose linear, cosine")
        elif self.start_kimg or self.end_kimg is not None:
            raise ValueError("kind constant has no beginning or end; remove start_kimg, end_kimg")
        if self.end_kimg is not None:
            end, start, warmup = map(_plain, (self.end_kimg, self.start_kimg, self.warmup_kimg))
            if self.end_kimg <= self.start_kimg:
                raise ValueError(f"end_kimg {end} is not after start_kimg {start}; raise it")
            if self.end_kimg < self.warmup_kimg:
                raise ValueError(
                    f"warmup_kimg {warmup} is longer than the schedule, which ends at end_kimg "
                    f"{end}; shorten it"
                )
        return self

    @property
    def peak(self) -> float:
        """The largest value that the schedule can have."""
        return max(_number(self.start), _number(self.start if self.end is None else self.end))

    def cut_short(self, total_kimg: float) -> str | None:
        """Return where in the schedule a run of this length ends, if that is too early."""
        if self.warmup_kimg > total_kimg:
            return f"within the warm-up of {self.warmup_kimg:g} kimg"
        if self.kind != "constant" and self.start_kimg >= total_kimg:
            return f"before the change begins at {self.start_kimg:g} kimg"
        return None


def value_at(value: float | Schedule[Any], images_seen: int, total_images: int) -> float:
    """Return a value at a number of images seen: a function of these arguments alone.

    With n = images_seen, n₀ = 1000 start_kimg, n₁ = 1000 end_kimg or, if that is empty,
    total_images, and t = (n - n₀) / (n₁ - n₀) limited to [0, 1], a schedule from a to b is

        constant    a
        linear      a + (b - a) t
        cosine      b + (a - b) (1 + cos π t) / 2       (Loshchilov and Hutter 2017, equation 5)

    times min(1, n / (1000 warmup_kimg)).
    """
    if not isinstance(value, Schedule):
        return value
    result = _number(value.start)
    if value.end is not None:
        end = _number(value.end)
        # Exactly a and b at the ends, and never outside them.
        share = _share(value, images_seen, total_images)
        low, high = sorted((result, end))
        result = min(max(result * (1 - share) + end * share, low), high)
    warmup = _images(value.warmup_kimg)
    return result * images_seen / warmup if images_seen < warmup else result


def _share(schedule: Schedule[Any], images_seen: int, total_images: int) -> float:
    """Return which part of the change has happened, from 0 to 1."""
    start = _images(schedule.start_kimg)
    end = total_images if schedule.end_kimg is None else _images(schedule.end_kimg)
    if images_seen <= start:
        return 0.0
    if images_seen >= end:
        return 1.0
    t = (images_seen - start) / (end - start)
    return (1 - math.cos(math.pi * t)) / 2 if schedule.kind == "cosine" else t


def _images(kimg: float) -> float:
    """Return kimg in images; 1000 times 2.015 is a bit more than 2,015 in floating point."""
    return round(1000 * kimg, 6)


def peak_of(value: float | Schedule[Any]) -> float:
    """Return the largest value that a number or a schedule can have."""
    return value.peak if isinstance(value, Schedule) else value


def describe(value: Any) -> Any:
    """Return a plain value of a config with its schedules as text: `0.0002→0 cosine`."""
    if isinstance(value, list | tuple):
        return [describe(each) for each in value]
    if not isinstance(value, Mapping):
        return value
    keys = {"to": None, "kind": "linear", "start_kimg": 0, "end_kimg": None, "warmup_kimg": 0}
    end, kind, first, last, warmup = (value.get(key, default) for key, default in keys.items())
    words = [_plain(value.get("from"))]
    if end is not None:
        words[0] += f"→{_plain(end)} {kind}"
    if first or last is not None:
        words.append(f"from {_plain(first)} kimg" if first else "")
        words.append(f"until {_plain(last)} kimg" if last is not None else "")
    if warmup:
        words.append(f"warm-up {_plain(warmup)} kimg")
    return " ".join(filter(None, words))


def _plain(value: object) -> str:
    return f"{value:g}" if is_number(value) else quoted(value)


_NETWORKS = {"generator": "g", "discriminator": "d"}
_CURVE_PREFIXES = {"generator": "g_", "discriminator": "d_", "ema": "ema_"}


def curves_at(config: Section, images_seen: int, total_images: int) -> dict[str, float]:
    """Return the value of each schedule in a whole config, by the name that it is logged under.

    For learning rates also `health/g_rate_share` and `health/d_rate_share`: the value divided by
    the highest one of its schedule, by which a network that rests is told from a broken one.
    """
    curves = {}
    for key, schedule in schedules_in(config).items():
        value = value_at(schedule, images_seen, total_images)
        curves[curve_of(key)] = value
        section, _, name = key.partition(".")
        if name == "learning_rate" and schedule.peak:
            curves[f"health/{_NETWORKS[section]}_rate_share"] = value / schedule.peak
    return curves


def curve_of(key: str) -> str:
    """Return the name in metrics.jsonl of a scheduled key, as `schedules_in` names it."""
    section, _, name = key.partition(".")
    name = name.replace("betas.1", "beta2")
    return f"schedule/{_CURVE_PREFIXES.get(section, '')}{name}"


def schedules_in(section: Section) -> dict[str, Schedule[Any]]:
    """Return the schedules in a section, or in a whole config, by dotted key.

    The second of `betas` is `betas.1`.
    """
    return dict(_schedules_in(section, ""))


def _schedules_in(value: object, key: str) -> Iterator[tuple[str, Schedule[Any]]]:
    if isinstance(value, Schedule):
        yield key, value
        return
    inner: Iterable[tuple[str | int, object]] = ()
    if isinstance(value, Section):
        inner = value
    elif isinstance(value, tuple):
        inner = enumerate(value)
    for name, each in inner:
        yield from _schedules_in(each, f"{key}.{name}" if key else str(name))


def _number(value: Any) -> float:
    return float(value)


class WeightSchedule(Schedule[NotNegative]):
    __doc__ = Schedule.__doc__


class BetaSchedule(Schedule[Beta]):
    __doc__ = Schedule.__doc__


class FractionSchedule(Schedule[Fraction]):
    __doc__ = Schedule.__doc__


def _form(value: object) -> str:
    return "schedule" if isinstance(value, Mapping | Schedule) else "number"


def _form_or(word: str) -> Callable[[object], str]:
    return lambda value: word if value == word else _form(value)


# The keys that take a number or a schedule. The form of a value decides which of the two is meant.
_BY_FORM = Discriminator(_form)
_Weight = Annotated[WeightSchedule, Tag("schedule")]
ScheduledRate = Annotated[Annotated[Positive, Tag("number")] | _Weight, _BY_FORM]
ScheduledWeight = Annotated[Annotated[NotNegative, Tag("number")] | _Weight, _BY_FORM]
AutoWeight = Annotated[
    Annotated[NotNegative, Tag("number")] | _Weight | Annotated[Literal["auto"], Tag("auto")],
    Discriminator(_form_or("auto")),
]
ScheduledBeta = Annotated[
    Annotated[Beta, Tag("number")] | Annotated[BetaSchedule, Tag("schedule")], _BY_FORM
]
_Fraction = Annotated[FractionSchedule, Tag("schedule")]
ScheduledFraction = Annotated[Annotated[Fraction, Tag("number")] | _Fraction, _BY_FORM]
AdaptiveFraction = Annotated[
    Annotated[Fraction, Tag("number")] | _Fraction | Annotated[Literal["ada"], Tag("ada")],
    Discriminator(_form_or("ada")),
]
