"""All quality metrics of a set of generated images."""

import math

import torch
from torch import Tensor

from gantrain.config.quality import BY_CLASSES, BY_FEATURES, BY_HELD_OUT, BY_PIXELS
from gantrain.metrics.coverage import class_coverage
from gantrain.metrics.distances import Moments, frechet_distance, kernel_distance
from gantrain.metrics.features import Features
from gantrain.metrics.image_statistics import (
    checkerboard_score,
    ms_ssim,
    pairwise_difference,
    sliced_wasserstein,
)
from gantrain.metrics.neighbours import memorisation, precision_recall_density_coverage
from gantrain.metrics.reference import Reference, to_thumbnails

MIN_REAL_IMAGES = 10  # for the metrics that use features

_MAX_PIXEL_IMAGES = 512  # of each set, for the sliced Wasserstein distance and the spectrum
_MAX_KERNEL_IMAGES = 2000  # of each set, for the kernel distance
_MAX_NEIGHBOUR_IMAGES = 5000  # whose distances to one another fit into memory
_MAX_SSIM_PAIRS = 256
_MIN_HELD_OUT_IMAGES = 20


def measure(
    images: Tensor, described: Tensor, logits: Tensor, features: Features, reference: Reference
) -> dict[str, float]:
    """Return the metrics as `quality/NAME`; those that use features end in the features' name.

    images: uint8 (N, C, S, S), generated.
    described, logits: (N, D) and (N, K), what `features.describe` returns for them.

    Features are divided by the root of their mean variance over the real images, so that a FID
    equal to their number is as far from the data as the data are spread. Inception features are not
    scaled, as usual. Computed on the CPU. Class metrics are left out without labels, memorisation
    with fewer than 20 held-out images, and the metrics of features with fewer than 10 real images.
    """
    metrics: dict[str, float] = {}
    if len(reference.features) >= MIN_REAL_IMAGES:
        metrics |= _feature_metrics(described.cpu(), features.name, reference.features)
    if len(reference.class_frequencies):
        classes = class_coverage(logits.cpu(), reference.class_frequencies)
        metrics["parts_made"] = classes.covered
        metrics["parts_covered"] = classes.covered / classes.total
        metrics["parts_divergence"] = classes.divergence
    real, fake = _to_unit_range(reference.images), _to_unit_range(images.cpu())
    metrics["swd"] = sliced_wasserstein(real[:_MAX_PIXEL_IMAGES], fake[:_MAX_PIXEL_IMAGES])
    metrics["diversity"] = pairwise_difference(fake) / max(pairwise_difference(real), 1e-9)
    metrics["ms_ssim"] = _mean_pair_similarity(fake)
    if len(reference.held_out_thumbnails) >= _MIN_HELD_OUT_IMAGES:
        metrics["memorisation"] = memorisation(
            to_thumbnails(images.cpu()), reference.thumbnails, reference.held_out_thumbnails
        )
    metrics["checkerboard"] = checkerboard_score(fake[:_MAX_PIXEL_IMAGES])
    return {f"quality/{k}": float(v) for k, v in metrics.items() if math.isfinite(v)}


def measured_names(features_name: str, *, real: int, held_out: int, classes: bool) -> list[str]:
    """Return the names of the metrics that `measure` returns where all of them are finite.

    real, held_out: number of images of each kind in the reference. classes: whether it has labels.
    """
    names: list[str] = []
    if real >= MIN_REAL_IMAGES:
        names += (f"{name}_{features_name}" for name in BY_FEATURES)
    if classes:
        names += BY_CLASSES
    names += BY_PIXELS
    if held_out >= _MIN_HELD_OUT_IMAGES:
        names += BY_HELD_OUT
    return [f"quality/{name}" for name in names]


def measure_held_out(features: Features, reference: Reference) -> dict[str, float]:
    """Return the metrics of held-out images in place of generated ones.

    They are the values of a perfect generator: one that also generates what is not in the
    training images. Empty with fewer than 20 held-out images.
    """
    held_out = reference.held_out_images
    if len(held_out) < _MIN_HELD_OUT_IMAGES:
        return {}
    described, logits = features.describe(held_out)
    return measure(held_out, described, logits, features, reference)


def _feature_metrics(fake: Tensor, features_name: str, real: Tensor) -> dict[str, float]:
    is_inception = features_name == "inception"
    scale = 1.0 if is_inception else float(real.double().var(0).mean().sqrt())
    x, y = (features.double() / max(scale, 1e-12) for features in (real, fake))
    neighbours = precision_recall_density_coverage(x[: len(y)], y[:_MAX_NEIGHBOUR_IMAGES])
    metrics = {
        "fid": frechet_distance(Moments.of(x), Moments.of(y)),
        "kid": kernel_distance(x[:_MAX_KERNEL_IMAGES], y[:_MAX_KERNEL_IMAGES]),
        **neighbours,
    }
    return {f"{name}_{features_name}": value for name, value in metrics.items()}


def _to_unit_range(images: Tensor) -> Tensor:
    """Return uint8 images as float32 in [-1, 1]."""
    return images.float() / 127.5 - 1


def _mean_pair_similarity(images: Tensor) -> float:
    pairs = min(len(images) // 2, _MAX_SSIM_PAIRS) * 2
    with torch.no_grad():
        return float(ms_ssim(images[0:pairs:2], images[1:pairs:2]).mean())
