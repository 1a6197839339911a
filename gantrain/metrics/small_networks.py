"""What the small convolutional networks of the metrics have in common."""

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from gantrain.common.errors import UserError
from gantrain.common.rng import Stream, derive_seed
from gantrain.config.quality import MIN_TWO_SAMPLES
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


def score_unseen(
    real: Tensor,
    fake: Tensor,
    train: Callable[[Tensor, Tensor], nn.Module],
    stream: Stream,
    name: str,
) -> tuple[Tensor, Tensor]:
    """Train a network on one half of two sets; return its scores of the other halves, (N,) each.

    real, fake: uint8 (N, C, S, S) and (M, C, S, S) on the CPU, each in random order, N and M at
        least 100.
    train: builds the network and trains it on images of both sets.
    stream: of the random numbers that it draws from torch, the same on each call. name: for errors.

    Raises UserError if there are too few images.
    """
    fewer = min(len(real), len(fake))
    if fewer < MIN_TWO_SAMPLES:
        raise UserError(f"{fewer} images; {name} needs {MIN_TWO_SAMPLES} of each set.")
    (real, unseen_real), (fake, unseen_fake) = (torch.tensor_split(x, 2) for x in (real, fake))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(0, stream))
        network = train(real, fake).eval()
    return in_batches(unseen_real, network), in_batches(unseen_fake, network)


@torch.no_grad()
def in_batches(images: Tensor, network: Callable[[Tensor], Tensor]) -> Tensor:
    """Return what a network returns for uint8 images (N, C, S, S), which it gets in [-1, 1]."""
    return torch.cat([network(scaled(batch)) for batch in torch.split(images, _BATCH_SIZE)])
