"""From a line of metrics to a diagnosis, and from that to adjustments of the training."""

import logging
from collections.abc import Mapping
from dataclasses import asdict

from torch import Tensor

from gantrain.config import Config
from gantrain.health.diagnosis import discriminator_leads, discriminator_wins, observe
from gantrain.health.known import Known
from gantrain.health.overrides import Overrides
from gantrain.health.problems import CODES, NO_FAULT, words_for
from gantrain.health.remedies import choose_adjustment
from gantrain.health.start import PixelRange, doubtful_images, doubtful_settings
from gantrain.health.trend import trend_of
from gantrain.runs.tracking import Tracker
from gantrain.training.gan import Gan
from gantrain.training.objectives import Objective
from gantrain.training.state import TrainingState

logger = logging.getLogger(__name__)


def diagnose(
    gan: Gan,
    objective: Objective,
    state: TrainingState,
    tracker: Tracker,
    metrics: Mapping[str, float],
) -> dict[str, float]:
    """Update the diagnosis, record a change of it, and adjust the training with remedy auto.

    metrics: of a log interval, reduced over the ranks, so that each rank decides alike.
    Return the curves to log.
    """
    remedy, objective_config = state.config.health.remedy, state.config.objective
    change = observe(
        state.health,
        objective_config.kind,
        state.g_steps,
        metrics,
        images_seen=state.images_seen,
        known=_known(state),
    )
    if change is not None:
        state.health.evidence = change.evidence
        advice = change.advice if remedy != "off" else ""
        text = f"{words_for(change.name)}: {change.evidence}"
        text += f". Try: {advice}" if advice else ""
        logger.info(f"training: {text}")
        tracker.event(
            "diagnosis",
            state.images_seen,
            alert=change.name != NO_FAULT,
            diagnosis=change.name,
            evidence=change.evidence,
            advice=advice,
            reason=text,
        )
    curves = {"health/diagnosis": float(CODES[state.health.diagnosis])}
    if remedy == "auto":
        curves |= _adjust(gan, objective, state, tracker)
    return curves


def _known(state: TrainingState) -> Known:
    config = state.config
    counts = [config.data.limit, state.data.count if state.data else None]
    return Known(
        label_flips=getattr(config.objective, "label_flips", None),
        spectral_norm=config.discriminator.spectral_norm,
        images=min((count for count in counts if count is not None), default=None),
    )


def _adjust(
    gan: Gan, objective: Objective, state: TrainingState, tracker: Tracker
) -> dict[str, float]:
    adjustment = choose_adjustment(
        state.remedies,
        state.health.diagnosis,
        state.g_steps,
        state.config,
        d_leads=discriminator_leads(state.health),
        d_wins=discriminator_wins(state.health, state.config.objective.kind),
        quality=trend_of(state.health),
    )
    if adjustment is not None:
        apply_overrides(state.remedies.overrides, gan, objective)
        logger.info(f"remedy: {adjustment}")
        tracker.event("remedy", state.images_seen, **adjustment.model_dump())
    return {f"remedy/{k}": v for k, v in asdict(state.remedies.overrides).items()}


def doubts_at_start(config: Config, images: Tensor) -> list[str]:
    """Return a line for each setting, and for each trait of the data, that no training can bear.

    images: some real ones, uint8 (N, C, S, S).
    """
    distinct = 1 + int((images != images[:1]).flatten(1).any(1).sum())
    pixels = PixelRange(int(images.min()), int(images.max()), len(images), distinct)
    return [*doubtful_settings(config), *doubtful_images(pixels)]


def apply_overrides(overrides: Overrides, gan: Gan, objective: Objective) -> None:
    """Apply overrides to the networks, the optimizers and D's labels, from the next step on."""
    gan.set_rate_factors(g=overrides.g_rate, d=overrides.d_rate)
    gan.extra_dropout = overrides.dropout
    objective.add_label_noise(overrides.label_noise, overrides.label_flips)
