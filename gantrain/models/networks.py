"""The generator and the discriminator (critic) of DCGAN, for square images of 32 to 256 pixels.

Radford et al. 2016, "Unsupervised representation learning with DCGANs", and the GAN chapter of
*Generative Deep Learning*: strided convolutions halve the image down to 4x4, and a last convolution
reduces that to 1x1; the generator is the reverse. There are no dense layers.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from gantrain.common.rng import Stream, derive_seed
from gantrain.config import Config, DiscriminatorConfig, GeneratorConfig, NetworkConfig
from gantrain.models.dropout import Dropout

_SMALLEST = 4  # resolution between the strided layers and the 1x1 end
_WIDEST = 8  # layers widen up to 8 times `width`, as in the paper at 64 pixels
_INIT_STD = 0.02


class Generator(nn.Module):
    """Map latents (N, latent_size) to images (N, channels, size, size) in [-1, 1]."""

    def __init__(self, config: GeneratorConfig, size: int, channels: int) -> None:
        super().__init__()
        widths = layer_widths(config.width, size)[::-1]
        slopes = _slopes(config, len(widths))
        layers: list[nn.Module] = [
            nn.ConvTranspose2d(config.latent_size, widths[0], _SMALLEST, bias=config.bias),
            *_norm_and_activation(config, widths[0], slopes[0]),
        ]
        for before, after, slope in zip(widths, widths[1:], slopes[1:], strict=False):
            layers += _upsample(config, before, after, config.bias)
            layers += _norm_and_activation(config, after, slope)
        layers += _upsample(config, widths[-1], channels, config.output_bias)
        layers += [nn.Tanh()]
        self.latent_size = config.latent_size
        self.layers = nn.Sequential(*layers)
        _initialise(self, config)

    def forward(self, latents: Tensor) -> Tensor:
        images: Tensor = self.layers(latents[:, :, None, None])
        return images


class Discriminator(nn.Module):
    """Map images (N, channels, size, size) in [-1, 1] to one logit or score each, shape (N,)."""

    def __init__(self, config: DiscriminatorConfig, size: int, channels: int) -> None:
        super().__init__()
        widths = layer_widths(config.width, size)
        slopes = _slopes(config, len(widths))
        layers: list[nn.Module] = []
        for i, (before, after) in enumerate(zip([channels, *widths], widths, strict=False)):
            padding = (config.kernel - 1) // 2
            layers += [nn.Conv2d(before, after, config.kernel, 2, padding, bias=config.bias)]
            layers += _norm_and_activation(config, after, slopes[i], normalise=i > 0)
            if config.dropout and (i > 0 or config.dropout_first):
                layers += [Dropout(config.dropout)]
        layers += [nn.Conv2d(widths[-1], 1, _SMALLEST, bias=config.bias)]
        self.layers = nn.Sequential(*layers)
        _initialise(self, config)
        if config.spectral_norm:
            for layer in self.layers:
                if isinstance(layer, nn.Conv2d):
                    spectral_norm(layer)

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.layers(images)
        return scores.flatten()


def build_networks(config: Config) -> tuple[Generator, Discriminator]:
    """Build both networks on the CPU in float32, with weights that depend on the seed only."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(config.seed, Stream.WEIGHTS))
        generator = Generator(config.generator, config.data.size, config.data.channels)
        discriminator = Discriminator(config.discriminator, config.data.size, config.data.channels)
    return generator, discriminator


def layer_widths(width: int, size: int) -> list[int]:
    """Return the channels after each strided layer of D, from full resolution to 4x4."""
    strided = int(math.log2(size // _SMALLEST))
    return [width * min(2**i, _WIDEST) for i in range(strided)]


def _slopes(config: NetworkConfig, layers: int) -> tuple[float, ...]:
    return config.slope if isinstance(config.slope, tuple) else (config.slope,) * layers


def _upsample(config: GeneratorConfig, before: int, after: int, bias: bool) -> list[nn.Module]:
    kernel = config.kernel
    if config.upsampling == "nearest":
        return [nn.Upsample(scale_factor=2), nn.Conv2d(before, after, kernel, 1, "same", bias=bias)]
    padding = (kernel - 1) // 2
    # An odd kernel yields one pixel less than the doubled size; output padding adds it.
    missing = 2 + 2 * padding - kernel
    return [nn.ConvTranspose2d(before, after, kernel, 2, padding, missing, bias=bias)]


def _norm_and_activation(
    config: NetworkConfig, width: int, slope: float, *, normalise: bool = True
) -> list[nn.Module]:
    activation = nn.LeakyReLU(slope, inplace=True)
    if config.norm == "none" or not normalise:
        return [activation]
    return [_norm(config, width), activation]


def _norm(config: NetworkConfig, width: int) -> nn.Module:
    if config.norm == "batch":
        return nn.BatchNorm2d(width, eps=config.norm_epsilon, momentum=config.norm_momentum)
    if config.norm == "instance":
        return nn.InstanceNorm2d(width, eps=config.norm_epsilon, affine=True)
    # With one group this is layer normalisation over channels and pixels, with a gain per channel.
    return nn.GroupNorm(1, width, eps=config.norm_epsilon)


def _initialise(network: nn.Module, config: NetworkConfig) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            if config.init == "normal":
                nn.init.normal_(module.weight, 0.0, _INIT_STD)
            else:
                nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
