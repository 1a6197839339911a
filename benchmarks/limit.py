"""Compute how fast training could be on this machine if only the convolutions took time.

    python -m benchmarks.limit --objective dcgan --width 64 --batch 128 --precision bf16

Times every convolution of both networks in isolation, each pass in the fastest of torch's two
memory formats and the way that our training takes, and square matrix products for the peak of the
machine. The sum over the passes that a step needs is an upper bound on images/s: normalisation,
activations, casts, optimizer and data are assumed to be free. Where real and fake images go through
D as one batch of twice the size, its kernels may be slightly faster than assumed. Runs in one
process on all usable cores, or on --threads of them. bf16 means that everything is in bf16; the
casts of fp32 weights that autocast makes are not counted.

A DCGAN step consists of D forward and backward on real and on fake images, G forward for the D
step, G forward, D forward, D's input gradient, and G backward. The gradients of real images and of
latents are not needed, nor are the gradients of D's weights in the G step (PyTorch's example
computes the latter). If G's loss is taken at the same D whose gradient is computed, one pass serves
both.

The gradient penalty of WGAN-GP adds the following to each critic step: the critic forward on the
mixed images; its input gradient (forward and dX of all layers); the gradient of that gradient,
which needs a forward pass (except of the last layer, whose gradient is constant) and dW for the dX
of each layer. Normalisation has a slope that depends on its input, which adds a backward pass
through the forward layers: dW and dX of all but the last layer, without dX of the first. Leaky ReLU
alone needs none. --penalty is the precision in which the penalty is timed; training computes it in
the precision of everything else.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import get_args

import torch

from benchmarks.device import BenchmarkDevice
from benchmarks.errors import run
from benchmarks.layers import Layer, PassCosts, Ways, layers_of, peak_matmul_flops, time_layer
from benchmarks.settings import BOOK_OBJECTIVES, CONFIG_FILES
from gantrain.common.pools import affinity
from gantrain.config import Config, load_config

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
Variants = Iterator[tuple[str, float]]


@dataclass(frozen=True)
class NetworkCosts:
    """Costs of a network's passes, in seconds for a batch or in FLOPs for an image."""

    forward: float
    weights: float
    inputs: float
    inner_inputs: float  # input gradients of all layers but the first
    first: PassCosts
    last: PassCosts

    @property
    def backward(self) -> float:
        """The gradients of all weights."""
        return self.weights + self.inner_inputs


def total_costs(layers: Sequence[PassCosts]) -> NetworkCosts:
    """Sum the costs of a network's layers."""
    inputs = sum(layer.inputs for layer in layers)
    return NetworkCosts(
        sum(layer.forward for layer in layers),
        sum(layer.weights for layer in layers),
        inputs,
        inputs - layers[0].inputs,
        layers[0],
        layers[-1],
    )


def total_flops(layers: Sequence[Layer]) -> NetworkCosts:
    """Return a network's FLOPs for one image."""
    return total_costs([PassCosts(*[layer.flops] * 3) for layer in layers])


def dcgan_variants(g: NetworkCosts, d: NetworkCosts) -> Variants:
    """Yield the ways to compute an iteration, each with its cost."""
    d_step = g.forward + 2 * (d.forward + d.backward)
    g_step = g.forward + d.forward + d.inputs + g.backward
    yield "separate D and G steps", d_step + g_step
    yield "one G forward for both steps", d_step + g_step - g.forward
    shared = g.forward + d.forward
    yield "one G forward, one D forward on fakes", d_step + g_step - shared
    yield "as in PyTorch's example", d_step + g_step - g.forward + d.weights


def wgan_variants(
    g: NetworkCosts, d: NetworkCosts, d_for_penalty: NetworkCosts, n_critic: int, norm: bool
) -> Variants:
    """Like `dcgan_variants`. d_for_penalty: the critic in the precision of the penalty."""
    critic = g.forward + 2 * (d.forward + d.backward) + penalty_cost(d_for_penalty, norm)
    g_step = g.forward + d.forward + d.inputs + g.backward
    yield "all steps separate", n_critic * critic + g_step
    yield "one G forward for last critic's and G's step", n_critic * critic + g_step - g.forward
    shared = g.forward + d.forward
    yield "the same, and one critic forward on fakes", n_critic * critic + g_step - shared


def variants(
    config: Config, g: NetworkCosts, d: NetworkCosts, d_for_penalty: NetworkCosts
) -> Variants:
    """Return the variants for the objective of a config."""
    if config.objective.kind == "wgan-gp":
        norm = config.discriminator.norm != "none"
        return wgan_variants(g, d, d_for_penalty, config.objective.n_critic, norm)
    return dcgan_variants(g, d)


def penalty_cost(d: NetworkCosts, norm: bool) -> float:
    """Return the least cost of the gradient penalty. norm: whether the critic is normalised."""
    first_order = d.forward + d.inputs
    second_order = d.forward - d.last.forward + d.weights
    if not norm:
        return first_order + second_order
    return first_order + second_order + d.backward - d.last.weights - d.last.inputs


def main() -> None:
    """Measure and print the tables of all requested cells."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    # The others have residual networks, or penalties that are not counted here.
    parser.add_argument(
        "--objective", choices=BOOK_OBJECTIVES, nargs="+", default=[*BOOK_OBJECTIVES]
    )
    parser.add_argument("--width", type=int, nargs="+", default=[16, 32, 64])
    parser.add_argument("--batch", type=int, nargs="+", default=[32, 128, 512])
    parser.add_argument("--precision", choices=_DTYPES, nargs="+", default=[*_DTYPES])
    parser.add_argument("--penalty", choices=_DTYPES, default="fp32", help="its precision")
    parser.add_argument(
        "--ways",
        choices=get_args(Ways),
        default="all",
        help="of which the fastest counts: those of torch in both memory formats, or ours",
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--size", type=int, choices=(32, 64), default=64, help="image size")
    parser.add_argument("--seconds", type=float, default=0.5, help="time for each pass of a layer")
    parser.add_argument("--threads", type=int, default=len(affinity()))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = BenchmarkDevice(options.device)
    peaks = {
        name: peak_matmul_flops(_DTYPES[name], options.seconds, device)
        for name in options.precision
    }
    for name, peak in peaks.items():
        print(
            f"{name}: fastest square matrix product {peak / 1e9:,.0f} GFLOP/s, "
            + (f"{options.threads} threads" if options.device == "cpu" else options.device)
        )
    for objective in options.objective:
        for width in options.width:
            overrides = [
                f"generator.width={width}",
                f"discriminator.width={width}",
                f"data.size={options.size}",
            ]
            config = load_config(CONFIG_FILES[objective], overrides)
            for batch in options.batch:
                for precision in options.precision:
                    print(f"\n{objective}, width {width}, batch {batch}, {precision}")
                    report(config, batch, precision, options, peaks[precision])


def report(
    config: Config, batch: int, precision: str, options: argparse.Namespace, peak: float
) -> None:
    """Measure one cell and print its tables. peak: FLOP/s of the machine."""
    g_layers, d_layers = layers_of(config)
    device = BenchmarkDevice(options.device)

    def time_layers(layers: Sequence[Layer], name: str) -> list[PassCosts]:
        return [
            time_layer(layer, batch, _DTYPES[name], options.seconds, device, options.ways)
            for layer in layers
        ]

    g, d = time_layers(g_layers, precision), time_layers(d_layers, precision)
    print("\n".join(layer_lines([*g_layers, *d_layers], [*g, *d], batch)))
    objective = config.objective
    d_for_penalty = d
    if objective.kind == "wgan-gp" and options.penalty != precision:
        d_for_penalty = time_layers(d_layers, options.penalty)
    g_flops, d_flops = total_flops(g_layers), total_flops(d_layers)
    flops = variants(config, g_flops, d_flops, d_flops)
    seconds = variants(config, total_costs(g), total_costs(d), total_costs(d_for_penalty))
    images = batch * objective.n_critic
    print(f"  {'variant':46} {'images/s':>9} {'MFLOP/image':>12} {'GFLOP/s':>8} {'of peak':>8}")
    for (name, flops_per_image), (_, time) in zip(flops, seconds, strict=True):
        speed = flops_per_image * batch / time
        print(
            f"  {name:46} {images / time:>9,.0f} "
            f"{flops_per_image / objective.n_critic / 1e6:>12,.0f} "
            f"{speed / 1e9:>8,.0f} {speed / peak:>8.0%}"
        )


def layer_lines(layers: Sequence[Layer], times: Sequence[PassCosts], batch: int) -> Iterator[str]:
    """Yield a line for each layer."""
    yield (
        f"  {'layer':6} {'in':>14} {'out':>14} {'MFLOP/image':>12} "
        f"{'ms fwd':>9} {'dW':>9} {'dX':>9} {'GFLOP/s fwd':>12} {'dW':>7} {'dX':>7}"
    )
    for layer, passes in zip(layers, times, strict=True):
        seconds = (passes.forward, passes.weights, passes.inputs)
        speeds = [layer.flops * batch / t / 1e9 for t in seconds]
        shapes = ["x".join(str(n) for n in shape) for shape in (layer.inputs, layer.outputs)]
        yield (
            f"  {layer.name:6} {shapes[0]:>14} {shapes[1]:>14} {layer.flops / 1e6:>12.2f} "
            + " ".join(f"{t * 1000:>9.2f}" for t in seconds)
            + f" {speeds[0]:>12,.0f} {speeds[1]:>7,.0f} {speeds[2]:>7,.0f}"
        )


if __name__ == "__main__":
    run("limit", main)
