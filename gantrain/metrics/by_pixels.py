"""The metrics of pixels and thumbnails, with their intervals."""

import torch
from torch import Tensor

from gantrain.common.statistics import Interval
from gantrain.metrics.image_statistics import (
    checkerboard_score,
    ms_ssim,
    pair_differences,
    sliced_wasserstein,
)
from gantrain.metrics.intervals import (
    fraction_interval,
    random_halves,
    statistic_interval,
    symmetric_interval,
)
from gantrain.metrics.neighbours import copied_fraction, is_repeated, nearest_ratio, nearest_rows
from gantrain.metrics.reference import to_thumbnails

_MAX_IMAGES = 512  # of each set, for the sliced Wasserstein distance and the spectrum
_MAX_SSIM_PAIRS = 256
_MAX_COMPARED = 2000  # images that are searched for repeated ones
_FEW_REPLICATES = 20  # of what takes long
_FEW_DIRECTIONS = 32

Metrics = dict[str, tuple[float, Interval]]


def pixel_metrics(images: Tensor, real_images: Tensor) -> Metrics:
    """Return swd, diversity, ms_ssim, unique and checkerboard of uint8 images (N, C, S, S)."""
    real, fake = _to_unit_range(real_images), _to_unit_range(images)
    return {
        "swd": _swd(real[:_MAX_IMAGES], fake[:_MAX_IMAGES]),
        "diversity": _diversity(real, fake),
        "ms_ssim": _mean_pair_similarity(fake),
        "unique": _unique(images[:_MAX_COMPARED], real_images[:_MAX_COMPARED]),
        "checkerboard": _checkerboard(fake[:_MAX_IMAGES]),
    }


def nearest_metrics(images: Tensor, training: Tensor, held_out: Tensor) -> Metrics:
    """Return nearest_ratio and memorisation of uint8 images (N, C, S, S).

    training, held_out: thumbnails, as `to_thumbnails` returns them.

    The interval of memorisation leaves out that other held-out images would have other medians.
    """
    thumbnails = to_thumbnails(images)
    fake, real = (nearest_rows(rows, training)[0] for rows in (thumbnails, held_out))
    copied = copied_fraction(thumbnails, held_out, fake, real)
    return {
        "nearest_ratio": (
            nearest_ratio(fake, real),
            statistic_interval(lambda x, y: nearest_ratio(y, x), real, fake, lowest=0.0),
        ),
        "memorisation": (copied, fraction_interval(copied, len(images))),
    }


def unique_fraction(images: Tensor, real_images: Tensor) -> float:
    """Return the fraction of uint8 images (N, C, S, S) that repeat no image before them.

    An image repeats another if their thumbnails differ by less than half the median difference
    between a real image and the nearest other of equally many real ones.
    """
    count = min(len(images), len(real_images))
    fake, real = to_thumbnails(images), to_thumbnails(real_images[:count])
    return 1 - float(is_repeated(fake, real).double().mean())


def _swd(real: Tensor, fake: Tensor) -> tuple[float, Interval]:
    count = min(len(real), len(fake))
    value = sliced_wasserstein(real[:count], fake[:count])
    halves = [
        sliced_wasserstein(real[rows], fake[columns], directions=_FEW_DIRECTIONS)
        for rows, columns in random_halves(count, count, _FEW_REPLICATES)
    ]
    return value, symmetric_interval(value, halves, 0.0)


def _diversity(real: Tensor, fake: Tensor) -> tuple[float, Interval]:
    x, y = pair_differences(real), pair_differences(fake)

    def ratio(real_pairs: Tensor, fake_pairs: Tensor) -> float:
        return float((fake_pairs.mean() / real_pairs.mean().clamp_min(1e-18)).sqrt())

    return ratio(x, y), statistic_interval(ratio, x, y, lowest=0.0)


def _mean_pair_similarity(images: Tensor) -> tuple[float, Interval]:
    pairs = min(len(images) // 2, _MAX_SSIM_PAIRS) * 2
    with torch.no_grad():
        similarity = ms_ssim(images[0:pairs:2], images[1:pairs:2])

    def mean(_: Tensor, values: Tensor) -> float:
        return float(values.mean())

    low, high = statistic_interval(mean, similarity, similarity, lowest=0.0)
    return float(similarity.mean()), (low, min(high, 1.0))


def _unique(images: Tensor, real_images: Tensor) -> tuple[float, Interval]:
    value = unique_fraction(images, real_images)
    return value, fraction_interval(value, len(images))


def _checkerboard(images: Tensor) -> tuple[float, Interval]:
    def score(_: Tensor, some: Tensor) -> float:
        return checkerboard_score(some)

    interval = statistic_interval(score, images, images, lowest=0.0, replicates=_FEW_REPLICATES)
    return checkerboard_score(images), interval


def _to_unit_range(images: Tensor) -> Tensor:
    """Return uint8 images as float32 in [-1, 1]."""
    return images.float() / 127.5 - 1
