"""What is done to images before the discriminator sees them, on their device.

Every draw is a function of (seed, stream, position), so that it does not depend on ranks or
interruptions.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gantrain.common.rng import PositionalRNG, Stream
from gantrain.config import AugmentConfig

# Zhao et al. 2020: images move by up to an eighth of their side, lose a square of half their
# side, and grow lighter or darker by up to a quarter of the range -1 ... 1.
_TRANSLATION = 1 / 8
_CUTOUT = 1 / 2

_DRAWS = {"brightness": slice(0, 1), "translation": slice(1, 3), "cutout": slice(3, 5)}


def random_flip_shift(real: Tensor, rng: PositionalRNG, config: AugmentConfig) -> Tensor:
    """Real images (rng.count, C, S, S), some mirrored left to right and all moved a little.

    at: their positions in the sequence of images, which decide how.
    """
    if config.flip:
        mirrored = rng.uniform(Stream.FLIP, 1).view(-1, 1, 1, 1) < config.flip
        real = torch.where(mirrored.to(real.device, non_blocking=True), real.flip(3), real)
    if config.shift:
        steps = 2 * config.shift + 1
        moves = (rng.uniform(Stream.SHIFT, 2) * steps).long() - config.shift
        # What comes in at an edge repeats the edge: bricks lie on one plain ground.
        real = shift(real, moves.to(real.device, non_blocking=True), beyond="edge")
    return real


def diff_augment(
    images: Tensor, rng: PositionalRNG, stream: Stream, policies: Sequence[str]
) -> Tensor:
    """Images (rng.count, C, S, S) changed at random, each in its own way, such that gradients
    pass: DiffAugment (Zhao et al. 2020), in the paper's order brightness, translation, cutout.

    policies: which of the three.
    """
    if not policies:
        return images
    draws = rng.uniform(stream, 5).float().to(images.device, non_blocking=True)
    for name, change in _CHANGES.items():
        if name in policies:
            images = change(images, draws[:, _DRAWS[name]])
    return images


def brightness(images: Tensor, draws: Tensor) -> Tensor:
    """Each image lighter or darker by one amount; draws (N, 1) in (0, 1)."""
    return images + (draws - 0.5).view(-1, 1, 1, 1)


def translation(images: Tensor, draws: Tensor) -> Tensor:
    """Each image moved by whole pixels; draws (N, 2) in (0, 1) for down and right."""
    reach = int(images.shape[3] * _TRANSLATION + 0.5)
    moves = (draws * (2 * reach + 1)).long() - reach
    return shift(images, moves, beyond="zero")


def cutout(images: Tensor, draws: Tensor) -> Tensor:
    """Each image with a square of zeros, part of which may lie outside; draws (N, 2)."""
    size = images.shape[3]
    side = int(size * _CUTOUT + 0.5)
    first = (draws * (size + 1 - side % 2)).long() - side // 2
    pixels = torch.arange(size, device=images.device)
    inside = (pixels >= first[..., None]) & (pixels < first[..., None] + side)  # (N, 2, S)
    hole = inside[:, 0, :, None] & inside[:, 1, None, :]
    return images * ~hole[:, None]


def shift(images: Tensor, moves: Tensor, *, beyond: str) -> Tensor:
    """Images (N, C, S, S), each moved by its own whole pixels (N, 2), down and right.

    beyond: what comes in from outside is "zero", or repeats the nearest "edge" pixel.
    """
    size = images.shape[3]
    sources = torch.arange(size, device=images.device) - moves[..., None]  # (N, 2, S)
    nearest = sources.clamp(0, size - 1)
    here = torch.arange(len(images), device=images.device)[:, None, None]
    # Advanced indices beside a slice put the channels last: (N, S, S, C).
    picked = images[here, :, nearest[:, 0, :, None], nearest[:, 1, None, :]].permute(0, 3, 1, 2)
    if beyond == "zero":
        known = nearest == sources
        picked = picked * (known[:, 0, :, None] & known[:, 1, None, :])[:, None]
    return picked


_CHANGES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "brightness": brightness,
    "translation": translation,
    "cutout": cutout,
}
