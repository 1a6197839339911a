"""The networks of DCGAN, for square images of 32, 64, 128 or 256 pixels.

Radford et al. 2016, "Unsupervised representation learning with DCGANs", and the GAN chapter of
*Generative Deep Learning*: strided convolutions halve the image down to 4x4, and a last convolution
reduces that to 1x1; the generator is the reverse. There are no dense layers.
"""

import math

from torch import nn

from gantrain.config.backbones import (
    DcganDiscriminatorConfig,
    DcganGeneratorConfig,
    DcganNetworkConfig,
)
from gantrain.models.conditioning import Conditioning, Layers, ProjectionHead
from gantrain.models.convolutions import Conv2d, ConvTranspose2d
from gantrain.models.dropout import Dropout
from gantrain.models.layers import initialise_normal, norm_and_activation, normalise_spectrally
from gantrain.models.resampling import DoublingConv2d

_SMALLEST = 4  # resolution between the strided layers and the 1x1 end


def generator_layers(
    config: DcganGeneratorConfig, size: int, channels: int, conditioning: Conditioning
) -> Layers:
    """Return layers from latents (N, latent_size, 1, 1) to images (N, channels, size, size).

    One-hot vectors that go beside the latents are further inputs.
    """
    widths = layer_widths(config, size)[::-1]
    slopes = _slopes(config, len(widths))
    inputs = config.latent_size + conditioning.latent_inputs(config.norm)
    classes = conditioning.projected
    layers: list[nn.Module] = [
        ConvTranspose2d(inputs, widths[0], _SMALLEST, bias=config.bias),
        *norm_and_activation(config, config.norm, widths[0], slopes[0], classes=classes),
    ]
    for before, after, slope in zip(widths, widths[1:], slopes[1:], strict=False):
        layers += _upsample(config, before, after, config.bias)
        layers += norm_and_activation(config, config.norm, after, slope, classes=classes)
    layers += _upsample(config, widths[-1], channels, config.output_bias)
    layers += [nn.Tanh()]
    return _initialised(Layers(*layers), config)


def discriminator_layers(
    config: DcganDiscriminatorConfig, size: int, channels: int, conditioning: Conditioning
) -> Layers:
    """Return layers from images (N, channels, size, size) to scores (N, 1, 1, 1) or (N, 1).

    Planes of classes are further channels.
    """
    channels += conditioning.planes
    widths = layer_widths(config, size)
    slopes = _slopes(config, len(widths))
    layers: list[nn.Module] = []
    for i, (before, after) in enumerate(zip([channels, *widths], widths, strict=False)):
        padding = (config.kernel - 1) // 2
        layers += [Conv2d(before, after, config.kernel, 2, padding, bias=config.bias)]
        layers += norm_and_activation(config, config.norm if i > 0 else "none", after, slopes[i])
        if config.dropout and (i > 0 or config.dropout_first):
            layers += [Dropout(config.dropout)]
    last: nn.Module = Conv2d(widths[-1], 1, _SMALLEST, bias=config.bias)
    if conditioning.projected:
        pixels = None if conditioning.pool_features else _SMALLEST**2
        last = ProjectionHead(last, widths[-1], conditioning.projected, pixels)
    network = _initialised(Layers(*layers, last), config)
    if config.spectral_norm:
        normalise_spectrally(network)
    return network


def layer_widths(config: DcganNetworkConfig, size: int) -> list[int]:
    """Return the channels after each strided layer of D, from full resolution to 4x4."""
    strided = int(math.log2(size // _SMALLEST))
    return [config.width * min(2**i, config.widest) for i in range(strided)]


def _slopes(config: DcganNetworkConfig, layers: int) -> tuple[float, ...]:
    return config.slope if isinstance(config.slope, tuple) else (config.slope,) * layers


def _upsample(config: DcganGeneratorConfig, before: int, after: int, bias: bool) -> list[nn.Module]:
    kernel = config.kernel
    if config.upsampling == "nearest":
        # In checkpoints, weights have the numbers of their layers.
        return [nn.Identity(), DoublingConv2d(before, after, kernel, bias=bias)]
    padding = (kernel - 1) // 2
    # An odd kernel yields one pixel less than the doubled size; output padding adds it.
    missing = 2 + 2 * padding - kernel
    return [ConvTranspose2d(before, after, kernel, 2, padding, missing, bias=bias)]


def _initialised(network: Layers, config: DcganNetworkConfig) -> Layers:
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            if config.init == "normal":
                initialise_normal(module.weight)
            else:
                nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network
