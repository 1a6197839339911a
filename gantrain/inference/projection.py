"""The latent vector whose image is most like a given one, found by optimisation."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from gantrain.common.errors import UserError
from gantrain.common.rng import PositionalRNG, Stream
from gantrain.inference.sampling import generate_images
from gantrain.models.networks import Generator

logger = logging.getLogger(__name__)

_CANDIDATES = 512  # random latents, of which the best are starts
_PRIOR = 1e-4  # weight of the latents' squared length: what holds them where G was trained
_RATE = 0.05


@dataclass(frozen=True)
class Projection:
    """What `project` found for each image.

    latents: float32 (N, latent_size). images: float32 (N, C, S, S) in [-1, 1], what G makes.
    errors: float64 (N,), mean absolute difference to the given image in grey levels 0 to 255.
    random_errors: float64 (N,), the same for the best of the random starts.
    """

    latents: Tensor
    images: Tensor
    errors: Tensor
    random_errors: Tensor


def project(
    generator: Generator,
    targets: Tensor,
    *,
    steps: int = 300,
    starts: int = 4,
    seed: int = 0,
) -> Projection:
    """Search latents for images float32 (N, C, S, S) in [-1, 1].

    starts: of 512 random latents so many of the nearest are each followed for `steps` steps of
    Adam on the squared difference, over pixels and over 4x4 means, where a shape that is a little
    aside still shows; the best ends count.
    Abdal et al. 2019 ("Image2StyleGAN") search so, with a perceptual loss in place of means.
    """
    generator = generator.eval()
    device = next(generator.parameters()).device
    candidates = PositionalRNG(seed, 0, _CANDIDATES).normal(Stream.SAMPLES, generator.latent_size)
    made = generate_images(generator, candidates)
    gaps = torch.stack([(made - target).abs().mean((1, 2, 3)) for target in targets.cpu()])
    nearest, chosen = gaps.topk(min(starts, _CANDIDATES), dim=1, largest=False)
    latents = candidates[chosen.flatten()].to(device).requires_grad_(True)
    wanted = targets.to(device).repeat_interleave(chosen.shape[1], 0)
    adam = torch.optim.Adam([latents], lr=_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, max(steps, 1))
    for step in range(steps):
        loss = (_unlikeness(generator(latents), wanted) + _PRIOR * latents.square().sum(1)).sum()
        adam.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()
        schedule.step()
        if step % 100 == 99:
            logger.info(f"step {step + 1} of {steps}")
    ends = latents.detach().cpu()
    images = generate_images(generator, ends)
    errors = (images - wanted.cpu()).abs().mean((1, 2, 3)).view(len(targets), -1)
    best = errors.argmin(1) + torch.arange(len(targets)) * errors.shape[1]
    return Projection(
        ends[best],
        images[best],
        errors.min(1).values.double() * 127.5,
        nearest[:, 0].double() * 127.5,
    )


def _unlikeness(made: Tensor, wanted: Tensor) -> Tensor:
    gap = made - wanted
    return gap.square().mean((1, 2, 3)) + functional.avg_pool2d(gap, 4).square().mean((1, 2, 3))


def read_images(paths: list[Path], size: int, channels: int) -> Tensor:
    """Image files as float32 (N, C, S, S) in [-1, 1], the middle square scaled to S.

    Raises UserError naming the file that cannot be read.
    """
    found = []
    for path in paths:
        try:
            with Image.open(path) as image:
                square = min(image.size)
                left, top = (image.width - square) // 2, (image.height - square) // 2
                cut = image.convert("L" if channels == 1 else "RGB").crop(
                    (left, top, left + square, top + square)
                )
                pixels = np.asarray(cut.resize((size, size), Image.Resampling.BILINEAR))
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            raise UserError(f"{path}: no image can be read from it ({error}).") from None
        found.append(torch.from_numpy(pixels.copy()).reshape(size, size, channels))
    return torch.stack(found).permute(0, 3, 1, 2).float() / 127.5 - 1
