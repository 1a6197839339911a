"""Images of every size that the networks have, in the metrics."""

import pytest
import torch
from torch.nn.functional import avg_pool2d

from gantrain.metrics.artefacts import ArtefactNetwork, spoil
from gantrain.metrics.classifier import WIDTH, Classifier
from gantrain.metrics.image_statistics import (
    checkerboard_score,
    downsample,
    ms_ssim,
    sliced_wasserstein,
)
from gantrain.metrics.reference import to_thumbnails

SIZES = range(16, 257, 8)


@pytest.mark.parametrize("size", SIZES)
def test_pixels_are_measured_at_every_size(size: int) -> None:
    torch.manual_seed(size)
    images = torch.rand(2, 1, size, size) * 2 - 1
    assert sliced_wasserstein(images, images.flip(3), directions=4) > 0
    assert checkerboard_score(images) > 0
    assert ms_ssim(images[:1], images[:1]).item() == pytest.approx(1)
    assert spoil(images)[0].shape == images.shape
    assert to_thumbnails(images).shape == (2, 16 * 16)


@pytest.mark.parametrize("size", SIZES)
def test_networks_of_the_metrics_take_every_size(size: int) -> None:
    images = torch.rand(2, 1, size, size) * 2 - 1
    assert Classifier(size, 1, 3)(images).shape == (2, 3)
    assert Classifier(size, 1, 3).features(images).shape == (2, WIDTH)
    assert ArtefactNetwork(size, 1).eval()(images).shape == (2, WIDTH)


def test_images_are_averaged_down_to_the_size_asked_for() -> None:
    images = torch.rand(2, 3, 48, 48)
    assert torch.equal(downsample(images, 64), images)
    assert torch.equal(downsample(images, 16), avg_pool2d(images, 3))
    shrunk = downsample(images, 32)  # each of 32 pixels is the mean of 2x2 that overlap
    assert shrunk.shape == (2, 3, 32, 32)
    assert shrunk[0, 0, 0, 1].item() == pytest.approx(images[0, 0, 0:2, 1:3].mean().item())
