"""Latent vectors, and the images that a generator makes from them."""

from collections.abc import Callable, Sequence
from itertools import repeat

import torch
from torch import Tensor

from gantrain.common.errors import UserError
from gantrain.common.grids import require_finite
from gantrain.common.rng import PositionalRNG, Stream
from gantrain.models.networks import Generator

_BATCH_SIZE = 256  # images per forward pass, which bounds the memory


def sample_latents(
    generator: Generator, count: int, seed: int, *, first: int = 0, truncation: float = 1.0
) -> Tensor:
    """Return standard normal latents, float32 (count, latent_size), on the CPU.

    Row i depends only on the seed and `first + i`.

    truncation: scale of the latents. Below 1, images become more typical and less diverse; the
    simplest form of the truncation trick (Brock et al. 2019, "BigGAN").
    """
    rng = PositionalRNG(seed, first, count)
    return rng.normal(Stream.SAMPLES, generator.latent_size) * truncation


def sample_classes(generator: Generator, count: int, seed: int, *, first: int = 0) -> Tensor | None:
    """Return random classes, int64 (count,), on the CPU; None without conditioning.

    They are as frequent as in training. Row i depends only on the seed and `first + i`.
    """
    return generator.conditioning.draw(PositionalRNG(seed, first, count), Stream.SAMPLE_CLASSES)


def select_drawn_classes(generator: Generator, numbers: Sequence[int], seed: int) -> Tensor | None:
    """Return the classes of numbered samples, int64 (len(numbers),); None without conditioning.

    They are those of `sample_classes`, and so of the images of `sample_images`.
    """
    drawn = [sample_classes(generator, 1, seed, first=number) for number in numbers]
    classes = [each for each in drawn if each is not None]
    return torch.cat(classes) if classes else None


def select_latents(
    generator: Generator, numbers: Sequence[int], seed: int, *, truncation: float = 1.0
) -> Tensor:
    """Return the latents of numbered samples, float32 (len(numbers), latent_size).

    Sample i is image i of `sample_images` with the same seed. Raises UserError for a negative
    number.
    """
    negative = [number for number in numbers if number < 0]
    if negative:
        raise UserError(f"sample {negative[0]}: expected a number of at least 0.")
    latents = [
        sample_latents(generator, 1, seed, first=number, truncation=truncation)
        for number in numbers
    ]
    return torch.cat(latents) if latents else torch.zeros(0, generator.latent_size)


@torch.no_grad()
def generate_images(
    generator: Generator,
    latents: Tensor,
    classes: Tensor | None = None,
    *,
    advance: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Return the images of latents (N, latent_size): float32 (N, C, S, S) in [-1, 1], on the CPU.

    classes: for a generator with conditioning, int64 (N,), or weights, float (N, K); with one row,
        all images are of that class. See `select_classes` and `gantrain.models.conditioning`.
    advance: called after each batch with the images made and their number.

    Runs on the generator's device, in batches. Raises UserError if any pixel is NaN or infinite,
    and for classes that are missing, not expected, or of another shape.
    """
    classes = _check_classes(generator, classes, len(latents))
    device = next(generator.parameters()).device
    batches = zip(
        torch.split(latents, _BATCH_SIZE),
        repeat(None) if classes is None else torch.split(classes, _BATCH_SIZE),
        strict=False,
    )
    made: list[Tensor] = []
    for z, y in batches:
        made.append(generator(z.to(device), y).float().cpu())
        if advance is not None:
            advance(min(len(made) * _BATCH_SIZE, len(latents)), len(latents))
    images = torch.cat(made)
    require_finite(images)
    return images


def _check_classes(generator: Generator, classes: Tensor | None, count: int) -> Tensor | None:
    """Return classes of `count` images. Raises UserError if the generator cannot take them."""
    known = len(generator.conditioning.class_counts)
    if classes is None:
        if known:
            raise UserError(
                "the generator makes images of a given class; expected classes, an index or "
                f"{known} weights for each image."
            )
        return None
    if not known:
        raise UserError("classes: the generator was trained without classes; leave them out.")
    if len(classes) == 1:
        classes = classes.expand(count, *classes.shape[1:])
    if classes.shape not in ((count,), (count, known)):
        raise UserError(
            f"classes of shape {tuple(classes.shape)}: expected ({count},) or ({count}, {known})."
        )
    if classes.ndim == 1 and count and not 0 <= int(classes.min()) <= int(classes.max()) < known:
        raise UserError(f"classes: expected indices from 0 to {known - 1}.")
    return classes


def sample_images(
    generator: Generator,
    count: int,
    seed: int,
    *,
    truncation: float = 1.0,
    classes: Tensor | None = None,
) -> Tensor:
    """Return images of standard normal latents, float32 (count, C, S, S) in [-1, 1].

    Image i depends only on the seed, i and its class, so that a larger count merely appends images.

    truncation: see `sample_latents`.
    classes: with conditioning, as for `generate_images`. Left out, they are drawn as often as they
        occurred in training.
    """
    if classes is not None and len(classes) > 1 and len(classes) != count:
        raise UserError(f"classes: {len(classes)} for {count} images; expected one, or one each.")
    images = []
    for first in range(0, count, _BATCH_SIZE):
        size = min(_BATCH_SIZE, count - first)
        latents = sample_latents(generator, size, seed, first=first, truncation=truncation)
        if classes is None:
            chosen = sample_classes(generator, size, seed, first=first)
        else:
            chosen = classes if len(classes) == 1 else classes[first : first + size]
        images.append(generate_images(generator, latents, chosen))
    return torch.cat(images)
