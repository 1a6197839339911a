"""The convolutions of both networks: shapes, FLOPs, and the time of each pass in isolation."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.device import BenchmarkDevice
from gantrain.config import Config
from gantrain.models.networks import build_networks
from gantrain.models.passes import Passes

Ways = Literal["all", "torch", "ours"]
Convolution = nn.Conv2d | nn.ConvTranspose2d
_CPU = BenchmarkDevice("cpu")
_CALLS_IN_A_GRAPH = 10
_MEMORY_FORMATS = (torch.contiguous_format, torch.channels_last)


@dataclass(frozen=True)
class Layer:
    """A convolution with its input and output shapes for one image, (C, H, W)."""

    name: str
    module: Convolution
    inputs: torch.Size
    outputs: torch.Size

    @property
    def flops(self) -> int:
        """FLOPs of the forward pass of one image; a multiply-add counts as two.

        The gradients of the weights and of the input take the same number each.
        """
        weights: int = self.module.weight.numel()
        transposed = isinstance(self.module, nn.ConvTranspose2d)
        positions = self.inputs if transposed else self.outputs
        return 2 * weights * positions[-1] * positions[-2]


@dataclass(frozen=True)
class PassCosts:
    """Costs of a forward pass, of the weight gradient, and of the input gradient.

    Either in seconds for a batch, or in FLOPs for an image.
    """

    forward: float
    weights: float
    inputs: float


def layers_of(config: Config) -> tuple[list[Layer], list[Layer]]:
    """Return the convolutions of G and of D, from input to output."""
    generator, discriminator = build_networks(config)
    size, channels = config.data.size, config.data.channels
    latents = torch.zeros(2, config.generator.latent_size)
    images = torch.zeros(2, channels, size, size)
    return trace_layers("G", generator, latents), trace_layers("D", discriminator, images)


@torch.no_grad()
def trace_layers(prefix: str, network: nn.Module, inputs: Tensor) -> list[Layer]:
    """Run a network and return its convolutions in the order of their execution."""
    layers: list[Layer] = []

    def record(module: nn.Module, arguments: tuple[Tensor], output: Tensor) -> None:
        assert isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
        shapes = arguments[0].shape[1:], output.shape[1:]
        layers.append(Layer(f"{prefix}{len(layers) + 1}", module, *shapes))

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.register_forward_hook(record)
    network(inputs)
    return layers


def time_layer(
    layer: Layer,
    batch: int,
    dtype: torch.dtype,
    seconds: float,
    device: BenchmarkDevice = _CPU,
    ways: Ways = "all",
) -> PassCosts:
    """Return the seconds of each pass, in the fastest of these ways.

    ways: torch's in either memory format, those that our training takes, or all of them.
    """
    times = []
    if ways != "ours":
        times += [
            _time_passes(layer, batch, dtype, layout, seconds, device) for layout in _MEMORY_FORMATS
        ]
    if ways != "torch":
        times.append(_time_our_passes(layer, batch, dtype, seconds, device))
    return PassCosts(
        min(t.forward for t in times),
        min(t.weights for t in times),
        min(t.inputs for t in times),
    )


def _time_passes(
    layer: Layer,
    batch: int,
    dtype: torch.dtype,
    layout: torch.memory_format,
    seconds: float,
    device: BenchmarkDevice,
) -> PassCosts:
    x, weight, gradient = _random_tensors(layer, batch, dtype, layout, device)
    module = layer.module
    transposed = isinstance(module, nn.ConvTranspose2d)
    stride, padding = _stride_and_padding(module)
    geometry = (stride, padding, module.dilation, transposed, module.output_padding, 1)
    aten = torch.ops.aten

    def backward(*, inputs: bool, weights: bool) -> Callable[[], object]:
        mask = [inputs, weights, False]
        return lambda: aten.convolution_backward(gradient, x, weight, None, *geometry, mask)

    with torch.no_grad():
        return PassCosts(
            _median(lambda: aten.convolution(x, weight, None, *geometry), seconds, device),
            _median(backward(inputs=False, weights=True), seconds, device),
            _median(backward(inputs=True, weights=False), seconds, device),
        )


def _time_our_passes(
    layer: Layer, batch: int, dtype: torch.dtype, seconds: float, device: BenchmarkDevice
) -> PassCosts:
    layout = torch.channels_last
    x, weight, gradient = _random_tensors(layer, batch, dtype, layout, device)
    passes = Passes(*_stride_and_padding(layer.module), x.device.type == "cpu")
    calls: tuple[Callable[[], object], ...]
    if isinstance(layer.module, nn.ConvTranspose2d):
        # The pass to the input of a convolution, whose passes are these in another order.
        calls = (
            lambda: passes.to_input(x, weight, gradient.shape),
            lambda: passes.to_weight(gradient, x, weight),
            lambda: passes.forward(gradient, weight),
        )
    else:
        calls = (
            lambda: passes.forward(x, weight),
            lambda: passes.to_weight(x, gradient, weight),
            lambda: passes.to_input(gradient, weight, x.shape),
        )
    with torch.no_grad():
        return PassCosts(*(_median(call, seconds, device) for call in calls))


def _random_tensors(
    layer: Layer,
    batch: int,
    dtype: torch.dtype,
    layout: torch.memory_format,
    device: BenchmarkDevice,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return input, weight and the gradient of the output."""
    shapes = (batch, *layer.inputs), tuple(layer.module.weight.shape), (batch, *layer.outputs)
    x, weight, gradient = (
        torch.randn(shape).to(device.torch, dtype, memory_format=layout) for shape in shapes
    )
    return x, weight, gradient


def _stride_and_padding(module: Convolution) -> tuple[tuple[int, int], tuple[int, int]]:
    padding: Any = module.padding
    if padding == "same":  # odd kernels, stride 1
        padding = ((module.kernel_size[0] - 1) // 2,) * 2
    stride: Any = module.stride
    return stride, padding


def _median(call: Callable[[], object], seconds: float, device: BenchmarkDevice) -> float:
    return statistics.median(call_times(call, seconds, device))


def call_times(call: Callable[[], object], seconds: float, device: BenchmarkDevice) -> list[float]:
    """Return the times of at least three calls that take about `seconds`, after a warm-up call.

    On a GPU they are means over the calls of a CUDA graph: to start a kernel can take longer than
    the kernel.
    """
    call()
    device.wait()
    calls = 1
    if device.kind == "cuda":
        call, calls = _captured(call), _CALLS_IN_A_GRAPH
    times: list[float] = []
    while calls * sum(times) < seconds or len(times) < 3:
        started = time.perf_counter()
        call()
        device.wait()
        times.append((time.perf_counter() - started) / calls)
    return times


def _captured(call: Callable[[], object]) -> Callable[[], object]:
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(_CALLS_IN_A_GRAPH):
            call()
    return graph.replay


@torch.no_grad()
def peak_matmul_flops(dtype: torch.dtype, seconds: float, device: BenchmarkDevice = _CPU) -> float:
    """Return the FLOP/s of the fastest square matrix product over several sizes and libraries.

    Larger sizes are left out once a product takes longer than `seconds`, as in bf16 on a CPU that
    emulates it.
    """
    best = 0.0
    for side in (512, 1024, 2048) if device.kind == "cpu" else (4096, 8192):
        a, b = (torch.randn(side, side, device=device.torch) for _ in range(2))
        left, right = a.to(dtype), b.to(dtype)
        # torch uses different libraries for matrix products and for convolutions. A 1x1 convolution
        # computes the same product with the latter.
        rows = left.view(side, side, 1, 1).to(memory_format=torch.channels_last)
        columns = right.view(side, side, 1, 1).to(memory_format=torch.channels_last)
        products: list[Callable[[], object]] = [
            partial(torch.mm, left, right),
            partial(nn.functional.conv2d, rows, columns),
        ]
        if dtype is torch.float32 and device.kind == "cpu":
            products.append(partial(np.matmul, a.numpy(), b.numpy()))
        fastest = min(min(call_times(call, seconds, device)) for call in products)
        best = max(best, 2 * side**3 / fastest)
        if fastest > seconds:
            break
    return best
