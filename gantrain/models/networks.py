"""The generator and the discriminator (critic), each with the backbone that its config names."""

from collections.abc import Mapping

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
from gantrain.models.conditioning import (
    NO_CLASSES,
    UNCONDITIONAL,
    Conditioning,
    Layers,
    ProjectionHead,
    class_weights,
    make_conditioning,
    with_planes,
)
from gantrain.models.convolutions import Conv2d
from gantrain.models.layer_norm import LayerNorm
from gantrain.models.resampling import HalvingConv2d


class Generator(nn.Module):
    """Map latents (N, latent_size), and classes, to images (N, channels, size, size) in [-1, 1]."""

    conditioning = UNCONDITIONAL

    def __init__(
        self,
        config: GeneratorConfig,
        size: int,
        channels: int,
        conditioning: Conditioning = UNCONDITIONAL,
    ) -> None:
        super().__init__()
        self.latent_size = config.latent_size
        self.conditioning = conditioning
        self._joins_classes = conditioning.latent_inputs(config.norm) > 0
        match config:
            case DcganGeneratorConfig():
                self.layers = dcgan.generator_layers(config, size, channels, conditioning)
            case ResnetGeneratorConfig():
                self.layers = resnet.generator_layers(config, size, channels, conditioning)

    def forward(self, latents: Tensor, classes: Tensor | None = None) -> Tensor:
        """Return images. classes: with conditioning, in either form (see `models.conditioning`)."""
        if classes is not None:
            classes = class_weights(classes.to(latents.device), len(self.conditioning.class_counts))
            if self._joins_classes:
                latents = torch.cat([latents, classes.to(latents.dtype)], 1)
        images: Tensor = self.layers(latents[:, :, None, None], classes)
        return images


class Discriminator(nn.Module):
    """Map images (N, channels, size, size) in [-1, 1] to one logit or score each, shape (N,)."""

    conditioning = UNCONDITIONAL

    def __init__(
        self,
        config: DiscriminatorConfig,
        size: int,
        channels: int,
        conditioning: Conditioning = UNCONDITIONAL,
    ) -> None:
        super().__init__()
        self.conditioning = conditioning
        match config:
            case DcganDiscriminatorConfig():
                self.layers = dcgan.discriminator_layers(config, size, channels, conditioning)
            case ResnetDiscriminatorConfig():
                self.layers = resnet.discriminator_layers(config, size, channels, conditioning)

    def forward(self, images: Tensor, classes: Tensor | None = None) -> Tensor:
        """Return scores. classes: with conditioning, in either form (see `models.conditioning`)."""
        if classes is not None:
            classes = class_weights(classes.to(images.device), len(self.conditioning.class_counts))
            if self.conditioning.planes:
                images = with_planes(images, classes)
        scores: Tensor = self.layers(images, classes)
        return scores.flatten()


# Layers whose result for an image depends neither on another image nor on chance.
_OF_ONE_IMAGE = {
    Discriminator,
    Layers,
    ProjectionHead,
    resnet.ResidualBlock,
    resnet.SumOverPixels,
    Conv2d,
    HalvingConv2d,
    LayerNorm,
    nn.InstanceNorm2d,
    nn.LeakyReLU,
    nn.Identity,
    nn.Linear,
}


def treats_images_alone(discriminator: nn.Module) -> bool:
    """Whether an image's score is the same in any batch, so that batches can be joined."""
    return all(type(layer) in _OF_ONE_IMAGE for layer in discriminator.modules())


def build_networks(
    config: Config, class_counts: Mapping[str, int] = NO_CLASSES
) -> tuple[Generator, Discriminator]:
    """Build both networks on the CPU in float32, with weights that depend on the seed only.

    class_counts: see `Conditioning`; only with conditioning.
    """
    data, conditioning = config.data, make_conditioning(config.conditioning, class_counts)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(config.seed, Stream.WEIGHTS))
        generator = Generator(config.generator, data.size, data.channels, conditioning)
        judge = Discriminator(config.discriminator, data.size, data.channels, conditioning)
    return generator, judge
