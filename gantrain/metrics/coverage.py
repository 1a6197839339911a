"""Coverage of a data set's classes by generated images, as a classifier of the set sees them."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gantrain.common.statistics import Interval
from gantrain.metrics.classifier import MIN_RECALL, HeldOutTest
from gantrain.metrics.intervals import centred_interval, drawn_interval, drawn_shares

MIN_ACCURACY = 0.8  # of the classifier on held-out images, for any metric of classes

_MIN_RELATIVE_FREQUENCY = 0.1


@dataclass(frozen=True)
class ClassCounts:
    """How many of the generated images show each class.

    counts: int64 (K + 1,), images in each of the K classes that count, and last those in none: the
        classifier is not confident of them, or takes them for a class that it confuses.
    expected: float64 (K + 1,), the same as fractions, of real images.
    """

    counts: NDArray[np.int64]
    expected: NDArray[np.float64]

    @property
    def total(self) -> int:
        """Number of classes that count."""
        return len(self.counts) - 1

    @property
    def made(self) -> int:
        """Number of classes generated at least a tenth as often as expected, and at least once."""
        return int((self.counts[:-1] >= self._required()).sum())

    def metrics(self) -> dict[str, float]:
        """Return classes_made, classes_covered and classes_divergence.

        The divergence is KL(generated frequencies ‖ expected frequencies) in nats, over the classes
        that count and the images in none; 0 is perfect.
        """
        return {
            "classes_made": self.made,
            "classes_covered": self.made / self.total,
            "classes_divergence": self._divergence(self.counts / self.counts.sum()),
        }

    def intervals(self) -> dict[str, Interval]:
        """Return the 95% intervals of the metrics.

        The number of classes depends on few images where classes are about as rare as what is
        required, so its interval is that of a second measurement, of as many other images.
        """
        shares = drawn_shares(self.counts)
        repeated = np.random.default_rng(1).multinomial(self.counts.sum(), shares)[:, :-1]
        made = drawn_interval(self.made, (repeated >= self._required()).sum(1).tolist())
        value = self._divergence(self.counts / self.counts.sum())
        drawn = [self._divergence(row) for row in shares]
        return {
            "classes_made": made,
            "classes_covered": (made[0] / self.total, made[1] / self.total),
            "classes_divergence": centred_interval(value, drawn, 0.0),
        }

    def _required(self) -> NDArray[np.float64]:
        required = _MIN_RELATIVE_FREQUENCY * self.expected[:-1] * self.counts.sum()
        # Rounded before, since 0.1 · 0.2 · 1000 is more than 20.
        rounded: NDArray[np.float64] = np.maximum(np.ceil(np.round(required, 6)), 1.0)
        return rounded

    def _divergence(self, shares: NDArray[np.float64]) -> float:
        positive = shares > 0
        ratio = shares[positive] / self.expected[positive]
        return max(float(np.sum(shares[positive] * np.log(ratio))), 0.0)


def count_classes(logits: Tensor, frequencies: Tensor, test: HeldOutTest) -> ClassCounts:
    """Count the classes of generated images.

    logits: (N, K), of a classifier for the generated images.
    frequencies: (K,), fraction of the training images in each class. Classes that do not occur are
        left out, since the generator cannot know them.
    test: how the classifier does on held-out real images. Classes with a recall below 0.5 there
        are left out, and images of which it is less confident than of nine tenths of those count
        for none: an image between two classes, or of noise, shows no class.

    The number of modes and the KL divergence follow Srivastava et al. 2017 and Lin et al. 2018, who
    use digits and count every image.
    """
    occurring = frequencies > 0
    recalls = torch.tensor(test.recalls, dtype=torch.float64)[occurring]
    counted = recalls >= MIN_RECALL  # False for NaN, the recall of a class without held-out images
    confidence, predicted = logits[:, occurring].double().softmax(1).max(1)
    known = (confidence >= test.confidence) & counted[predicted]
    counts = torch.bincount(predicted[known], minlength=len(counted))[counted]
    shares = frequencies[occurring][counted].double()
    expected = (1 - test.unknown) * shares / shares.sum()
    return ClassCounts(
        np.append(counts.numpy(), len(logits) - int(counts.sum())),
        np.append(expected.numpy(), test.unknown),
    )
