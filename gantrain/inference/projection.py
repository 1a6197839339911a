"""Projection: the latents whose images are most similar to given ones, found by optimisation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from gantrain.common.errors import UserError
from gantrain.common.rng import PositionalRNG, Stream
from gantrain.data.images.convert import Conversion, read_image
from gantrain.inference.sampling import generate_images
from gantrain.models.networks import Generator

_CANDIDATES = 512  # random latents, the best of which are starting points
_PRIOR_WEIGHT = 1e-4  # of the latents' squared length, which keeps them where G was trained
_LEARNING_RATE = 0.05
_GREY_LEVELS = 127.5  # per unit of images in [-1, 1]


@dataclass(frozen=True)
class Projection:
    """The result of `project`, per target.

    latents: float32 (N, latent_size). images: float32 (N, C, S, S) in [-1, 1], made from them.
    classes: int64 (N,), those that the images were made with; None without conditioning.
    errors: float64 (N,), mean absolute difference from the target in grey levels from 0 to 255.
    random_errors: float64 (N,), the same for the best of the random starting points.
    """

    latents: Tensor
    images: Tensor
    classes: Tensor | None
    errors: Tensor
    random_errors: Tensor


def project(
    generator: Generator,
    targets: Tensor,
    *,
    classes: Tensor | None = None,
    steps: int = 300,
    starts: int = 4,
    seed: int = 0,
    advance: Callable[[int, int], None] | None = None,
) -> Projection:
    """Find latents whose images resemble targets, float32 (N, C, S, S) in [-1, 1].

    classes: with conditioning, int64 (K,), the classes to search in; all by default. The class of
        an image is that of its starting point.
    starts: number of searches per target. They start from the best of 512 random latents, or four
        for each class if that is more; the best result counts.
    steps: Adam steps per search, on the squared difference of pixels and of 4x4 means. The means
    provide a gradient for a shape that is slightly out of position.
    advance: called after each step with the steps taken and their number.

    Abdal et al. 2019 ("Image2StyleGAN") use a perceptual loss in place of the means.
    """
    generator = generator.eval()
    device = next(generator.parameters()).device
    known = len(generator.conditioning.class_counts)
    if classes is None and known:
        classes = torch.arange(known)
    count = _CANDIDATES if classes is None else max(_CANDIDATES, 4 * len(classes))
    candidates = PositionalRNG(seed, 0, count).normal(Stream.SAMPLES, generator.latent_size)
    labels = None if classes is None else classes[torch.arange(count) % len(classes)]
    images = generate_images(generator, candidates, labels)
    distances = torch.stack([(images - target).abs().mean((1, 2, 3)) for target in targets.cpu()])
    start_errors, start_rows = distances.topk(min(starts, count), dim=1, largest=False)
    repeated = targets.to(device).repeat_interleave(start_rows.shape[1], 0)
    rows = start_rows.flatten()
    labels = None if labels is None else labels[rows]
    latents = _optimise(generator, candidates[rows].to(device), labels, repeated, steps, advance)
    images = generate_images(generator, latents, labels)
    errors = (images - repeated.cpu()).abs().mean((1, 2, 3)).view(len(targets), -1)
    best = errors.argmin(1) + torch.arange(len(targets)) * errors.shape[1]
    return Projection(
        latents[best],
        images[best],
        None if labels is None else labels[best],
        errors.min(1).values.double() * _GREY_LEVELS,
        start_errors[:, 0].double() * _GREY_LEVELS,
    )


def _optimise(
    generator: Generator,
    start: Tensor,
    classes: Tensor | None,
    targets: Tensor,
    steps: int,
    advance: Callable[[int, int], None] | None,
) -> Tensor:
    latents = start.requires_grad_(True)
    adam = torch.optim.Adam([latents], lr=_LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, max(steps, 1))
    for step in range(steps):
        prior = _PRIOR_WEIGHT * latents.square().sum(1)
        loss = (_dissimilarity(generator(latents, classes), targets) + prior).sum()
        adam.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()
        schedule.step()
        if advance is not None:
            advance(step + 1, steps)
    return latents.detach().cpu()


def _dissimilarity(images: Tensor, targets: Tensor) -> Tensor:
    """Return the mean squared difference of pixels plus that of 4x4 means, (N,)."""
    difference = images - targets
    coarse = functional.avg_pool2d(difference, 4)
    return difference.square().mean((1, 2, 3)) + coarse.square().mean((1, 2, 3))


def read_images(paths: Sequence[Path], conversion: Conversion) -> Tensor:
    """Return image files as float32 (N, C, size, size) in [-1, 1], as an import converts them.

    Raises UserError naming a file that cannot be read.
    """
    images = []
    for path in paths:
        try:
            images.append(torch.from_numpy(read_image(path, conversion)))
        except UserError as error:
            raise UserError(f"{path}: not readable as an image ({error}).") from None
    return torch.stack(images).float() / 127.5 - 1
