"""What the pixels of a step's real and generated images tell the diagnosis.

All stay on the device. Those of `image_signals` are means over images or over pairs of neighbouring
images, so that they do not depend on how a batch is split over ranks.
"""

import torch
from torch import Tensor

from gantrain.data.loading.datasets import Images

_SATURATED = 0.98
_TWINS = 0.05  # of the variance that two images have together


def image_signals(real: Tensor, fake: Tensor) -> dict[str, Tensor]:
    """Return the signals of images (N, C, S, S) in [-1, 1], for both kinds; scalars.

    For each kind: `spread`, the mean squared difference of neighbouring images; `twins`, the
    fraction of these pairs that are almost the same image; `range`, half the difference of an
    image's brightest and darkest pixel; `saturated`, the fraction of pixels next to the ends of the
    range. A single image has no pairs.
    """
    metrics = {}
    for kind, images in (("real", real.detach()), ("fake", fake.detach())):
        x = images.flatten(1).float()
        ranges = _ranges(x)
        metrics[f"health/{kind}_range"] = ranges.mean() / 2
        metrics[f"health/{kind}_saturated"] = x.abs().gt_(_SATURATED).mean()
        if pairs := len(x) // 2 * 2:
            differences = _mean_squares(x[0:pairs:2] - x[1:pairs:2])
            # Images without contrast are no twins: those of an untrained generator are all alike.
            contrasts = _contrasts(x, ranges)[:pairs].view(-1, 2).sum(1)
            metrics[f"health/{kind}_spread"] = differences.mean()
            metrics[f"health/{kind}_twins"] = (differences < _TWINS * contrasts).float().mean()
    return metrics


# Below, what torch does in one call takes up to ten times as long on CPUs.


def _ranges(x: Tensor) -> Tensor:
    return x.amax(1) - x.amin(1)


def _mean_squares(x: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(x, dim=1)
    return norms.square() / x.shape[1]


def _contrasts(x: Tensor, ranges: Tensor) -> Tensor:
    """Return the variance of each row of x, (N,); exactly 0 for a constant one."""
    return _mean_squares(x - x.mean(1, keepdim=True)) * (ranges > 0)


def class_signals(real: Images, fake: Images) -> dict[str, Tensor]:
    """Return the signals within classes, of images (N, C, S, S) in [-1, 1]; scalars.

    For each kind: `class_spread`, the mean squared difference of two images of one class;
    `class_twins`, the fraction of these pairs that are almost the same image. Empty without
    classes.

    Neighbours are seldom of one class: among 50 classes, one pair in 50. So these are means over
    all pairs of a class among the images that a device has at once: 40 such pairs among 64 images
    of 50 classes. Images without such a pair have NaN, which does not count. On more ranks there
    are fewer pairs, of the same mean.
    """
    metrics = {}
    for kind, (images, classes) in (("real", real), ("fake", fake)):
        if classes is None:
            return {}
        x = images.detach().flatten(1).float()
        contrasts = _contrasts(x, _ranges(x))
        x = x - x.mean(0)  # so that rounding does not hide small differences
        squares = x.square().mean(1)
        products = x @ x.T / x.shape[1]
        differences = (squares[:, None] + squares - 2 * products).clamp_min(0)
        alike = differences < _TWINS * (contrasts[:, None] + contrasts)
        pairs = (classes[:, None] == classes).float().triu(1)
        metrics[f"health/{kind}_class_spread"] = (differences * pairs).sum() / pairs.sum()
        metrics[f"health/{kind}_class_twins"] = (alike * pairs).sum() / pairs.sum()
    return metrics
