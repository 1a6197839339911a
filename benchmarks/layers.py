"""The convolutions of both networks: their shapes, their FLOPs, and the time of each pass alone."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gantrain.config import Config
from gantrain.models.networks import build_networks

Convolution = nn.Conv2d | nn.ConvTranspose2d
_LAYOUTS = (torch.contiguous_format, torch.channels_last)


@dataclass(frozen=True)
class Layer:
    """A convolution with the shapes of one image that goes through it."""

    name: str
    module: Convolution
    inputs: torch.Size
    outputs: torch.Size

    @property
    def flops(self) -> int:
        """Of one image's forward pass, a multiplication and an addition counted as two.

        Both gradients take as many each.
        """
        weights: int = self.module.weight.numel()
        transposed = isinstance(self.module, nn.ConvTranspose2d)
        places = self.inputs if transposed else self.outputs
        return 2 * weights * places[-1] * places[-2]


@dataclass(frozen=True)
class Passes:
    """Seconds of a batch's forward pass, gradient to the weights, gradient to the input."""

    forward: float
    weights: float
    inputs: float


def layers_of(config: Config) -> tuple[list[Layer], list[Layer]]:
    """The convolutions of G and of D, from input to output."""
    generator, discriminator = build_networks(config)
    size, channels = config.data.size, config.data.channels
    latents = torch.zeros(2, config.generator.latent_size)
    images = torch.zeros(2, channels, size, size)
    return traced("G", generator, latents), traced("D", discriminator, images)


@torch.no_grad()
def traced(name: str, network: nn.Module, inputs: Tensor) -> list[Layer]:
    found: list[Layer] = []

    def note(module: nn.Module, arguments: tuple[Tensor], output: Tensor) -> None:
        assert isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
        shapes = arguments[0].shape[1:], output.shape[1:]
        found.append(Layer(f"{name}{len(found) + 1}", module, *shapes))

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.register_forward_hook(note)
    network(inputs)
    return found


def time_layer(layer: Layer, batch: int, dtype: torch.dtype, seconds: float) -> Passes:
    """Each pass in the faster of the two memory layouts."""
    found = [passes_in(layer, batch, dtype, layout, seconds) for layout in _LAYOUTS]
    return Passes(
        min(p.forward for p in found),
        min(p.weights for p in found),
        min(p.inputs for p in found),
    )


def passes_in(
    layer: Layer, batch: int, dtype: torch.dtype, layout: torch.memory_format, seconds: float
) -> Passes:
    def filled(shape: tuple[int, ...]) -> Tensor:
        return torch.randn(shape).to(dtype, memory_format=layout)

    module = layer.module
    x, gradient = filled((batch, *layer.inputs)), filled((batch, *layer.outputs))
    weight = filled(tuple(module.weight.shape))
    transposed = isinstance(module, nn.ConvTranspose2d)
    padding: Any = module.padding
    if padding == "same":  # odd kernels, stride 1
        padding = [(module.kernel_size[0] - 1) // 2] * 2
    geometry = (module.stride, padding, module.dilation, transposed, module.output_padding, 1)
    aten = torch.ops.aten

    def backward(*wanted: bool) -> Callable[[], object]:
        mask = [*wanted, False]
        return lambda: aten.convolution_backward(gradient, x, weight, None, *geometry, mask)

    with torch.no_grad():
        return Passes(
            median_seconds(lambda: aten.convolution(x, weight, None, *geometry), seconds),
            median_seconds(backward(False, True), seconds),
            median_seconds(backward(True, False), seconds),
        )


def median_seconds(call: Callable[[], object], seconds: float) -> float:
    return statistics.median(times_of(call, seconds))


def times_of(call: Callable[[], object], seconds: float) -> list[float]:
    """Of calls over about so many seconds, and of three at least, after one to warm up."""
    call()
    taken: list[float] = []
    while sum(taken) < seconds or len(taken) < 3:
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return taken


@torch.no_grad()
def product_peak(dtype: torch.dtype, seconds: float) -> float:
    """The FLOP/s of the fastest square matrix product, of several sizes and libraries."""
    best = 0.0
    for side in (512, 1024, 2048):
        a, b = (torch.randn(side, side) for _ in range(2))
        one, other = a.to(dtype), b.to(dtype)
        # The same product by the library that convolves, which is not the one that multiplies.
        rows = one.view(side, side, 1, 1).to(memory_format=torch.channels_last)
        columns = other.view(side, side, 1, 1).to(memory_format=torch.channels_last)
        ways: list[Callable[[], object]] = [
            partial(torch.mm, one, other),
            partial(nn.functional.conv2d, rows, columns),
        ]
        if dtype is torch.float32:
            ways.append(partial(np.matmul, a.numpy(), b.numpy()))
        best = max(best, *(2 * side**3 / min(times_of(way, seconds)) for way in ways))
    return best
