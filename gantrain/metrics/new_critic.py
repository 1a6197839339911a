"""The distance of generated images from real ones, as a critic sees it that is trained for it anew.

The Wasserstein distance of Arjovsky et al. 2017 with the penalty of Gulrajani et al. 2017. The
critic of a training has seen the training images many times, and has its own history with the
generator; this one starts from the same weights at each measurement and is judged by images that it
has not seen.
"""

import itertools

import torch
from torch import Tensor, nn

from gantrain.common.errors import UserError
from gantrain.common.rng import Stream, derive_seed
from gantrain.common.statistics import Interval
from gantrain.config.quality import MIN_TWO_SAMPLES
from gantrain.data.loading.datasets import scaled
from gantrain.metrics.image_statistics import downsample
from gantrain.metrics.small_networks import in_batches
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

    0 if they cannot be told apart. The interval is that of this critic on other unseen images. The
    distance is in the units of pixels in [-1, 1]: moving each image by a distance d, the root of
    the sum of its squared changes, moves it by at most about d. Equal on each call.

    real, fake: uint8 (N, C, S, S) and (M, C, S, S) on the CPU, each in random order, N and M at
        least 100.

    Raises UserError if there are too few images.
    """
    fewer = min(len(real), len(fake))
    if fewer < MIN_TWO_SAMPLES:
        raise UserError(f"{fewer} images; a new critic needs {MIN_TWO_SAMPLES} of each set.")
    halves = [torch.tensor_split(images, 2) for images in (real, fake)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(0, Stream.NEW_CRITIC))
        critic = _Critic(real.shape[1])
        _fit(critic, halves[0][0], halves[1][0], steps)
    x, y = (in_batches(unseen, critic).double() for _, unseen in halves)
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


def _fit(critic: _Critic, real: Tensor, fake: Tensor, steps: int) -> None:
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
