"""In which order the values of maps (N, C, H, W) lie in memory."""

import torch
from torch import Tensor


def is_channels_last(x: Tensor) -> bool:
    """Whether the channels of a pixel lie next to each other, and only they."""
    return not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)


def layout_of(x: Tensor) -> torch.memory_format:
    """Return the layout that x has, or should get if it is in none."""
    return torch.channels_last if is_channels_last(x) else torch.contiguous_format
