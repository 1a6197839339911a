"""Synthetic signals of runs, and their diagnosis."""

from collections.abc import Iterator, Sequence

from gantrain.health.diagnosis import Diagnosis, observe
from gantrain.health.problems import NO_FAULT
from gantrain.health.state import HealthState

Signals = dict[str, float]
STEP = 20  # generator steps of a log interval

HEALTHY: Signals = {
    "loss/discriminator": 0.55,
    "loss/generator": 1.2,
    "health/d_accuracy_real": 0.8,
    "health/d_accuracy_fake": 0.8,
    "health/d_logit_margin": 2.0,
    "health/real_spread": 0.15,
    "health/fake_spread": 0.14,
    "health/real_range": 0.9,
    "health/fake_range": 0.85,
    "health/real_saturated": 0.4,
    "health/fake_saturated": 0.35,
    "health/real_twins": 0.002,
    "health/fake_twins": 0.003,
    "health/d_grad_norm": 2.0,
    "health/g_grad_norm": 3.0,
    "health/d_weight_change": 2e-3,
    "health/g_weight_change": 3e-3,
}
STRONG = HEALTHY | {
    "health/d_accuracy_real": 0.995,
    "health/d_accuracy_fake": 0.99,
    "health/d_logit_margin": 11.0,
    "loss/discriminator": 0.02,
}
# As in trainings of small networks with the hinge loss, whose D's loss is 2 if it guesses.
HINGE = HEALTHY | {
    "loss/discriminator": 1.6,
    "loss/generator": 0.5,
    "health/d_logit_margin": 0.4,
}
# As in trainings of small networks by relativistic pairing, whose D's loss is ln 2 if it guesses.
_AT_ZERO = ("health/d_accuracy_real", "health/d_accuracy_fake")
PAIRED = {k: v for k, v in HEALTHY.items() if k not in _AT_ZERO} | {
    "loss/discriminator": 0.45,
    "loss/generator": 1.4,
    "loss/r1": 8.0,
    "loss/r2": 6.0,
    "health/d_pair_accuracy": 0.88,
    "health/d_logit_margin": 1.4,
}
CRITIC: Signals = {
    "loss/discriminator": -8.0,
    "loss/wasserstein": 9.0,
    "loss/penalty": 0.1,
    "health/d_accuracy_real": 1.0,
    "health/d_accuracy_fake": 0.99,
    "health/real_spread": 0.15,
    "health/fake_spread": 0.12,
    "health/d_grad_norm": 8.0,
    "health/g_grad_norm": 30.0,
}


def feed(
    state: HealthState, line: Signals, steps: range, kind: str = "dcgan"
) -> Iterator[tuple[int, Diagnosis]]:
    """Observe the same line at these generator steps; yield each change of the diagnosis."""
    for g_steps in steps:
        change = observe(state, kind, g_steps, line)
        if change is not None:
            yield g_steps, change


def diagnosed(line: Signals, kind: str = "dcgan") -> Diagnosis:
    """Return the only problem of a run whose signals are these from the beginning, or that none is.

    Some problems are found after a while without a fault.
    """
    changes = [change for _, change in feed(HealthState(), line, range(STEP, 1000, STEP), kind)]
    assert len(changes) == 1 or (len(changes) == 2 and changes[0].name == NO_FAULT)
    return changes[-1]


def assert_diagnosed(line: Signals, kind: str = "dcgan", *, name: str, evidence: str) -> Diagnosis:
    """Return the diagnosis after asserting its name, and that its evidence contains a text."""
    diagnosis = diagnosed(line, kind)
    assert diagnosis.name == name
    assert evidence in diagnosis.evidence
    return diagnosis


def measured(
    values: Sequence[float],
    metric: str = "quality/fid",
    line: Signals | None = None,
    every: int = 500,
    others: dict[str, list[float]] | None = None,
) -> tuple[HealthState, list[Diagnosis]]:
    """Return the state and the changes of a run with these measurements, one each `every` steps.

    line: what is logged beside them; nothing in the logs of some other tools.
    others: more metrics by their names without `quality/`.
    """
    state, changes = HealthState(), []
    for i, value in enumerate(values):
        more = {f"quality/{name}": each[i] for name, each in (others or {}).items()}
        steps = every * (i + 1)
        quality = {metric: value, **more}
        change = observe(state, "dcgan", steps, (line or {}) | quality, images_seen=64 * steps)
        changes += [change] if change else []
        if line:
            changes += [c for _, c in feed(state, line, range(steps + STEP, steps + every, STEP))]
    return state, changes
