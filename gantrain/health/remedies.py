"""Gradual, reversible adjustments of a training run with a diagnosed problem.

Decisions depend only on metrics that are reduced over the ranks, so that all ranks make the same
ones without communicating. One setting is adjusted at a time, and the training gets 100 generator
steps to respond. After long enough without a fault the last adjustment is reverted; a relapse
doubles that time.

Where the quality is measured, nothing changes while it improves, in either direction, and a problem
gets one setting at a time: the next one waits until two measurements have judged the first. If they
are no better and there still is a problem, it is reverted and not tried again for that remedy.

Two problems may ask for opposite changes of one setting. The second then takes back what the first
one did, which is not tried again for that, so that no setting is changed to and fro.
"""

from dataclasses import asdict

from pydantic import BaseModel

from gantrain.config import Config
from gantrain.health.diagnosis import WINDOW_STEPS
from gantrain.health.overrides import Overrides
from gantrain.health.problems import NO_FAULT, Name
from gantrain.health.remedy_state import Adjustment, RemedyState, Trial, key_of
from gantrain.health.trend import Trend

_MAX_LABEL_CHANGE = 0.4  # flips or noise, beyond which D's targets carry little information
_DROPOUT_LIMIT = 0.6  # of the config and the override together


class _Step(BaseModel):
    """How a remedy changes a setting each time: by a factor or an amount, up to a bound."""

    setting: str
    factor: float = 1.0
    amount: float = 0.0
    bound: float

    def apply(self, value: float) -> float:
        changed = value * self.factor + self.amount
        return min(changed, self.bound) if changed > value else max(changed, self.bound)

    @property
    def raises(self) -> bool:
        return self.factor > 1 or self.amount > 0


_WEAKER_D = _Step(setting="d_rate", factor=0.5, bound=0.1)
_FASTER_G = _Step(setting="g_rate", factor=2.0, bound=4.0)
_SLOWER_G = _Step(setting="g_rate", factor=0.5, bound=0.1)
_FLIPS = _Step(setting="label_flips", amount=0.05, bound=0.15)
_NOISE = _Step(setting="label_noise", amount=0.1, bound=0.3)
_DROPOUT = _Step(setting="dropout", amount=0.1, bound=0.3)
_STRONGER_D = _Step(setting="d_rate", factor=2.0, bound=8.0)

# Each step is repeated up to its bound before the next one. A faster G comes first against a strong
# D: once G has collapsed, a weaker D does not help it to recover (docs/experiments.md).
_REMEDIES: dict[Name, tuple[_Step, ...]] = {
    "discriminator too strong": (_FASTER_G, _WEAKER_D, _NOISE, _FLIPS, _DROPOUT),
    "mode collapse": (_STRONGER_D, _SLOWER_G),
    "diverging": (_WEAKER_D, _SLOWER_G),
    "stalled": (_STRONGER_D,),
    "memorising": (_DROPOUT,),
}


def choose_adjustment(
    state: RemedyState,
    diagnosis: Name,
    g_steps: int,
    config: Config,
    *,
    d_leads: bool = False,
    d_wins: bool = False,
    quality: Trend | None = None,
) -> Adjustment | None:
    """Choose the next adjustment and record it in the state; None changes nothing.

    g_steps: number of generator steps so far.
    d_leads: D still separates real and fake images. A generator that collapses then is treated as
        if D were too strong: it needs a D that it can follow, not a better one.
    d_wins: D is too strong beside the diagnosed problem. Quality that falls then is treated for it.
    quality: the measurements so far, None without any.

    The caller applies `state.overrides` to the training.
    """
    if not config.metrics.every_kimg:
        quality = None  # of an earlier part of the run
    if state.trial is not None and quality is not None:
        state.trial.note(quality)
    improving = quality is not None and quality.gaining
    if diagnosis in (NO_FAULT, "starting"):
        return _return(state, g_steps, improving=improving)
    state.quiet_since = None
    if quality is not None and (reversion := _judge(state, quality, g_steps)) is not None:
        return reversion
    if improving or (state.adjusted_at and g_steps - state.adjusted_at < WINDOW_STEPS):
        return None
    remedy = diagnosis
    if (diagnosis == "mode collapse" and d_leads) or (diagnosis == "quality falling" and d_wins):
        remedy = "discriminator too strong"
    step = _next_step(state, remedy, config)
    return None if step is None else _take(state, step, remedy, diagnosis, g_steps, config, quality)


def _return(state: RemedyState, g_steps: int, *, improving: bool) -> Adjustment | None:
    """Revert the last adjustment if no fault has been seen for long enough."""
    if state.quiet_since is None:
        state.quiet_since = g_steps
    if state.trial is not None and state.trial.failed is not None:
        state.trial = None  # the problem is gone, whatever the quality
    quiet = g_steps - max(state.quiet_since, state.adjusted_at)
    if not state.adjustments or quiet < state.patience or improving:
        return None
    state.reverted = True
    return state.revert(-1, g_steps, f"no fault seen for {state.patience} steps")


def _judge(state: RemedyState, quality: Trend, g_steps: int) -> Adjustment | None:
    """End a trial that two measurements have judged; revert its adjustments if it has failed.

    They are reverted one in each log line, the last one first.
    """
    trial = state.trial
    if trial is None or trial.failed is None:
        return None
    if not trial.failed:
        state.trial = None
        return None
    state.mark_useless(state.adjustments[-1])
    reason = f"{quality.label} is no better after {len(trial.since)} measurements"
    return state.revert(-1, g_steps, reason)


def _next_step(state: RemedyState, remedy: Name, config: Config) -> _Step | None:
    """Return the first step of a remedy that is possible and not known as useless."""
    steps = (
        step
        for step in _REMEDIES.get(remedy, ())
        if key_of(remedy, step.setting) not in state.useless
        and _is_possible(step, state.overrides, config)
    )
    return next(steps, None)


def _take(
    state: RemedyState,
    step: _Step,
    remedy: Name,
    diagnosis: Name,
    g_steps: int,
    config: Config,
    quality: Trend | None,
) -> Adjustment | None:
    """Take a step, or take back its opposite; do neither while a setting before it is judged."""
    key = key_of(remedy, step.setting)
    tried = state.trial.tried if state.trial is not None else []
    if key not in tried and any(each.startswith(f"{remedy}: ") for each in tried):
        return None
    opposite = _opposite(state, step, remedy)
    if opposite is not None:
        state.mark_useless(state.adjustments[opposite])
        return state.revert(opposite, g_steps, diagnosis)
    if state.reverted:
        state.patience *= 2
        state.reverted = False
    if config.metrics.every_kimg:
        _try(state, key, g_steps, quality)
    before = float(getattr(state.overrides, step.setting))
    adjustment = Adjustment(
        setting=step.setting,
        before=before,
        after=step.apply(before),
        g_steps=g_steps,
        reason=diagnosis,
        remedy=remedy,
    )
    state.add(adjustment)
    return adjustment


def _try(state: RemedyState, key: str, g_steps: int, quality: Trend | None) -> None:
    """Start a trial, or extend it: with another step, or with another problem's setting."""
    if state.trial is None:
        state.trial = Trial(tried=[key], kept=len(state.adjustments))
        if quality is not None:
            state.trial.note(quality)
    elif key not in state.trial.tried:
        state.trial.tried = [*state.trial.tried, key]
    state.trial.since, state.trial.changed_at = [], g_steps


def _opposite(state: RemedyState, step: _Step, remedy: Name) -> int | None:
    """Return the index of the newest adjustment of the step's setting, if it was made by another
    remedy and the other way."""
    for index in reversed(range(len(state.adjustments))):
        last = state.adjustments[index]
        if last.setting == step.setting:
            same = (last.remedy or last.reason) == remedy or step.raises == (
                last.after > last.before
            )
            return None if same else index
    return None


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
