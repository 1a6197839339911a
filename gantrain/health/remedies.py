"""Adjusts a sick training run, gently and reversibly; decides from reduced metrics alone.

So each rank comes to the same decision without asking. One knob is turned at a time, then the
training has 100 generator steps to answer. When it has been well for long enough, the last turn is
taken back; a relapse doubles how long that is.
"""

from dataclasses import asdict, replace

from pydantic import BaseModel, Field

from gantrain.config import Config
from gantrain.health.diagnosis import WINDOW_STEPS, Name
from gantrain.health.overrides import Overrides

_FIRST_PATIENCE = 300  # generator steps of health, before a turn is taken back
_LONGEST_PATIENCE = 10_000
_MOST_TURNED_LABELS = 0.4  # flips and noise beyond which D's targets say little


class Adjustment(BaseModel):
    """One knob, before and after, at the generator's steps, and why."""

    knob: str
    before: float
    after: float
    g_steps: int
    reason: str

    def __str__(self) -> str:
        return f"{self.knob} {self.before:g} -> {self.after:g} ({self.reason})"


class RemedyState(BaseModel):
    """What has been turned so far; part of every checkpoint.

    turns: those that stand, oldest first. patience: steps of health before the last is taken back.
    """

    overrides: Overrides = Field(default_factory=Overrides)
    turns: list[Adjustment] = Field(default_factory=list)
    turned_at: int = 0
    taken_back: bool = False
    patience: int = _FIRST_PATIENCE


class _Step(BaseModel):
    """How a remedy turns a knob: by a factor or an amount, and no further than a bound."""

    knob: str
    factor: float = 1.0
    amount: float = 0.0
    bound: float

    def after(self, value: float) -> float:
        turned = value * self.factor + self.amount
        upwards = turned > value
        return min(turned, self.bound) if upwards else max(turned, self.bound)


_WEAKER_D = _Step(knob="d_rate", factor=0.5, bound=0.1)
_FASTER_G = _Step(knob="g_rate", factor=2.0, bound=4.0)
_SLOWER_G = _Step(knob="g_rate", factor=0.5, bound=0.1)
_FLIPS = _Step(knob="label_flips", amount=0.05, bound=0.15)
_NOISE = _Step(knob="label_noise", amount=0.1, bound=0.3)
_DROPOUT = _Step(knob="dropout", amount=0.1, bound=0.3)
_STRONGER_D = _Step(knob="d_rate", factor=2.0, bound=8.0)

# Each to its bound before the next. Once G has collapsed, a D made weaker leads it out no faster
# than a good one; so G is made faster first (docs/experiments.md).
_REMEDIES: dict[Name, tuple[_Step, ...]] = {
    "discriminator too strong": (_FASTER_G, _WEAKER_D, _NOISE, _FLIPS, _DROPOUT),
    "mode collapse": (_STRONGER_D, _SLOWER_G),
    "diverging": (_WEAKER_D, _SLOWER_G),
    "stalled": (_STRONGER_D,),
    "memorising": (_DROPOUT,),
}


def choose_adjustment(
    state: RemedyState, diagnosis: Name, g_steps: int, config: Config, *, d_leads: bool = False
) -> Adjustment | None:
    """Decide on the next turn and note it in the state; None if all stays as it is.

    d_leads: D tells real from fake; a generator that collapses before such a D needs no better
    one, but one that it can follow. The caller hands `state.overrides` to the networks.
    """
    since = g_steps - state.turned_at
    if diagnosis in ("healthy", "starting"):
        if not state.turns or diagnosis == "starting" or since < state.patience:
            return None
        return _take_back(state, g_steps)
    if state.turned_at and since < WINDOW_STEPS:
        return None
    illness: Name = diagnosis
    if diagnosis == "mode collapse" and d_leads:
        illness = "discriminator too strong"
    steps = [s for s in _REMEDIES.get(illness, ()) if _possible(s, state.overrides, config)]
    if not steps:
        return None
    if state.taken_back:
        state.patience = min(2 * state.patience, _LONGEST_PATIENCE)
        state.taken_back = False
    step = steps[0]
    before = float(getattr(state.overrides, step.knob))
    turn = Adjustment(
        knob=step.knob, before=before, after=step.after(before), g_steps=g_steps, reason=diagnosis
    )
    state.turns = [*state.turns, turn]
    return _set(state, turn)


def _take_back(state: RemedyState, g_steps: int) -> Adjustment:
    *rest, last = state.turns
    state.turns, state.taken_back = rest, True
    return _set(
        state,
        Adjustment(
            knob=last.knob,
            before=last.after,
            after=last.before,
            g_steps=g_steps,
            reason=f"healthy for {state.patience} steps",
        ),
    )


def _set(state: RemedyState, turn: Adjustment) -> Adjustment:
    state.overrides = replace(state.overrides, **{turn.knob: turn.after})
    state.turned_at = turn.g_steps
    return turn


def _possible(step: _Step, overrides: Overrides, config: Config) -> bool:
    value = float(asdict(overrides)[step.knob])
    if step.after(value) == value or (step.factor > 1 and value >= step.bound):
        return False
    if step.knob == "dropout":
        return config.discriminator.dropout + step.after(value) < 0.6
    if step.knob in ("label_flips", "label_noise"):
        objective = config.objective
        if objective.kind != "dcgan":
            return False
        return float(getattr(objective, step.knob)) + step.after(value) <= _MOST_TURNED_LABELS
    return True
