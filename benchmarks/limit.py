"""How fast a training could be if it were its convolutions alone, on this machine.

    python -m benchmarks.limit --objective dcgan --width 64 --batch 128 --precision bf16

Every convolution of both networks is timed alone, each pass in the faster of the two memory
layouts, and square matrix products for the machine's peak. The sums over the passes that a step
has to make give the images/s that these kernels would allow: normalisation, activations, casts,
optimizer and data are free here. Where real and fake images go through D as one batch of twice
the size, its kernels may be a little faster than counted. One process with all usable cores, or
--threads of them. bf16: everything in bf16, without the copies of fp32 weights that autocast makes.

A DCGAN step: D forward and backward on real and on fake, G forward for D's step, G forward, D
forward, D's gradient to its input, G backward. Nobody needs the gradient to real images or to
latents, nor D's weights' gradient in G's step (PyTorch's example computes the latter). Where the
loss of G is taken at the D that made the other gradient, one pass serves both.

The penalty of WGAN-GP, for each critic step, besides forward and backward on real and on fake: the
critic forward on the mixed images; its gradient to the input (F and dX of all layers); the
gradient of that gradient, through which each layer's dX has a forward pass (not the last layer's,
whose gradient is constant) and a dW. Where there is normalisation its slope depends on what it
normalised, so that a backward pass through the forward layers is added, dW and dX of all but the
last, no dX for the first; leaky ReLU alone has none. It is timed in fp32, as ours is in every
precision, unless --penalty says bf16.
"""

import argparse
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.layers import Layer, Passes, layers_of, product_peak, time_layer
from gantrain.config import Config, load_config

_CONFIGS = Path(__file__).parent.parent / "configs"
_FILES = {"dcgan": "dcgan.yaml", "wgan-gp": "wgan_gp.yaml"}
_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Sums:
    """What a network's passes take, in seconds of a batch or in FLOPs of an image."""

    forward: float
    weights: float
    inputs: float
    inner_inputs: float  # without the first layer
    first: Passes
    last: Passes

    @property
    def backward(self) -> float:
        """The gradients to all weights."""
        return self.weights + self.inner_inputs


def sums_of(passes: Sequence[Passes]) -> Sums:
    inputs = sum(p.inputs for p in passes)
    return Sums(
        sum(p.forward for p in passes),
        sum(p.weights for p in passes),
        inputs,
        inputs - passes[0].inputs,
        passes[0],
        passes[-1],
    )


def flops_of(layers: Sequence[Layer]) -> Sums:
    return sums_of([Passes(*[layer.flops] * 3) for layer in layers])


def dcgan_ways(g: Sums, d: Sums) -> Iterator[tuple[str, float]]:
    """What an iteration takes, by the way it is made."""
    d_step = g.forward + 2 * (d.forward + d.backward)
    g_step = g.forward + d.forward + d.inputs + g.backward
    yield "both steps apart", d_step + g_step
    yield "one G forward for both steps", d_step + g_step - g.forward
    shared = g.forward + d.forward
    yield "one G forward, one D forward on fakes", d_step + g_step - shared
    yield "as in PyTorch's example", d_step + g_step - g.forward + d.weights


def wgan_ways(
    g: Sums, d: Sums, exact: Sums, n_critic: int, norm: bool
) -> Iterator[tuple[str, float]]:
    """The same; exact: the critic in the penalty's precision."""
    critic = g.forward + 2 * (d.forward + d.backward) + penalty(exact, norm)
    g_step = g.forward + d.forward + d.inputs + g.backward
    yield "all steps apart", n_critic * critic + g_step
    yield "one G forward for last critic's and G's step", n_critic * critic + g_step - g.forward
    shared = g.forward + d.forward
    yield "the same, and one critic forward on fakes", n_critic * critic + g_step - shared


def penalty(d: Sums, norm: bool) -> float:
    first_order = d.forward + d.inputs
    second_order = d.forward - d.last.forward + d.weights
    if not norm:
        return first_order + second_order
    return first_order + second_order + d.backward - d.last.weights - d.last.inputs


def main() -> None:
    """Measure and print the tables of all cells that were asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--objective", choices=_FILES, nargs="+", default=[*_FILES])
    parser.add_argument("--width", type=int, nargs="+", default=[16, 32, 64])
    parser.add_argument("--batch", type=int, nargs="+", default=[32, 128, 512])
    parser.add_argument("--precision", choices=_TYPES, nargs="+", default=[*_TYPES])
    parser.add_argument("--penalty", choices=_TYPES, default="fp32")
    parser.add_argument("--size", type=int, choices=(32, 64), default=64)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each pass of a layer")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    peaks = {name: product_peak(_TYPES[name], options.seconds) for name in options.precision}
    for name, peak in peaks.items():
        print(
            f"{name}: fastest square matrix product {peak / 1e9:,.0f} GFLOP/s, "
            f"{options.threads} threads"
        )
    for objective in options.objective:
        for width in options.width:
            overrides = [
                f"generator.width={width}",
                f"discriminator.width={width}",
                f"data.size={options.size}",
            ]
            config = load_config(_CONFIGS / _FILES[objective], overrides)
            for batch in options.batch:
                for precision in options.precision:
                    print(f"\n{objective}, width {width}, batch {batch}, {precision}")
                    report(config, batch, precision, options, peaks[precision])


def report(
    config: Config, batch: int, precision: str, options: argparse.Namespace, peak: float
) -> None:
    """One cell's tables."""
    g_layers, d_layers = layers_of(config)

    def timed(layers: Sequence[Layer], kind: str) -> list[Passes]:
        return [time_layer(layer, batch, _TYPES[kind], options.seconds) for layer in layers]

    g, d = timed(g_layers, precision), timed(d_layers, precision)
    print("\n".join(layer_lines([*g_layers, *d_layers], [*g, *d], batch)))
    objective = config.objective
    ways: Callable[[Sums, Sums, Sums], Iterator[tuple[str, float]]]
    exact = d
    if objective.kind == "wgan-gp":
        if options.penalty != precision:
            exact = timed(d_layers, options.penalty)
        norm = config.discriminator.norm != "none"

        def ways(g: Sums, d: Sums, exact: Sums) -> Iterator[tuple[str, float]]:
            return wgan_ways(g, d, exact, objective.n_critic, norm)
    else:

        def ways(g: Sums, d: Sums, exact: Sums) -> Iterator[tuple[str, float]]:
            return dcgan_ways(g, d)

    flops = ways(flops_of(g_layers), flops_of(d_layers), flops_of(d_layers))
    seconds = ways(sums_of(g), sums_of(d), sums_of(exact))
    images = batch * objective.n_critic
    print(f"  {'way':46} {'images/s':>9} {'MFLOP/image':>12} {'GFLOP/s':>8} {'of peak':>8}")
    for (way, of_image), (_, taken) in zip(flops, seconds, strict=True):
        speed = of_image * batch / taken
        print(
            f"  {way:46} {images / taken:>9,.0f} {of_image / objective.n_critic / 1e6:>12,.0f} "
            f"{speed / 1e9:>8,.0f} {speed / peak:>8.0%}"
        )


def layer_lines(layers: Sequence[Layer], passes: Sequence[Passes], batch: int) -> Iterator[str]:
    """A line for each layer."""
    yield (
        f"  {'layer':6} {'in':>14} {'out':>14} {'MFLOP/image':>12} "
        f"{'ms fwd':>9} {'dW':>9} {'dX':>9} {'GFLOP/s fwd':>12} {'dW':>7} {'dX':>7}"
    )
    for layer, found in zip(layers, passes, strict=True):
        times = (found.forward, found.weights, found.inputs)
        speeds = [layer.flops * batch / t / 1e9 for t in times]
        shapes = ["x".join(str(n) for n in shape) for shape in (layer.inputs, layer.outputs)]
        yield (
            f"  {layer.name:6} {shapes[0]:>14} {shapes[1]:>14} {layer.flops / 1e6:>12.2f} "
            + " ".join(f"{t * 1000:>9.2f}" for t in times)
            + f" {speeds[0]:>12,.0f} {speeds[1]:>7,.0f} {speeds[2]:>7,.0f}"
        )


if __name__ == "__main__":
    main()
