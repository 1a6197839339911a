"""Augmentation of the images that the discriminator sees, on their device.

All random numbers are functions of (seed, stream, position), so that the result depends neither on
the number of ranks nor on interruptions.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gantrain.common.rng import PositionalRNG, Stream
from gantrain.common.transfer import to_device

# The strengths of Zhao et al. 2020: images shift by up to an eighth of their size, lose a square of
# half their size, and change in brightness by up to a quarter of the range [-1, 1].
_TRANSLATION = 1 / 8
_CUTOUT = 1 / 2

# The columns of an image's random numbers that each augmentation uses, and the column that decides
# whether the image gets it.
_COLUMNS = {"brightness": slice(0, 1), "translation": slice(1, 3), "cutout": slice(3, 5)}
_DECISIONS = {"brightness": 5, "translation": 6, "cutout": 7}


def random_flip_shift(
    real: Tensor, rng: PositionalRNG, *, flip: float | Tensor = 0.0, max_shift: int = 0
) -> Tensor:
    """Mirror and shift real images (N, C, S, S) at random.

    rng: of the images' N positions in the sequence of training images.
    flip: probability of mirroring an image, or that of each image, float64 (N, 1) on the CPU.
    max_shift: largest shift, in pixels.
    """
    if isinstance(flip, Tensor) or flip:
        flips = (rng.uniform(Stream.FLIP, 1) < flip).view(-1, 1, 1, 1)
        real = torch.where(to_device(flips, real.device), real.flip(3), real)
    if max_shift:
        steps = 2 * max_shift + 1
        offsets = (rng.uniform(Stream.SHIFT, 2) * steps).long() - max_shift
        # Repeating the edge continues the plain background that bricks are rendered on.
        real = shift(real, to_device(offsets, real.device), fill="edge")
    return real


def diff_augment(
    images: Tensor,
    rng: PositionalRNG,
    stream: Stream,
    policies: Sequence[str],
    probability: float | Tensor = 1.0,
) -> Tensor:
    """Augment images (N, C, S, S) at random and differentiably: DiffAugment (Zhao et al. 2020).

    policies: any of brightness, translation, cutout; applied in this order, as in the paper.
    rng: of N positions. Each image is augmented in its own way.
    probability: that an image gets a policy, independently of the others (Karras et al. 2020); a
        number, or a scalar on the images' device, which is not read.
    """
    varies = isinstance(probability, Tensor)
    if not policies or (not varies and probability <= 0):
        return images
    numbers = to_device(rng.uniform(stream, 8).float(), images.device)
    for name, augment in _AUGMENTATIONS.items():
        if name in policies:
            augmented = augment(images, numbers[:, _COLUMNS[name]])
            if varies or probability < 1:
                chosen = (numbers[:, _DECISIONS[name]] < probability).view(-1, 1, 1, 1)
                augmented = torch.where(chosen, augmented, images)
            images = augmented
    return images


def brightness(images: Tensor, numbers: Tensor) -> Tensor:
    """Add one offset in [-0.5, 0.5] to each image; numbers (N, 1) are uniform in (0, 1)."""
    return images + (numbers - 0.5).view(-1, 1, 1, 1)


def translation(images: Tensor, numbers: Tensor) -> Tensor:
    """Shift each image by whole pixels and fill with 0; numbers (N, 2) are uniform in (0, 1)."""
    largest = int(images.shape[3] * _TRANSLATION + 0.5)
    offsets = (numbers * (2 * largest + 1)).long() - largest
    return shift(images, offsets, fill="zero")


def cutout(images: Tensor, numbers: Tensor) -> Tensor:
    """Zero a square in each image, perhaps partly outside; numbers (N, 2) are uniform in (0, 1)."""
    size = images.shape[3]
    side = int(size * _CUTOUT + 0.5)
    start = (numbers * (size + 1 - side % 2)).long() - side // 2
    pixels = torch.arange(size, device=images.device)
    inside = (pixels >= start[..., None]) & (pixels < start[..., None] + side)  # (N, 2, S)
    hole = inside[:, 0, :, None] & inside[:, 1, None, :]
    return images * ~hole[:, None]


def shift(images: Tensor, offsets: Tensor, *, fill: str) -> Tensor:
    """Shift each image of (N, C, S, S) by its offsets (N, 2), in whole pixels down and right.

    fill: "zero" for 0 beyond the border, "edge" to repeat the nearest pixel.
    """
    size = images.shape[3]
    sources = torch.arange(size, device=images.device) - offsets[..., None]  # (N, 2, S)
    nearest = sources.clamp(0, size - 1)
    batch = torch.arange(len(images), device=images.device)[:, None, None]
    # Advanced indices around a slice put the channels last: (N, S, S, C).
    shifted = images[batch, :, nearest[:, 0, :, None], nearest[:, 1, None, :]].permute(0, 3, 1, 2)
    if fill == "zero":
        inside = nearest == sources
        shifted = shifted * (inside[:, 0, :, None] & inside[:, 1, None, :])[:, None]
    return shifted


_AUGMENTATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "brightness": brightness,
    "translation": translation,
    "cutout": cutout,
}
