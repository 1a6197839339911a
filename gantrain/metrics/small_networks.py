"""What the small convolutional networks of the metrics have in common."""

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from gantrain.data.loading.datasets import scaled

_BATCH_SIZE = 256


def halving_layers(widths: Sequence[int]) -> nn.Sequential:
    """Return convolutions with normalisation, of which each halves the image.

    widths: channels of the image, and of each convolution.
    """
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Conv2d(before, after, 4, 2, 1, bias=False), nn.BatchNorm2d(after)]
        layers += [nn.LeakyReLU(0.2, inplace=True)]
    return nn.Sequential(*layers)


def moved_at_random(images: Tensor, most: int) -> Tensor:
    """Return images (N, C, S, S), all moved by the same up to `most` pixels, across the border."""
    shift = [int(n) for n in torch.randint(-most, most + 1, (2,))]
    return torch.roll(images, shift, (2, 3))


@torch.no_grad()
def in_batches(images: Tensor, network: Callable[[Tensor], Tensor]) -> Tensor:
    """Return what a network returns for uint8 images (N, C, S, S), which it gets in [-1, 1]."""
    return torch.cat([network(scaled(batch)) for batch in torch.split(images, _BATCH_SIZE)])
