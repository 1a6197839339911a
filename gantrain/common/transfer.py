"""Copies from the host to the device that nobody waits for."""

import torch
from torch import Tensor


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """Return values on the device; a copy to a GPU is queued, and the host continues at once.

    That takes pinned memory: the driver copies other memory while the host waits. torch keeps the
    block of pinned memory until the copy is done, and then uses it again.
    """
    if device.type == "cuda" and values.device.type == "cpu":
        values = values.pin_memory()  # itself if it is pinned
    return values.to(device, non_blocking=True)
