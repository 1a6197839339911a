"""Features of a small network that is taught, on a data set's own images, to see damage.

Where no network trained on other images is at hand. A classifier of the set's classes would squeeze
each class into a point, and an untrained network takes blurred images for good ones. This network
sees images with damage of known strength, and learns to name it, and what the image shows.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import (
    adaptive_avg_pool2d,
    affine_grid,
    avg_pool2d,
    grid_sample,
    interpolate,
    mse_loss,
)

from gantrain.common.rng import Stream, derive_seed
from gantrain.data.loading.datasets import scaled
from gantrain.metrics.image_statistics import downsample
from gantrain.metrics.small_networks import halving_layers, moved_at_random

WIDTH = 128  # number of features

_MAX_INPUT_SIZE = 64  # pixels a side; larger images are averaged down
_BATCH_SIZE = 48
_LEARNING_RATE = 4e-3
_MAX_SHIFT = 2  # pixels, which the features must not respond to
_CONTENT_SIZE = 4  # pixels a side, of what the image shows
_CONTENT_WEIGHT, _SHIFT_WEIGHT = 0.3, 0.1  # relative to the loss of the damage
_CONTENT_IMAGES = 1000
_KINDS = 6  # of damage
_SHARE = 0.35  # of the images, that get each kind of damage


class ArtefactNetwork(nn.Module):
    """Returns features float32 (N, 128) of images (N, C, S, S) in [-1, 1], S a multiple of 8."""

    def __init__(self, size: int, channels: int) -> None:
        super().__init__()
        halvings = 4 if size >= _MAX_INPUT_SIZE else 3
        self.layers = halving_layers((channels, *(WIDTH >> i for i in reversed(range(halvings)))))

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.layers(downsample(images, _MAX_INPUT_SIZE)).mean((2, 3))
        return features


def train_artefact_network(images: Tensor, steps: int) -> ArtefactNetwork:
    """Train on uint8 images (N, C, S, S) on the CPU; the same network every time.

    Three losses: the strength of each kind of damage; the undamaged image at 4x4 pixels; and that
    the features do not change when the image moves by a pixel or two.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(0, Stream.ARTEFACTS))
        network = ArtefactNetwork(images.shape[-1], images.shape[1])
        content_mean, content_spread = _content_scale(images)
        damage_head = nn.Linear(WIDTH, _KINDS)
        content_head = nn.Linear(WIDTH, len(content_mean))
        parts = nn.ModuleList([network, damage_head, content_head])
        optimizer = torch.optim.AdamW(parts.parameters(), _LEARNING_RATE)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LEARNING_RATE, total_steps=steps)
        for _ in range(steps):
            clean = scaled(images[torch.randint(len(images), (_BATCH_SIZE,))])
            damaged, strengths = spoil(clean)
            features = network(torch.cat([damaged, moved_at_random(damaged, _MAX_SHIFT)]))
            content = (_content(clean) - content_mean) / content_spread
            one, other = features.chunk(2)
            loss = (
                mse_loss(damage_head(features), strengths.repeat(2, 1))
                + _CONTENT_WEIGHT * mse_loss(content_head(features), content.repeat(2, 1))
                + _SHIFT_WEIGHT * (one - other).square().mean() / features.var(0).mean()
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.eval().requires_grad_(False)


def spoil(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return images (N, C, S, S) with random damage, and its strengths (N, 6) in about [0, 1].

    Each kind befalls about a third of the images: blur, less contrast, noise, two blocks of
    sixteen exchanged, a blend of two images, and waves.
    """
    results, strengths = images, []
    for damage in (_blur, _fade, _add_noise, _exchange_blocks, _blend, _bend):
        chosen = (torch.rand(len(images)) < _SHARE).float()
        strength = chosen * (0.1 + 0.9 * torch.rand(len(images)))
        damaged = damage(results, strength[:, None, None, None])
        results = torch.where(chosen[:, None, None, None] > 0, damaged, results)
        strengths.append(strength)
    return results, torch.stack(strengths, 1)


def _blur(images: Tensor, strength: Tensor) -> Tensor:
    size = images.shape[-1]
    factor = 2 if torch.rand(()) < 0.5 else 4
    small = avg_pool2d(images, factor)
    blurred = interpolate(small, (size, size), mode="bilinear", align_corners=False)
    return images + strength * (blurred - images)


def _fade(images: Tensor, strength: Tensor) -> Tensor:
    mean = images.mean((1, 2, 3), keepdim=True)
    return mean + (images - mean) * (1 - 0.5 * strength)


def _add_noise(images: Tensor, strength: Tensor) -> Tensor:
    return images + 0.25 * strength * torch.randn_like(images)


def _exchange_blocks(images: Tensor, strength: Tensor) -> Tensor:
    count, channels, size, _ = images.shape
    side = size // 4
    blocks = images.reshape(count, channels, 4, side, 4, side).permute(0, 2, 4, 1, 3, 5)
    blocks = blocks.reshape(count, 16, channels, side, side).clone()
    rows, (one, other) = torch.arange(count), torch.randint(16, (2, count))
    exchanged = blocks[rows, one].clone()
    mixed = blocks[rows, one] + strength * (blocks[rows, other] - exchanged)
    blocks[rows, other] += strength * (exchanged - blocks[rows, other])
    blocks[rows, one] = mixed
    blocks = blocks.reshape(count, 4, 4, channels, side, side).permute(0, 3, 1, 4, 2, 5)
    return blocks.reshape(images.shape)


def _blend(images: Tensor, strength: Tensor) -> Tensor:
    return images + 0.5 * strength * (images[torch.randperm(len(images))] - images)


def _bend(images: Tensor, strength: Tensor) -> Tensor:
    count, _, size, _ = images.shape
    waves = interpolate(
        torch.randn(count, 2, 5, 5), (size, size), mode="bicubic", align_corners=False
    )
    still = affine_grid(torch.eye(2, 3).expand(count, 2, 3), [*images.shape], align_corners=False)
    grid = still + 0.25 * strength * waves.permute(0, 2, 3, 1)
    return grid_sample(images, grid, padding_mode="border", align_corners=False)


def _content(images: Tensor) -> Tensor:
    return adaptive_avg_pool2d(images, _CONTENT_SIZE).flatten(1)


def _content_scale(images: Tensor) -> tuple[Tensor, Tensor]:
    index = torch.randint(len(images), (min(len(images), _CONTENT_IMAGES),))
    content = _content(scaled(images[index]))
    return content.mean(0), content.std(0, correction=0) + 0.05
