"""The generator and the discriminator (critic), each with the backbone that its config names."""

import torch
from torch import Tensor, nn

from gantrain.common.rng import Stream, derive_seed
from gantrain.config import (
    Config,
    DcganDiscriminatorConfig,
    DcganGeneratorConfig,
    DiscriminatorConfig,
    GeneratorConfig,
    ResnetDiscriminatorConfig,
    ResnetGeneratorConfig,
)
from gantrain.models import dcgan, resnet


class Generator(nn.Module):
    """Map latents (N, latent_size) to images (N, channels, size, size) in [-1, 1]."""

    def __init__(self, config: GeneratorConfig, size: int, channels: int) -> None:
        super().__init__()
        self.latent_size = config.latent_size
        match config:
            case DcganGeneratorConfig():
                self.layers = dcgan.generator_layers(config, size, channels)
            case ResnetGeneratorConfig():
                self.layers = resnet.generator_layers(config, size, channels)

    def forward(self, latents: Tensor) -> Tensor:
        images: Tensor = self.layers(latents[:, :, None, None])
        return images


class Discriminator(nn.Module):
    """Map images (N, channels, size, size) in [-1, 1] to one logit or score each, shape (N,)."""

    def __init__(self, config: DiscriminatorConfig, size: int, channels: int) -> None:
        super().__init__()
        match config:
            case DcganDiscriminatorConfig():
                self.layers = dcgan.discriminator_layers(config, size, channels)
            case ResnetDiscriminatorConfig():
                self.layers = resnet.discriminator_layers(config, size, channels)

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
