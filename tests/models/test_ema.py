"""The EMA of the generator compared with its closed form."""

import copy

import pytest
import torch

from gantrain.config import DcganGeneratorConfig, EmaConfig
from gantrain.models.ema import Ema
from gantrain.models.networks import Generator


def pair(half_life: float, rampup: float | None) -> tuple[Ema, Generator]:
    newest = Generator(DcganGeneratorConfig(width=2, latent_size=4), 32, 1)
    ema = Ema(copy.deepcopy(newest), EmaConfig(half_life_kimg=half_life, rampup=rampup), 10_000)
    return ema, newest


def test_after_a_half_life_half_of_the_difference_remains() -> None:
    ema, newest = pair(half_life=1.0, rampup=None)
    start = [p.clone() for p in ema.generator.parameters()]
    with torch.no_grad():
        for p in newest.parameters():
            p.add_(1)
    for step in range(1, 11):
        ema.update(newest, 100, 100 * step)
    for old, mean in zip(start, ema.generator.parameters(), strict=True):
        torch.testing.assert_close(mean, old + 0.5, rtol=0, atol=1e-5)


def test_running_statistics_are_averaged_as_well() -> None:
    ema, newest = pair(half_life=1.0, rampup=None)
    newest(torch.randn(16, 4))
    before = ema.generator.layers[1].running_var.clone()  # type: ignore[operator]
    ema.update(newest, 1000, 1000)
    expected = (before + newest.layers[1].running_var) / 2  # type: ignore[operator]
    torch.testing.assert_close(ema.generator.layers[1].running_var, expected)


def test_rampup_shortens_the_half_life_of_a_young_run_only() -> None:
    ema, _ = pair(half_life=10.0, rampup=0.05)
    assert ema.decay(64, 2_000) == pytest.approx(0.5 ** (64 / 100))
    assert ema.decay(64, 10_000_000) == pytest.approx(0.5 ** (64 / 10_000))


def test_a_half_life_of_zero_keeps_the_current_weights() -> None:
    ema, newest = pair(half_life=0.0, rampup=None)
    with torch.no_grad():
        for p in newest.parameters():
            p.add_(1)
    ema.update(newest, 64, 64)
    for new, mean in zip(newest.parameters(), ema.generator.parameters(), strict=True):
        torch.testing.assert_close(mean, new)
