"""What is doubtful before the training starts."""

from pathlib import Path
from typing import Any

import pytest
import torch

from gantrain.config import Config
from gantrain.health.start import PixelRange, doubtful_images, doubtful_settings
from gantrain.training.diagnose import doubts_at_start
from tests.conftest import RPGAN, SNGAN, WGAN_GP, small_config

ADA = {"diffaugment": ["cutout"], "diffaugment_probability": "ada"}
UNBOUNDED = {"kind": "rpgan", "r1_gamma": 0, "r2_gamma": 0}


def config_with(**sections: dict[str, Any]) -> Config:
    return small_config(Path("none"), Path("run"), **sections)


@pytest.mark.parametrize(
    ("sections", "doubt"),
    [
        ({}, ""),
        (WGAN_GP, ""),
        ({"generator": {"learning_rate": 1e-12}}, "generator.learning_rate: 1e-12"),
        ({"discriminator": {"learning_rate": 1e-9}}, "discriminator.learning_rate: 1e-09"),
        ({"generator": {"learning_rate": 1e-6}}, ""),
        ({"generator": {"learning_rate": {"from": 1e-4, "to": 0}}}, ""),
        (
            {"generator": {"learning_rate": {"from": 0, "to": 1e-9}}},
            "generator.learning_rate: 1e-09",
        ),
        (
            {"generator": {"learning_rate": {"from": 1e-4, "warmup_kimg": 5}}},
            "generator.learning_rate: the run ends at 0.16 kimg, within the warm-up of 5 kimg",
        ),
        (
            {"ema": {"half_life_kimg": {"from": 1, "to": 2, "start_kimg": 0.16}}},
            "ema.half_life_kimg: the run ends at 0.16 kimg, before the change begins at 0.16 kimg",
        ),
        ({"augment": ADA | {"ada_kimg": 16}}, "kimg the probability reaches 0.01 at most"),
        ({"augment": ADA | {"ada_kimg": 0.8}}, ""),
        ({"objective": {"label_flips": 0.49}}, "objective.label_flips: at 0.49"),
        ({"objective": {"label_flips": 0.3}}, ""),
        (WGAN_GP | {"objective": {"kind": "wgan-gp", "penalty_weight": 0}}, "penalty_weight: 0"),
        (WGAN_GP | {"objective": {"kind": "wgan-gp", "penalty_weight": 0.1}}, ""),
        (RPGAN, ""),
        (RPGAN | {"objective": {"kind": "rpgan", "r1_gamma": 0}}, ""),  # R2 bounds it as well
        (RPGAN | {"objective": UNBOUNDED}, "objective.r1_gamma: 0, as r2_gamma"),
        (SNGAN | {"objective": UNBOUNDED}, ""),
        (
            WGAN_GP | {"objective": {"kind": "wgan-gp", "penalty_weight": {"from": 0, "to": 1}}},
            "",
        ),
    ],
)
def test_settings_with_which_nothing_is_learnt(
    sections: dict[str, dict[str, Any]], doubt: str
) -> None:
    doubts = doubtful_settings(config_with(**sections))
    assert len(doubts) == bool(doubt)
    assert doubt in "".join(doubts)


@pytest.mark.parametrize(
    ("low", "high", "distinct", "doubt"),
    [
        (0, 255, 64, ""),
        (100, 180, 64, ""),  # little contrast
        (0, 1, 64, "1 of 255 grey levels; were they scaled to [0, 1] before?"),
        (120, 130, 64, "from 120 to 130, 10 of 255 grey levels"),
        (0, 255, 1, "all of the 64 real images looked at are the same"),
        (7, 7, 1, "are the same, with pixels from 7 to 7"),
    ],
)
def test_images_that_cannot_be_learnt_from(low: int, high: int, distinct: int, doubt: str) -> None:
    doubts = doubtful_images(PixelRange(low, high, images=64, distinct=distinct))
    assert len(doubts) == bool(doubt)
    assert doubt in "".join(doubts)


def test_the_range_is_that_of_the_images() -> None:
    images = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)
    images[2, 1, 3, 3] = 9
    (doubt,) = doubts_at_start(config_with(), images)
    assert "the 4 real images looked at are from 0 to 9" in doubt
    (doubt,) = doubts_at_start(config_with(), images[:2])
    assert "all of the 2 real images" in doubt
    assert doubtful_images(PixelRange(0, 255, images=1, distinct=1)) == []
