"""The network that is taught to see damage."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from gantrain.data.loading.datasets import scaled
from gantrain.metrics import artefacts
from gantrain.metrics.artefacts import WIDTH, spoil, train_artefact_network
from tests.experiments.test_rulers import draw_shapes

KINDS = ("_blur", "_fade", "_add_noise", "_exchange_blocks", "_blend", "_bend")


@pytest.mark.parametrize("name", KINDS)
def test_damage_grows_with_its_strength_and_there_is_none_at_zero(name: str) -> None:
    images = scaled(draw_shapes(64, 0)[0])
    damage = getattr(artefacts, name)
    differences = []
    for strength in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
        torch.manual_seed(0)
        damaged = damage(images, torch.full((64, 1, 1, 1), strength))
        differences.append(float((damaged - images).square().mean()))
    assert differences[0] == pytest.approx(0, abs=1e-9)
    assert spearmanr(np.arange(6), differences).statistic == 1


def test_exchanged_blocks_are_all_still_there() -> None:
    images = scaled(draw_shapes(16, 0)[0])
    torch.manual_seed(0)
    exchanged = artefacts._exchange_blocks(images, torch.ones(16, 1, 1, 1))
    for one, other in zip(images, exchanged, strict=True):
        torch.testing.assert_close(one.flatten().sort().values, other.flatten().sort().values)
    assert not torch.equal(images, exchanged)


def test_images_without_damage_are_kept() -> None:
    images = scaled(draw_shapes(64, 0)[0])
    torch.manual_seed(0)
    damaged, strengths = spoil(images)
    untouched = strengths.sum(1) == 0
    assert 0 < untouched.sum() < 32
    assert torch.equal(damaged[untouched], images[untouched])


def test_training_is_the_same_every_time_and_leaves_the_random_numbers_alone() -> None:
    images = draw_shapes(60, 0)[0].expand(-1, 3, -1, -1)
    state = torch.get_rng_state()
    one, other = (train_artefact_network(images, steps=2) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    features = one(scaled(images))
    assert features.shape == (60, WIDTH)
    assert torch.equal(features, other(scaled(images)))
