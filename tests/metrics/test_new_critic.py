"""The distance that a new critic sees, against distances that are known."""

import pytest
import torch
from torch import Tensor

from gantrain.common.errors import UserError
from gantrain.metrics.new_critic import critic_distance

SIDE = 32


def grey(levels: Tensor) -> Tensor:
    """Images of one grey level each, uint8 (N, 1, 32, 32)."""
    return levels.round().clamp(0, 255).byte().view(-1, 1, 1, 1).expand(-1, 1, SIDE, SIDE).clone()


def shifted(by: float, count: int = 400) -> tuple[Tensor, Tensor]:
    """Two sets of grey images whose Wasserstein distance is that of the shift, `by` levels."""
    rng = torch.Generator().manual_seed(0)
    one, other = 100 + 10 * torch.randn(2, count, generator=rng)
    return grey(one), grey(other + by)


def test_it_is_about_the_wasserstein_distance_of_sets_that_are_shifted() -> None:
    # The penalty lets the slope rise above 1: at weight λ, to 1 + d / 2λ for a distance d.
    true = 10 / 127.5 * SIDE
    expected = true * (1 + true / 20)
    measured, (low, high) = critic_distance(*shifted(10))
    assert measured == pytest.approx(expected, rel=0.15)
    assert low < measured < high


def test_it_rises_with_the_distance_and_is_about_0_without_any() -> None:
    distances = [critic_distance(*shifted(by), steps=60)[0] for by in (0, 8, 64)]
    assert distances == sorted(distances)
    assert abs(distances[0]) < 0.5 < distances[1]


def test_it_is_the_same_on_each_call_and_leaves_the_random_numbers_alone() -> None:
    real, fake = shifted(5, 100)
    state = torch.get_rng_state()
    assert critic_distance(real, fake, steps=2) == critic_distance(real, fake, steps=2)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("size", [16, 28, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_it_takes_images_of_any_size(size: int, channels: int) -> None:
    images = torch.zeros(100, channels, size, size, dtype=torch.uint8)
    assert critic_distance(images, images, steps=1)[0] == 0


def test_too_few_images_are_a_clear_error() -> None:
    images = torch.zeros(99, 1, 32, 32, dtype=torch.uint8)
    with pytest.raises(UserError, match="99 images; a new critic needs 100 of each set"):
        critic_distance(images, images)
