"""Overrides of a remedy: what they change in the optimizers, in D and in its labels."""

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from gantrain.common.rng import PositionalRNG
from gantrain.config import Config, DcganConfig
from gantrain.health.overrides import Overrides
from gantrain.training.diagnose import apply_overrides
from gantrain.training.gan import Gan
from gantrain.training.labels import d_targets
from gantrain.training.objectives import Dcgan, make_objective
from tests.conftest import small_config

RNG = PositionalRNG(0, 0, 10_000)


def config_with(**sections: dict[str, Any]) -> Config:
    return small_config(Path("shards"), Path("run"), **sections)


def test_overrides_change_rates_dropout_and_labels_and_can_be_reverted() -> None:
    config = config_with(health={"remedy": "auto"})
    gan, objective = Gan(config, Accelerator(cpu=True)), make_objective(config)
    assert isinstance(objective, Dcgan)
    x = torch.randn(8, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    plain = gan.discriminate(x)
    gan.scale_learning_rates(0.5)
    overrides = Overrides(d_rate=0.5, g_rate=0.25, dropout=0.3, label_noise=0.2, label_flips=0.1)
    apply_overrides(overrides, gan, objective)
    assert gan.d_optimizer.param_groups[0]["lr"] == pytest.approx(2e-4 * 0.5 * 0.5)
    assert gan.g_optimizer.param_groups[0]["lr"] == pytest.approx(2e-4 * 0.5 * 0.25)
    torch.manual_seed(0)
    dropped = gan.discriminate(x)
    assert not torch.allclose(plain, dropped)
    assert not torch.equal(dropped, gan.discriminate(x))
    assert (objective.extra_noise, objective.extra_flips) == (0.2, 0.1)
    apply_overrides(Overrides(), gan, objective)
    assert gan.d_optimizer.param_groups[0]["lr"] == pytest.approx(2e-4 * 0.5)
    assert torch.equal(gan.discriminate(x), gan.discriminate(x))
    assert (objective.extra_noise, objective.extra_flips) == (0.0, 0.0)


def test_extra_label_noise_is_towards_the_middle_and_extra_flips_have_their_rate() -> None:
    real, fake = d_targets(DcganConfig(), RNG, extra_noise=0.3)
    assert 0.7 <= float(real.min()) < 0.71
    assert 0.29 < float(fake.max()) <= 0.3
    real, fake = d_targets(DcganConfig(label_flips=0.1), RNG, extra_flips=0.1)
    assert float((real == 0).float().mean()) == pytest.approx(0.2, abs=0.02)
    assert float((fake == 1).float().mean()) == pytest.approx(0.2, abs=0.02)
