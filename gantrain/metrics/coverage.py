"""Coverage of a data set's classes by generated images, as a classifier of the set sees them."""

from dataclasses import dataclass

import torch
from torch import Tensor

_MIN_RELATIVE_FREQUENCY = 0.1


@dataclass(frozen=True)
class ClassCoverage:
    """How the classes of generated images compare with those of the data.

    covered: number of classes that are generated at least a tenth as often as they occur in the
        data.
    total: number of classes in the data.
    divergence: KL(generated frequencies ‖ data frequencies) in nats; 0 is perfect, and log(total)
        is one class only, if the data have all equally often.
    """

    covered: int
    total: int
    divergence: float


def class_coverage(logits: Tensor, frequencies: Tensor) -> ClassCoverage:
    """Return the coverage of the data's classes by generated images.

    logits: (N, K), of a classifier for the generated images.
    frequencies: (K,), fraction of the training images in each class. Classes that do not occur are
        left out, since the generator cannot know them.

    Each image counts for its most probable class, even a blurred one: read the coverage together
    with the precision. The number of modes and the KL divergence follow Srivastava et al. 2017 and
    Lin et al. 2018, who use digits.
    """
    occurring = frequencies > 0
    expected = frequencies[occurring].double() / frequencies[occurring].double().sum()
    predicted = logits[:, occurring].argmax(1)
    counts = torch.bincount(predicted, minlength=len(expected)).double()
    required = torch.clamp_min(_MIN_RELATIVE_FREQUENCY * expected * len(logits), 1.0)
    generated = counts / len(logits)
    divergence = torch.xlogy(generated, generated / expected).sum()
    return ClassCoverage(
        covered=int((counts >= required).sum()),
        total=len(expected),
        divergence=max(float(divergence), 0.0),
    )
