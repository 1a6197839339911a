"""All metrics of a set of images against the real ones, by name."""

import math

import torch
from torch import Tensor

from gantrain.metrics.coverage import part_coverage
from gantrain.metrics.distances import Moments, frechet_distance, kernel_distance
from gantrain.metrics.features import Features
from gantrain.metrics.image_statistics import (
    checkerboard,
    ms_ssim,
    pairwise_difference,
    sliced_wasserstein,
)
from gantrain.metrics.neighbours import memorisation, precision_recall_density_coverage
from gantrain.metrics.reference import Reference, thumbnails

_SLICED = 512  # images of each side for the sliced Wasserstein distance
_KERNEL = 2000  # and for the kernel distance
_NEIGHBOURS = 5000  # whose distances to one another fit into memory
_FEWEST_REAL = 10
_PAIRS = 256  # of images whose structural similarity is taken
_FEWEST_HELD_OUT = 20


def measure(
    images: Tensor, described: Tensor, logits: Tensor, features: Features, reference: Reference
) -> dict[str, float]:
    """The metrics, on the CPU, as `quality/NAME`; those of features end in the features' name.

    images: uint8 (N, C, S, S), generated. described, logits: what `features` makes of them.
    Features are scaled to a mean variance of 1 over the real images, so that a FID as large as
    their number is as far as the data are wide; Inception's are left as the literature has them.
    Parts and memorisation are left out where there are no labels or no held-out images, and what
    needs features where there are fewer than 10 real images.
    """
    found: dict[str, float] = {}
    if len(reference.features) >= _FEWEST_REAL:
        found |= _by_features(described.cpu(), features.name, reference.features)
    if len(reference.shares):
        parts = part_coverage(logits.cpu(), reference.shares)
        found["parts_made"] = parts.made
        found["parts_covered"] = parts.made / parts.total
        found["parts_divergence"] = parts.divergence
    shown, pixels = _unit(reference.images), _unit(images.cpu())
    found["swd"] = sliced_wasserstein(shown[:_SLICED], pixels[:_SLICED])
    found["diversity"] = pairwise_difference(pixels) / max(pairwise_difference(shown), 1e-9)
    found["ms_ssim"] = _similarity_of_pairs(pixels)
    if len(reference.held_out_thumbnails) >= _FEWEST_HELD_OUT:
        found["memorisation"] = memorisation(
            thumbnails(images.cpu()), reference.thumbnails, reference.held_out_thumbnails
        )
    found["checkerboard"] = checkerboard(pixels[:_SLICED])
    return {f"quality/{k}": float(v) for k, v in found.items() if math.isfinite(v)}


def _by_features(described: Tensor, of: str, real: Tensor) -> dict[str, float]:
    scale = 1.0 if of == "inception" else float(real.double().var(0).mean().sqrt())
    x, y = (features.double() / max(scale, 1e-12) for features in (real, described))
    near = precision_recall_density_coverage(x[: len(y)], y[:_NEIGHBOURS])
    return {
        f"fid_{of}": frechet_distance(Moments.of(x), Moments.of(y)),
        f"kid_{of}": kernel_distance(x[:_KERNEL], y[:_KERNEL]),
        **{f"{name}_{of}": value for name, value in near.items()},
    }


def floor(features: Features, reference: Reference) -> dict[str, float]:
    """The metrics of held-out images in place of generated ones: what a perfect generator, which
    knows views that the training does not show, would reach. Empty without held-out images."""
    held_out = reference.held_out_images
    if len(held_out) < _FEWEST_HELD_OUT:
        return {}
    described, logits = features.describe(held_out)
    return measure(held_out, described, logits, features, reference)


def _unit(images: Tensor) -> Tensor:
    return images.float() / 127.5 - 1


def _similarity_of_pairs(images: Tensor) -> float:
    pairs = min(len(images) // 2, _PAIRS) * 2
    with torch.no_grad():
        return float(ms_ssim(images[0:pairs:2], images[1:pairs:2]).mean())
