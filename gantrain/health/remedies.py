"""Gradual, reversible adjustments of a training run with a diagnosed problem.

Decisions depend only on metrics that are reduced over the ranks, so that all ranks make the same
ones without communicating. One setting is adjusted at a time, and the training gets 100 generator
steps to respond. After long enough without a fault the last adjustment is reverted; a relapse
doubles that time.

Where the quality is measured, nothing is adjusted while it improves. Adjustments after which two
measurements are no better, under a diagnosis that lasts, are reverted and not tried again for it.
"""

from dataclasses import asdict, replace

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from gantrain.config import Config
from gantrain.health.diagnosis import WINDOW_STEPS
from gantrain.health.overrides import Overrides
from gantrain.health.problems import NO_FAULT, Name
from gantrain.health.trend import Trend, is_better

_INITIAL_PATIENCE = 300  # generator steps
_MAX_PATIENCE = 10_000
_MAX_LABEL_CHANGE = 0.4  # flips or noise, beyond which D's targets carry little information
_DROPOUT_LIMIT = 0.6  # of the config and the override together


class Adjustment(BaseModel):
    """A change of one setting.

    setting: name of a field of Overrides.
    g_steps: number of generator steps at which it was made.
    reason: the diagnosis, for how long no fault has been seen, or that the quality is no better.
    """

    model_config = ConfigDict(populate_by_name=True)  # aliases: names in files of version 0.1
    setting: str = Field(validation_alias=AliasChoices("setting", "knob"))
    before: float
    after: float
    g_steps: int
    reason: str

    def __str__(self) -> str:
        return f"{self.setting} {self.before:g} -> {self.after:g} ({self.reason})"


class Trial(BaseModel):
    """Adjustments that are judged by the next measurements of quality.

    kept: number of adjustments in effect before them.
    problem: the diagnosis that they answer.
    metric, rank: the quality at the first of them; a lower rank is better.
    since: ranks of the measurements since then. measured_at: generator steps at the last of them.
    """

    kept: int
    problem: Name
    metric: str
    rank: float
    since: list[float] = Field(default_factory=list)
    measured_at: int


class RemedyState(BaseModel):
    """The adjustments of a run so far; saved in every checkpoint.

    adjustments: those in effect, oldest first.
    adjusted_at: generator steps at the last adjustment or reversion.
    reverted: the last change was a reversion, so that another adjustment would be a relapse.
    patience: generator steps without a fault before the last adjustment is reverted.
    trial: the adjustments whose effect on the quality is not known yet; None without any.
    useless: `PROBLEM: SETTING` of adjustments that were reverted because they did not help.
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
    patience: int = _INITIAL_PATIENCE
    trial: Trial | None = None
    useless: list[str] = Field(default_factory=list)


class _Step(BaseModel):
    """How a remedy changes a setting each time: by a factor or an amount, up to a bound."""

    setting: str
    factor: float = 1.0
    amount: float = 0.0
    bound: float

    def apply(self, value: float) -> float:
        changed = value * self.factor + self.amount
        return min(changed, self.bound) if changed > value else max(changed, self.bound)


_WEAKER_D = _Step(setting="d_rate", factor=0.5, bound=0.1)
_FASTER_G = _Step(setting="g_rate", factor=2.0, bound=4.0)
_SLOWER_G = _Step(setting="g_rate", factor=0.5, bound=0.1)
_FLIPS = _Step(setting="label_flips", amount=0.05, bound=0.15)
_NOISE = _Step(setting="label_noise", amount=0.1, bound=0.3)
_DROPOUT = _Step(setting="dropout", amount=0.1, bound=0.3)
_STRONGER_D = _Step(setting="d_rate", factor=2.0, bound=8.0)
_JUDGED_AFTER = 2  # measurements

# Each step is repeated up to its bound before the next one. A faster G comes first against a strong
# D: once G has collapsed, a weaker D does not help it to recover (docs/experiments.md).
_REMEDIES: dict[Name, tuple[_Step, ...]] = {
    "discriminator too strong": (_FASTER_G, _WEAKER_D, _NOISE, _FLIPS, _DROPOUT),
    "mode collapse": (_STRONGER_D, _SLOWER_G),
    "diverging": (_WEAKER_D, _SLOWER_G),
    "stalled": (_STRONGER_D,),
    "memorising": (_DROPOUT,),
    # Not tested yet: lower rates, as at the end of a schedule, keep what was learnt.
    "quality falling": (_WEAKER_D, _SLOWER_G),
}


def choose_adjustment(
    state: RemedyState,
    diagnosis: Name,
    g_steps: int,
    config: Config,
    *,
    d_leads: bool = False,
    quality: Trend | None = None,
) -> Adjustment | None:
    """Choose the next adjustment and record it in the state; None changes nothing.

    g_steps: number of generator steps so far.
    d_leads: D still separates real and fake images. A generator that collapses then, or whose
        quality falls, is treated as if D were too strong: it needs a D that it can follow, not a
        better one.
    quality: the measurements so far, None without any.

    The caller applies `state.overrides` to the training.
    """
    elapsed = g_steps - state.adjusted_at
    if diagnosis in (NO_FAULT, "starting"):
        state.trial = None  # it has helped, whatever the quality
        if not state.adjustments or diagnosis == "starting" or elapsed < state.patience:
            return None
        return _revert_last(state, g_steps, f"no fault seen for {state.patience} steps")
    if (failed := _judge(state, quality)) is not None:
        return _revert_last(state, g_steps, failed)
    if state.adjusted_at and elapsed < WINDOW_STEPS:
        return None
    if quality is not None and quality.improving:
        return None
    step = _next_step(state, diagnosis, config, d_leads=d_leads)
    if step is None:
        return None
    if state.reverted:
        state.patience = min(2 * state.patience, _MAX_PATIENCE)
        state.reverted = False
    if state.trial is None and quality is not None:
        state.trial = Trial(
            kept=len(state.adjustments),
            problem=diagnosis,
            metric=quality.metric,
            rank=quality.ranks[-1],
            measured_at=quality.g_steps[-1],
        )
    before = float(getattr(state.overrides, step.setting))
    adjustment = Adjustment(
        setting=step.setting,
        before=before,
        after=step.apply(before),
        g_steps=g_steps,
        reason=diagnosis,
    )
    state.adjustments = [*state.adjustments, adjustment]
    return _record(state, adjustment)


def _next_step(
    state: RemedyState, diagnosis: Name, config: Config, *, d_leads: bool
) -> _Step | None:
    """Return the first step of the problem's remedy that is possible and not known as useless."""
    problem = diagnosis
    if diagnosis in ("mode collapse", "quality falling") and d_leads:
        problem = "discriminator too strong"
    steps = (
        step
        for step in _REMEDIES.get(problem, ())
        if f"{diagnosis}: {step.setting}" not in state.useless
        and _is_possible(step, state.overrides, config)
    )
    return next(steps, None)


def _judge(state: RemedyState, quality: Trend | None) -> str | None:
    """Return why the last adjustment is to be reverted, if the quality shows that it is useless.

    All adjustments of a trial are reverted, one in each log line.
    """
    trial = state.trial
    if trial is None or quality is None or quality.metric != trial.metric:
        return None
    if quality.g_steps[-1] > trial.measured_at:
        trial.measured_at = quality.g_steps[-1]
        trial.since = [*trial.since, quality.ranks[-1]]
    if len(trial.since) < _JUDGED_AFTER:
        return None
    if is_better(min(trial.since), trial.rank) or len(state.adjustments) <= trial.kept:
        state.trial = None
        return None
    found = f"{trial.problem}: {state.adjustments[-1].setting}"
    state.useless = list(dict.fromkeys([*state.useless, found]))
    if len(state.adjustments) == trial.kept + 1:
        state.trial = None
    return f"{quality.label} is no better after {len(trial.since)} measurements"


def _revert_last(state: RemedyState, g_steps: int, reason: str) -> Adjustment:
    *rest, last = state.adjustments
    state.adjustments, state.reverted = rest, True
    return _record(
        state,
        Adjustment(
            setting=last.setting,
            before=last.after,
            after=last.before,
            g_steps=g_steps,
            reason=reason,
        ),
    )


def _record(state: RemedyState, adjustment: Adjustment) -> Adjustment:
    state.overrides = replace(state.overrides, **{adjustment.setting: adjustment.after})
    state.adjusted_at = adjustment.g_steps
    return adjustment


def _is_possible(step: _Step, overrides: Overrides, config: Config) -> bool:
    """Return whether the step changes its setting and the config leaves room for the change."""
    value = float(asdict(overrides)[step.setting])
    after = step.apply(value)
    if after == value or (step.factor > 1 and value >= step.bound):
        return False
    if step.setting == "dropout":
        return config.discriminator.dropout + after < _DROPOUT_LIMIT
    if step.setting in ("label_flips", "label_noise"):
        objective = config.objective
        if objective.kind != "dcgan":
            return False
        return float(getattr(objective, step.setting)) + after <= _MAX_LABEL_CHANGE
    return True
