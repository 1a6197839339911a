"""What the pixels of a step's real and generated images tell the diagnosis.

All are means over images or over pairs of neighbouring images, so that they do not depend on how a
batch is split over ranks. They stay on the device.
"""

import torch
from torch import Tensor

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
        x = images.flatten(1)
        low, high = torch.aminmax(x, dim=1)
        metrics[f"health/{kind}_range"] = (high - low).mean() / 2
        metrics[f"health/{kind}_saturated"] = (x.abs() > _SATURATED).float().mean()
        if pairs := len(x) // 2 * 2:
            differences = (x[0:pairs:2] - x[1:pairs:2]).square().mean(1)
            # Images without contrast are no twins: those of an untrained generator are all alike.
            contrasts = x[:pairs].float().var(1, correction=0).view(-1, 2).sum(1)
            metrics[f"health/{kind}_spread"] = differences.mean()
            metrics[f"health/{kind}_twins"] = (differences < _TWINS * contrasts).float().mean()
    return metrics
