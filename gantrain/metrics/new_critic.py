"""The distance of generated images from real ones, as a critic sees it that is trained for it anew.

The Wasserstein distance of Arjovsky et al. 2017 with the penalty of Gulrajani et al. 2017. The
critic of a training has seen the training images many times, and has its own history with the
generator; this one starts from the same weights at each measurement and is judged by images that it
has not seen.
"""

import itertools
from functools import partial

import torch
from torch import Tensor, nn

from gantrain.common.rng import Stream
from gantrain.common.statistics import Interval
from gantrain.data.loading.datasets import scaled
from gantrain.metrics.image_statistics import downsample
from gantrain.metrics.small_networks import score_unseen
from gantrain.training.penalties import gradient_penalty

_STEPS = 200
_BATCH_SIZE = 32  # of each set
_LEARNING_RATE = 3e-3
_BETAS = (0.0, 0.9)
_PENALTY_WEIGHT = 10.0
_WIDTHS = (16, 32, 64)  # of convolutions that halve the image
_MAX_INPUT_SIZE = 32  # pixels a side; larger images are averaged down


def critic_distance(real: Tensor, fake: Tensor, steps: int = _STEPS) -> tuple[float, Interval]:
    """Return by how much a new critic scores unseen real images higher than unseen fakes.

    0 if they cannot be distinguished. The interval is that of this critic on other unseen images.
    The distance is in the units of pixels in [-1, 1]: moving each image by a distance d, the root
    of the sum of its squared changes, moves it by about d (1 + d/20) at most, since the penalty
    lets the critic's slope rise above 1. Equal on each call.

    real, fake: uint8 (N, C, S, S) and (M, C, S, S) on the CPU, each in random order, N and M at
        least 100.

    Raises UserError if there are too few images.
    """
    fit = partial(_fit, steps=steps)
    scores = score_unseen(real, fake, fit, Stream.NEW_CRITIC, "a new critic")
    x, y = (each.double() for each in scores)
    distance = float(x.mean() - y.mean())
    half = 1.96 * float(x.var() / len(x) + y.var() / len(y)) ** 0.5
    return distance, (distance - half, distance + half)


class _Critic(nn.Module):
    """A small critic without normalisation: images (N, C, S, S) in [-1, 1] to scores (N,)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise((channels, *_WIDTHS)):
            layers += [nn.Conv2d(before, after, 4, 2, 1), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers)
        self.head = nn.LazyLinear(1)

    def forward(self, images: Tensor) -> Tensor:
        x = downsample(images, _MAX_INPUT_SIZE)
        scores: Tensor = self.head(self.layers(x).flatten(1))[:, 0]
        return scores


def _fit(real: Tensor, fake: Tensor, steps: int) -> _Critic:
    critic = _Critic(real.shape[1])
    critic(scaled(real[:1]))  # sets the size of the head
    optimizer = torch.optim.Adam(critic.parameters(), _LEARNING_RATE, _BETAS)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        x, y = (scaled(s[torch.randint(len(s), (_BATCH_SIZE,))]) for s in (real, fake))
        penalty = gradient_penalty(critic, x, y, torch.rand(_BATCH_SIZE, 1, 1, 1))
        loss = critic(y).mean() - critic(x).mean() + _PENALTY_WEIGHT * penalty
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return critic
