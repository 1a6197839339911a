"""Residual networks, for square images of any multiple of 8 from 16 to 256 pixels.

Those of SNGAN: Miyato et al. 2018, "Spectral Normalization for Generative Adversarial Networks",
appendix B.4. Each block adds two 3x3 convolutions to a shortcut. Blocks of G double the image by
repeating pixels; the first blocks of D halve it by averaging.
"""

import itertools
import math
from collections.abc import Iterable

from torch import Tensor, nn

from gantrain.config.backbones import (
    ResnetDiscriminatorConfig,
    ResnetGeneratorConfig,
    ResnetNetworkConfig,
    discriminator_widths,
    generator_widths,
    halving_blocks,
)
from gantrain.models.conditioning import ClassAware, Conditioning, Layers, ProjectionHead
from gantrain.models.convolutions import Conv2d
from gantrain.models.dropout import Dropout
from gantrain.models.layers import initialise_normal, norm_and_activation, normalise_spectrally
from gantrain.models.resampling import DoublingConv2d, HalvingConv2d


class ResidualBlock(ClassAware):
    """Adds the results of two sequences of layers for the same input (N, C, H, W)."""

    def __init__(self, residual: Iterable[nn.Module], shortcut: Iterable[nn.Module]) -> None:
        super().__init__()
        self.residual = Layers(*residual)
        self.shortcut = Layers(*shortcut)

    def forward(self, maps: Tensor, classes: Tensor | None = None) -> Tensor:
        result: Tensor = self.residual(maps, classes) + self.shortcut(maps)
        return result


class SumOverPixels(nn.Module):
    """Returns the sums (N, C) of maps (N, C, H, W)."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.sum((2, 3))


def generator_layers(
    config: ResnetGeneratorConfig, size: int, channels: int, conditioning: Conditioning
) -> Layers:
    """Return layers from latents (N, latent_size, 1, 1) to images (N, channels, size, size).

    One-hot vectors that go beside the latents are further inputs.
    """
    widths = generator_widths(config, size)
    start = size >> (len(widths) - 1)
    inputs = config.latent_size + conditioning.latent_inputs(config.norm)
    classes = conditioning.projected
    layers: list[nn.Module] = [
        nn.Flatten(),
        nn.Linear(inputs, widths[0] * start**2),
        nn.Unflatten(1, (widths[0], start, start)),
    ]
    layers += [_doubling_block(config, *pair, classes) for pair in itertools.pairwise(widths)]
    layers += norm_and_activation(config, config.norm, widths[-1], config.slope, classes=classes)
    layers += [_convolution(widths[-1], channels), nn.Tanh()]
    return _initialised(Layers(*layers), config)


def discriminator_layers(
    config: ResnetDiscriminatorConfig, size: int, channels: int, conditioning: Conditioning
) -> Layers:
    """Return layers from images (N, channels, size, size) to scores (N, 1).

    Planes of classes are further channels.
    """
    channels += conditioning.planes
    widths, halving = discriminator_widths(config, size), halving_blocks(config, size)
    layers: list[nn.Module] = [_first_block(config, channels, widths[0])]
    for i, (before, after) in enumerate(itertools.pairwise(widths), start=1):
        layers.append(_scoring_block(config, before, after, halve=i < halving))
    layers += [nn.LeakyReLU(config.slope, inplace=True), *_dropout(config)]
    last: nn.Module = nn.Linear(widths[-1], 1)
    if conditioning.projected:
        last = ProjectionHead(last, widths[-1], conditioning.projected)
    network = _initialised(Layers(*layers, SumOverPixels(), last), config)
    if config.spectral_norm:
        normalise_spectrally(network)
    return network


def _doubling_block(
    config: ResnetGeneratorConfig, before: int, after: int, classes: int
) -> ResidualBlock:
    norm, slope = config.norm, config.slope
    residual = [
        *norm_and_activation(config, norm, before, slope, classes=classes, in_place=False),
        nn.Identity(),  # in checkpoints, weights have the numbers of their layers
        DoublingConv2d(before, after, 3),
        *norm_and_activation(config, norm, after, slope, classes=classes),
        _convolution(after, after),
    ]
    return ResidualBlock(residual, [DoublingConv2d(before, after, 1)])


def _first_block(config: ResnetDiscriminatorConfig, channels: int, width: int) -> ResidualBlock:
    """Return the block that gets the image, which is not rectified before its convolutions."""
    residual = [
        _convolution(channels, width),
        nn.LeakyReLU(config.slope, inplace=True),
        *_dropout(config),
        HalvingConv2d(width, width, 3),
    ]
    return ResidualBlock(residual, [nn.Identity(), HalvingConv2d(channels, width, 1)])


def _scoring_block(
    config: ResnetDiscriminatorConfig, before: int, after: int, *, halve: bool
) -> ResidualBlock:
    residual = [
        *norm_and_activation(config, config.norm, before, config.slope, in_place=False),
        *_dropout(config),
        _convolution(before, before),
        *norm_and_activation(config, config.norm, before, config.slope),
        *_dropout(config),
        HalvingConv2d(before, after, 3) if halve else _convolution(before, after),
    ]
    shortcut: list[nn.Module] = []
    if halve:
        shortcut = [nn.Identity(), HalvingConv2d(before, after, 1)]
    elif before != after:
        shortcut = [Conv2d(before, after, 1)]
    return ResidualBlock(residual, shortcut)


def _convolution(before: int, after: int) -> nn.Conv2d:
    return Conv2d(before, after, 3, padding=1)


def _dropout(config: ResnetDiscriminatorConfig) -> list[nn.Module]:
    return [Dropout(config.dropout)] if config.dropout else []


def _initialised(network: Layers, config: ResnetNetworkConfig) -> Layers:
    residual = {
        layer
        for block in network
        if isinstance(block, ResidualBlock)
        for layer in block.residual
        if isinstance(layer, nn.Conv2d)
    }
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            if config.init == "normal":
                initialise_normal(layer.weight)
            else:
                nn.init.xavier_uniform_(layer.weight, math.sqrt(2) if layer in residual else 1)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return network
