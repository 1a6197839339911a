"""The classifier two-sample test: can a small network tell generated images from real ones?

Lopez-Paz and Oquab 2017. The network is trained on one half of both sets for a fixed number of
steps, and judged by the other half. Unlike features, it learns whatever gives the images away.
"""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from gantrain.common.rng import Stream
from gantrain.common.statistics import Interval
from gantrain.data.loading.datasets import scaled
from gantrain.metrics.image_statistics import downsample
from gantrain.metrics.small_networks import halving_layers, moved_at_random, score_unseen

_STEPS = 200
_BATCH_SIZE = 32  # of each set
_LEARNING_RATE = 2e-3
_WIDTHS = (16, 32, 64, 128)  # of convolutions that halve the image
_MAX_INPUT_SIZE = 32  # pixels a side; larger images are averaged down
_MAX_SHIFT = 2  # pixels


def two_sample_test(real: Tensor, fake: Tensor, steps: int = _STEPS) -> tuple[float, Interval]:
    """Return how well a network tells fakes from real images: the area under its ROC curve.

    The interval is that of this network on other unseen images; another choice of the images that
    it learns from would give another network.

    real, fake: uint8 (N, C, S, S) and (M, C, S, S) on the CPU, each in random order, N and M at
        least 100.

    The area is the probability that a fake gets a higher score than a real image, both unseen: 0.5
    if they cannot be told apart, 1 if they always can. Images of one distribution get 0.5 give or
    take 0.02 (one standard deviation with 500 unseen images of each set). Equal on each call.

    Raises UserError if there are too few images.
    """
    fit = partial(_fit, steps=steps)
    return area_under_roc(
        *score_unseen(real, fake, fit, Stream.TWO_SAMPLE_TEST, "a two-sample test")
    )


def area_under_roc(negatives: Tensor, positives: Tensor) -> tuple[float, Interval]:
    """Return the probability that a positive's score (M,) exceeds a negative's (N,); ties: half.

    This is the Mann-Whitney statistic divided by N·M. Its 95% interval is that of DeLong et al.
    1988, from the variances of how many negatives each positive exceeds, and the other way round.
    """
    beaten = _fraction_below(negatives, positives)
    lost = 1 - _fraction_below(positives, negatives)
    area = float(beaten.mean())
    variance = sum(float(x.var()) / len(x) for x in (beaten, lost))
    half = 1.96 * variance**0.5
    return area, (max(area - half, 0.0), min(area + half, 1.0))


def _fraction_below(scores: Tensor, thresholds: Tensor) -> Tensor:
    """Return the fraction of the scores below each threshold, float64; equal ones count half."""
    ordered, x = scores.double().sort().values, thresholds.double()
    below = torch.searchsorted(ordered, x, right=False)
    up_to = torch.searchsorted(ordered, x, right=True)
    return (below + up_to).double() / 2 / len(ordered)


class _Discriminator(nn.Module):
    """A convolutional network that gives images (N, C, S, S) in [-1, 1] one score each, (N,)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = halving_layers((channels, *_WIDTHS))
        self.head = nn.Linear(_WIDTHS[-1], 1)

    def forward(self, images: Tensor) -> Tensor:
        x = downsample(images, _MAX_INPUT_SIZE)
        scores: Tensor = self.head(self.layers(x).mean((2, 3)))[:, 0]
        return scores


def _fit(real: Tensor, fake: Tensor, steps: int) -> _Discriminator:
    network = _Discriminator(real.shape[1])
    optimizer = torch.optim.AdamW(network.parameters(), _LEARNING_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LEARNING_RATE, total_steps=steps)
    for _ in range(steps):
        batches = (x[torch.randint(len(x), (_BATCH_SIZE,))] for x in (real, fake))
        # One batch, since its normalisation must not treat the two sets differently.
        x = scaled(torch.cat([*batches]))
        scores = network(moved_at_random(x, _MAX_SHIFT))
        loss = torch.cat([softplus(scores[:_BATCH_SIZE]), softplus(-scores[_BATCH_SIZE:])]).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return network
