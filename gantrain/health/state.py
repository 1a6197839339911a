"""What the diagnosis remembers of a run; saved in every checkpoint."""

from typing import Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, field_validator

from gantrain.health.problems import Name, todays_name
from gantrain.health.signals import LogLine, relative_spreads, values_of


class Peak(BaseModel):
    """The newest value of a signal that was clearly higher than all before."""

    value: float
    g_steps: int


class Best(BaseModel):
    """The best measurement of a quality metric.

    high: upper end of its interval, if one was logged.
    """

    value: float
    g_steps: int
    images_seen: int | None = None
    high: float | None = None


class HealthState(BaseModel):
    """What the diagnosis remembers of a run; fields that older checkpoints lack have a default.

    evidence: the numbers behind the diagnosis; "" in checkpoints of version 0.2 and earlier.
    recent: log lines of the last window, oldest first.
    measurements: the last quality metrics, oldest first.
    first: the first quality metrics; None if a checkpoint of version 0.2 or earlier lacks them.
    max_spread, min_spread: extremes over all log lines of the spread of generated images, relative
        to that of real images.
    spread_peak: when that spread last grew.
    course: log lines of the last `COURSE_STEPS`, one in `COURSE_INTERVAL` steps, oldest first.
    max_margin, min_loss, min_saturated: largest difference of D's mean logits, lowest loss of D and
        lowest fraction of generated pixels that were black or white so far; None if they are not
        known of all lines.
    clear_since: generator steps since which the milder thresholds have not been met.
    best: the best measurement of each quality metric that the trend is judged by.
    worse_since: images seen at the first of the measurements, up to the newest, that are all far
        worse than the best; None if the newest is not.
    """

    model_config = ConfigDict(populate_by_name=True)  # aliases: names in files of version 0.1
    diagnosis: Name = "starting"
    evidence: str = ""
    recent: list[LogLine] = Field(
        default_factory=list, validation_alias=AliasChoices("recent", "lines")
    )
    measurements: list[LogLine] = Field(
        default_factory=list, validation_alias=AliasChoices("measurements", "measured")
    )
    first: LogLine | None = None
    max_spread: float = Field(0.0, validation_alias=AliasChoices("max_spread", "widest"))
    min_spread: float | None = Field(None, validation_alias=AliasChoices("min_spread", "narrowest"))
    spread_peak: Peak | None = None
    course: list[LogLine] = Field(default_factory=list)
    max_margin: float | None = None
    min_loss: float | None = None
    min_saturated: float | None = None
    clear_since: int | None = None
    best: dict[str, Best] = Field(default_factory=dict)
    worse_since: int | None = None

    @field_validator("diagnosis", mode="before")
    @classmethod
    def _read_name(cls, diagnosis: Any) -> Any:
        return todays_name(diagnosis) if isinstance(diagnosis, str) else diagnosis


COURSE_STEPS = 300  # generator steps
COURSE_INTERVAL = 20
_MIN_COURSE = 3  # lines, however long ago they were logged
_GROWTH = 1.05  # factor by which a spread must exceed the last peak to be a new one


def note_extremes(state: HealthState, line: LogLine) -> None:
    """Update the extremes by a new line, before it is added to the recent ones."""
    for spread in relative_spreads([line]):
        if state.spread_peak is None or spread > _GROWTH * state.spread_peak.value:
            state.spread_peak = Peak(value=spread, g_steps=line.g_steps)
        state.max_spread = max(state.max_spread, spread)
        state.min_spread = min(state.min_spread or spread, spread)
    for margin in values_of([line], "health/d_logit_margin"):
        if state.max_margin is not None or not state.recent:
            state.max_margin = max(state.max_margin or 0.0, margin)
    for loss in values_of([line], "loss/discriminator"):
        if state.min_loss is not None or not state.recent:
            state.min_loss = loss if state.min_loss is None else min(state.min_loss, loss)
    for share in values_of([line], "health/fake_saturated"):
        if state.min_saturated is not None or not state.recent:
            lowest = share if state.min_saturated is None else state.min_saturated
            state.min_saturated = min(share, lowest)
    _note_course(state, line)


def _note_course(state: HealthState, line: LogLine) -> None:
    if state.course and line.g_steps - state.course[-1].g_steps < COURSE_INTERVAL:
        return
    lines = [*state.course, line]
    lately = sum(line.g_steps - each.g_steps < COURSE_STEPS for each in lines)
    state.course = lines[-max(lately, _MIN_COURSE) :]
