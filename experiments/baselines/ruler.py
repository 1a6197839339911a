"""FID and KID by the features of EfficientNet-Lite0, which learnt ImageNet."""

import torch
from torch import Tensor

from gantrain.common.rng import PositionalRNG
from gantrain.data.loading.datasets import ImageDataset
from gantrain.metrics.by_features import feature_scale
from gantrain.metrics.distances import Moments, frechet_distance, kernel_distance
from gantrain.metrics.lite0 import describe_images, load_lite0


class Lite0Ruler:
    """Measures images against the first `real` training images in the order of seed 0.

    Scaled as in `gantrain.metrics.measure`, so that the mean variance of the real features is 1.
    """

    def __init__(self, dataset: ImageDataset, real: int) -> None:
        self._network = load_lite0()
        images = dataset.images(PositionalRNG(0, 0, real))
        features = describe_images(self._network, images).double()
        self._scale = feature_scale(features, "lite0")
        self._real = features / self._scale

    @torch.no_grad()
    def measure(self, images: Tensor) -> dict[str, float]:
        """Return `fid` and `kid` of images, uint8 (N, C, S, S), C 1 or 3."""
        fake = describe_images(self._network, images).double() / self._scale
        return {
            "fid": frechet_distance(Moments.of(self._real), Moments.of(fake)),
            "kid": kernel_distance(self._real, fake),
        }
