"""A judge of a run's images beside the rules: what its sample grids show, and when.

It sees what a person sees, the images of the EMA generator, by features that no rule of the hunt
reads: those of EfficientNet-Lite0, which learnt ImageNet. Its limits were chosen on the fourth
draw.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from experiments.training import has_ended
from gantrain.common.grids import untile
from gantrain.health.problems import Name
from gantrain.metrics.distances import kernel_distance
from gantrain.metrics.lite0 import Lite0, describe_images, load_lite0
from gantrain.runs.paths import SAMPLES, list_grids

_ALIKE = 0.4  # of the diversity of as many real images
_WORSE = 1.5  # times the smallest distance so far
_KEPT = "images.json"
# What shows in images as soon as it is true of a run; the other diagnoses of a run that trains well
# are false whatever its images show.
_VISIBLE: tuple[Name, ...] = (
    "mode collapse",
    "quality falling",
    "diverging",
    "discriminator too strong",
    "stalled",
    "never learnt",
)


@dataclass(frozen=True)
class Look:
    """What a grid of samples shows.

    diversity: Vendi score of the samples over that of as many real images (Friedman and Dieng
        2023), with a Gaussian kernel whose width is half of the median distance of two real images.
    distance: kernel distance to the real images (KID) by features whose real variance is 1.
    """

    images_seen: int
    diversity: float
    distance: float


def looks_of(run_dir: Path, size: int) -> list[Look]:
    """Return the looks of a run's grids, oldest first, without that of the untrained generator.

    size: of its images, in pixels. They are kept in the folder of a run that has ended.
    """
    kept = run_dir / _KEPT
    if kept.exists():
        return [Look(**look) for look in json.loads(kept.read_text())]
    real = _features(run_dir / SAMPLES / "real.png", size)
    looks = [
        compare(real, _features(path, size), images_seen)
        for images_seen, path in list_grids(run_dir)
        if images_seen
    ]
    if has_ended(run_dir):
        kept.write_text(json.dumps([asdict(look) for look in looks]) + "\n")
    return looks


def compare(real: Tensor, fake: Tensor, images_seen: int) -> Look:
    """Return the look of features (N, D) of samples beside those of as many real images."""
    width = torch.pdist(real).median().item() / 2
    scale = real.var(0).mean().sqrt()
    diversity = vendi_score(fake, width) / vendi_score(real, width)
    return Look(images_seen, diversity, kernel_distance(real / scale, fake / scale))


def vendi_score(features: Tensor, width: float) -> float:
    """Return the effective number of different images among N, from 1 to N.

    The exponential of the entropy of the eigenvalues of K/N, where K is the matrix of
    exp(-d² / 2 width²) of all distances d (Friedman and Dieng 2023, "The Vendi Score").
    """
    kernel = torch.exp(-torch.cdist(features, features).square() / (2 * width**2))
    shares = torch.linalg.eigvalsh(kernel / len(features)).clamp_min(1e-12)
    return float(torch.exp(-(shares * shares.log()).sum()))


def is_ill(looks: Sequence[Look], index: int) -> bool:
    """Return whether images are too alike, or far worse than the best before."""
    look = looks[index]
    best = min((each.distance for each in looks[:index]), default=look.distance)
    return look.diversity < _ALIKE or look.distance > _WORSE * max(best, 0.0)


def confirms(looks: Sequence[Look], alarm: str, images_seen: int) -> bool:
    """Return whether the images are ill at the last look before an alarm, or the next one."""
    return alarm in _VISIBLE and any(is_ill(looks, i) for i in _indices_near(looks, images_seen))


def looks_near(looks: Sequence[Look], images_seen: int) -> list[Look]:
    """Return the last look before a moment and the first one from it on."""
    return [looks[i] for i in _indices_near(looks, images_seen)]


def is_always_well(looks: Sequence[Look]) -> bool:
    """Return whether no look but the first, which shows a young generator, is ill."""
    return len(looks) > 1 and not any(is_ill(looks, i) for i in range(1, len(looks)))


def _indices_near(looks: Sequence[Look], images_seen: int) -> list[int]:
    after = next((i for i, look in enumerate(looks) if look.images_seen >= images_seen), len(looks))
    return [i for i in (after - 1, after) if 0 <= i < len(looks)]


def _features(path: Path, size: int) -> Tensor:
    pixels = np.asarray(Image.open(path))
    return describe_images(_network(), untile(pixels, size)).double()


@cache
def _network() -> Lite0:
    return load_lite0()
