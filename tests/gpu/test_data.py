"""The ways of images to a device: resident, by pinned memory, and decoded in other processes."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gantrain.common.rng import PositionalRNG
from gantrain.common.transfer import to_device
from gantrain.data.loading.datasets import scaled
from tests.gpu.devices import DEVICES
from tests.numbered import numbered_set, open_numbered

STEPS = 12
WAYS: dict[str, dict[str, Any]] = {
    "resident": {"mode": "cache", "device_share": 0.5},
    "pinned": {"mode": "cache", "device_share": 1e-9},
    "streamed": {"mode": "stream"},
    "streamed by workers": {"mode": "stream", "workers": 1},
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("way", WAYS)
def test_every_way_yields_the_images_of_the_host(way: str, device: str, tmp_path: Path) -> None:
    dataset = open_numbered(numbered_set(tmp_path / "set"), tmp_path / "scratch", **WAYS[way])
    rng = PositionalRNG(0, 0, 4)
    batches = dataset.batches(rng, 8, torch.device(device), torch.channels_last)
    for step, (images, _) in enumerate(itertools.islice(batches, STEPS)):
        assert images.device.type == device
        expected = scaled(dataset.images(PositionalRNG(0, 8 * step, 4)))
        torch.testing.assert_close(images.cpu(), expected)


@pytest.mark.parametrize("device", DEVICES)
def test_copies_keep_their_values_while_the_host_hurries_on(device: str) -> None:
    copies: list[Tensor] = []
    for number in range(200):
        values = torch.full((1000,), float(number))
        copies.append(to_device(values, torch.device(device)))
        del values  # its memory is free for the next
    ends = [[copy.min().item(), copy.max().item()] for copy in copies]
    assert ends == [[number, number] for number in range(200)]
