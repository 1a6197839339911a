"""What automatic remedies remember of a run: adjustments, those on trial, and what did not help."""

from dataclasses import replace

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from gantrain.health.overrides import Overrides
from gantrain.health.problems import Name
from gantrain.health.trend import Trend, is_better

INITIAL_PATIENCE = 300  # generator steps
_JUDGED_AFTER = 2  # measurements
RESPONSE_STEPS = 300  # generator steps before the second of them, if they are frequent


class Adjustment(BaseModel):
    """A change of one setting.

    setting: name of a field of Overrides.
    g_steps: number of generator steps at which it was made.
    reason: the diagnosis, for how long no fault has been seen, or that the quality is no better.
    remedy: the problem whose remedy it is part of, which need not be the diagnosed one; None for a
        reversion, and in files of version 0.2 and earlier.
    """

    model_config = ConfigDict(populate_by_name=True)  # aliases: names in files of version 0.1
    setting: str = Field(validation_alias=AliasChoices("setting", "knob"))
    before: float
    after: float
    g_steps: int
    reason: str
    remedy: Name | None = None

    @property
    def key(self) -> str:
        """`REMEDY: SETTING`."""
        return key_of(self.remedy or self.reason, self.setting)

    def __str__(self) -> str:
        return f"{self.setting} {self.before:g} -> {self.after:g} ({self.reason})"


class Trial(BaseModel):
    """Adjustments that are judged by the next measurements of quality.

    tried: the keys of the adjustments, one setting for each remedy.
    kept: number of adjustments in effect before them.
    metric, rank: the quality at the first of them, or at the first measurement after it if there
        was none before; a lower rank is better. None until then.
    since: ranks of the measurements since the last of them.
    changed_at, measured_at: generator steps at the last of them, and at the newest measurement.
    """

    tried: list[str] = Field(default_factory=list)
    kept: int
    metric: str | None = None
    rank: float | None = None
    since: list[float] = Field(default_factory=list)
    changed_at: int = 0
    measured_at: int = 0

    def note(self, quality: Trend) -> None:
        """Add the newest measurement, unless it is known already.

        The first one of another metric than before is what the next ones are compared with.
        """
        newest = quality.g_steps[-1]
        if self.rank is None or quality.metric != self.metric:
            self.metric, self.rank, self.since = quality.metric, quality.ranks[-1], []
        elif newest > self.measured_at:
            self.since = [*self.since, quality.ranks[-1]]
        self.measured_at = newest

    @property
    def failed(self) -> bool | None:
        """Whether no measurement is better; None if it is too early to say."""
        if self.rank is None or len(self.since) < _JUDGED_AFTER:
            return None
        if self.measured_at - self.changed_at < RESPONSE_STEPS:
            return None
        return not is_better(min(self.since), self.rank)


class RemedyState(BaseModel):
    """The adjustments of a run so far; saved in every checkpoint.

    adjustments: those in effect, oldest first.
    adjusted_at: generator steps at the last adjustment or reversion.
    reverted: an adjustment was reverted because no fault was seen, so that another one would be a
        relapse.
    quiet_since: generator steps since which no fault has been seen; None while one is.
    patience: generator steps without a fault before the last adjustment is reverted.
    trial: the adjustments whose effect on the quality is not known yet; None without any.
    useless: keys of adjustments that were reverted because they did not help, or because they led
        to a problem that asked for the opposite.
    """

    model_config = ConfigDict(populate_by_name=True)
    overrides: Overrides = Field(
        default_factory=Overrides, validation_alias=AliasChoices("overrides", "knobs")
    )
    adjustments: list[Adjustment] = Field(
        default_factory=list, validation_alias=AliasChoices("adjustments", "turns")
    )
    adjusted_at: int = Field(0, validation_alias=AliasChoices("adjusted_at", "turned_at"))
    reverted: bool = Field(False, validation_alias=AliasChoices("reverted", "taken_back"))
    quiet_since: int | None = None
    patience: int = INITIAL_PATIENCE
    trial: Trial | None = None
    useless: list[str] = Field(default_factory=list)

    def add(self, adjustment: Adjustment) -> None:
        """Put an adjustment into effect."""
        self.adjustments = [*self.adjustments, adjustment]
        self._set(adjustment)

    def revert(self, index: int, g_steps: int, reason: str) -> Adjustment:
        """Revert the newest adjustment of a setting, given its index; return the reversion."""
        index %= len(self.adjustments)
        gone = self.adjustments[index]
        reversion = Adjustment(
            setting=gone.setting,
            before=gone.after,
            after=gone.before,
            g_steps=g_steps,
            reason=reason,
        )
        self.adjustments = [x for i, x in enumerate(self.adjustments) if i != index]
        if self.trial is not None:
            self.trial.kept -= index < self.trial.kept
            if len(self.adjustments) <= self.trial.kept:
                self.trial = None
        self._set(reversion)
        return reversion

    def mark_useless(self, adjustment: Adjustment) -> None:
        """Remember not to make such an adjustment again."""
        self.useless = list(dict.fromkeys([*self.useless, adjustment.key]))

    def _set(self, adjustment: Adjustment) -> None:
        self.overrides = replace(self.overrides, **{adjustment.setting: adjustment.after})
        self.adjusted_at = adjustment.g_steps


def key_of(remedy: str, setting: str) -> str:
    """Return what names a setting as a part of a remedy."""
    return f"{remedy}: {setting}"
