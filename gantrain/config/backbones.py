"""The configuration of the networks: a section for each backbone of G and of D."""

from typing import Annotated, Literal

from pydantic import Field

from gantrain.common.expectations import one_of
from gantrain.config.schedules import ScheduledBeta, ScheduledRate
from gantrain.config.section import Section
from gantrain.config.values import Beta, Init, Norm, Positive, Slope

DCGAN_SIZES = (32, 64, 128, 256)  # pixels, of the images that the backbone dcgan can have
_SMALL = 32  # pixels, up to which all blocks have one width
_LARGE = 256  # pixels, from which both networks have one block more

Blocks = Annotated[tuple[Annotated[int, Field(ge=1, le=64)], ...], Field(strict=False)]
Dropout = Annotated[float, Field(ge=0, lt=1)]


class NetworkConfig(Section):
    """Settings of both networks with either backbone."""

    width: int = Field(64, ge=1, le=1024, description="channels of the layer at full resolution")
    norm_epsilon: Positive = Field(1e-5, description="added to the variance; Keras has 1e-3")
    norm_momentum: Annotated[float, Field(gt=0, le=1)] = Field(
        0.1, description="weight of the newest batch in the running statistics"
    )
    learning_rate: ScheduledRate = Field(2e-4, description="step size of Adam")
    betas: tuple[Beta, ScheduledBeta] = Field(
        (0.5, 0.999), strict=False, description="β₁ and β₂ of Adam: decay of its two averages"
    )
    adam_epsilon: Positive = Field(1e-8, description="ε in Adam's denominator; Keras has 1e-7")


class DcganNetworkConfig(NetworkConfig):
    """Settings of both networks of DCGAN. Slope 0.2 and N(0, 0.02) are those of the paper."""

    backbone: Literal["dcgan"] = Field(
        "dcgan",
        description="dcgan: one convolution for each halving or doubling of the image (Radford et "
        "al. 2016), for 32, 64, 128 or 256 pixels; resnet: residual blocks (Miyato et al. 2018), "
        "for any multiple of 8",
    )
    widest: int = Field(
        8,
        ge=1,
        le=64,
        description="channels double with each halving of the image, up to this multiple of width",
    )
    kernel: int = Field(
        4, ge=2, le=9, description="kernel size, except for the 4x4 layer to or from 1x1"
    )
    norm: Norm = Field("batch", description="normalisation after each inner convolution")
    slope: Slope | Annotated[tuple[Slope, ...], Field(strict=False)] = Field(
        0.2, description="negative slope of LeakyReLU; 0 is ReLU; a list sets one slope per layer"
    )
    bias: bool = Field(False, description="biases in the convolutions")
    init: Init = Field("normal", description="normal: N(0, 0.02); glorot: Keras's default")


class DcganGeneratorConfig(DcganNetworkConfig):
    """The generator of DCGAN: latent vector to image."""

    latent_size: int = Field(100, ge=1, le=4096, description="length of the latent vector")
    upsampling: Literal["transposed", "nearest"] = Field(
        "transposed", description="transposed convolution, or nearest + stride-1 convolution"
    )
    output_bias: bool = Field(False, description="bias in the last convolution")


class DcganDiscriminatorConfig(DcganNetworkConfig):
    """The discriminator (critic) of DCGAN: image to logit (DCGAN) or score (the others)."""

    dropout: Dropout = Field(0.0, description="probability of dropout after each activation")
    dropout_first: bool = Field(True, description="dropout after the first layer as well")
    spectral_norm: bool = Field(False, description="spectral normalisation of every convolution")


class ResnetNetworkConfig(NetworkConfig):
    """Settings of both residual networks. The defaults are those of SNGAN (Miyato et al. 2018)."""

    backbone: Literal["resnet"]
    width: int = Field(64, ge=1, le=1024, description="unit of `blocks`, in channels")
    slope: Slope = Field(0.0, description="negative slope of LeakyReLU; 0 is ReLU")
    init: Init = Field(
        "glorot",
        description="glorot: uniform, with a gain of √2 in residual branches and 1 elsewhere; "
        "normal: N(0, 0.02)",
    )


class ResnetGeneratorConfig(ResnetNetworkConfig):
    """The residual generator: latent vector to image."""

    latent_size: int = Field(128, ge=1, le=4096, description="length of the latent vector")
    blocks: Blocks = Field(
        (),
        description="channels before the first block and after each block, in multiples of width; "
        "each block doubles the image; empty: as SNGAN for that size",
    )
    norm: Norm = Field("batch", description="normalisation before each activation")


class ResnetDiscriminatorConfig(ResnetNetworkConfig):
    """The residual discriminator (critic): image to logit (DCGAN) or score (the others)."""

    blocks: Blocks = Field(
        (),
        description="channels after each block, in multiples of width; empty: as SNGAN for that "
        "size",
    )
    halving_blocks: int | None = Field(
        None,
        ge=1,
        le=8,
        description="number of blocks, the first ones, that halve the image; empty: as SNGAN for "
        "that size",
    )
    norm: Norm = Field(
        "none",
        description="normalisation before each activation, but for the first block and the last "
        "activation",
    )
    dropout: Dropout = Field(0.0, description="probability of dropout after each activation")
    spectral_norm: bool = Field(
        False, description="spectral normalisation of every convolution and of the dense layer"
    )


GeneratorConfig = Annotated[
    DcganGeneratorConfig | ResnetGeneratorConfig, Field(discriminator="backbone")
]
DiscriminatorConfig = Annotated[
    DcganDiscriminatorConfig | ResnetDiscriminatorConfig, Field(discriminator="backbone")
]


def generator_widths(config: ResnetGeneratorConfig, size: int) -> tuple[int, ...]:
    """Return the channels before the first residual block and after each, in order.

    size: width of the images in pixels.
    """
    blocks = config.blocks
    if not blocks:
        count = _halvings(size, least=4) + 1
        blocks = ((4,) * count if size <= _SMALL else _multiples(count))[::-1]
    return tuple(config.width * multiple for multiple in blocks)


def discriminator_widths(config: ResnetDiscriminatorConfig, size: int) -> tuple[int, ...]:
    """Return the channels after each residual block, in order.

    size: width of the images in pixels.
    """
    blocks = config.blocks
    if not blocks:
        count = 5 if size <= 64 else 6 if size < _LARGE else 7
        blocks = (2,) * 4 if size <= _SMALL else _multiples(count)
    return tuple(config.width * multiple for multiple in blocks)


def halving_blocks(config: ResnetDiscriminatorConfig, size: int) -> int:
    """Return how many of the first blocks of D halve the image of `size` pixels."""
    if config.halving_blocks is not None:
        return config.halving_blocks
    most = 2 if size <= _SMALL else 5 if size < _LARGE else 6
    return min(most, _halvings(size, least=2), len(discriminator_widths(config, size)))


def _multiples(count: int) -> tuple[int, ...]:
    """Return the widths of blocks from full resolution on, as the authors of SNGAN have them."""
    return (1, 2, 4, 8, 8, 16, 16) if count == 7 else (1, 2, 4, 8, 16, 16)[:count]


def _halvings(size: int, *, least: int) -> int:
    """Return how often a size can be halved without a remainder to `least` or more."""
    count = 0
    while size % 2 == 0 and size // 2 >= least:
        size, count = size // 2, count + 1
    return count


def check_size(generator: GeneratorConfig, discriminator: DiscriminatorConfig, size: int) -> None:
    """Raise ValueError unless both networks can have images of size x size pixels.

    Its message begins with the key.
    """
    both = {"generator": generator, "discriminator": discriminator}
    unfit = [
        f"{name}.backbone: resnet"
        for name, network in both.items()
        if network.backbone == "dcgan" and size not in DCGAN_SIZES
    ]
    if unfit:
        raise ValueError(
            f"data.size: {size} found; expected {one_of(DCGAN_SIZES)} with the backbone dcgan; for "
            f"other multiples of 8 set {' and '.join(unfit)}"
        )
    for name, network in both.items():
        if isinstance(network, DcganNetworkConfig):
            _check_slopes(name, network, size)
    if isinstance(generator, ResnetGeneratorConfig):
        _check_doublings(generator, size)
    if isinstance(discriminator, ResnetDiscriminatorConfig):
        _check_halvings(discriminator, size)


def _check_slopes(name: str, network: DcganNetworkConfig, size: int) -> None:
    expected = size.bit_length() - (2 if name == "generator" else 3)
    if isinstance(network.slope, tuple) and len(network.slope) != expected:
        raise ValueError(
            f"{name}.slope: {len(network.slope)} slopes; expected one number, or {expected} for "
            f"{size}x{size} images"
        )


def _check_doublings(network: ResnetGeneratorConfig, size: int) -> None:
    doublings, most = len(generator_widths(network, size)) - 1, _halvings(size, least=1)
    if not 1 <= doublings <= most:
        raise ValueError(
            f"generator.blocks: {len(network.blocks)} numbers found; expected 2 to {most + 1} for "
            f"{size}x{size} images: each but the first is a block that doubles the image, and "
            f"{size} can be halved {most} times without a remainder"
        )


def _check_halvings(network: ResnetDiscriminatorConfig, size: int) -> None:
    halvings, blocks = halving_blocks(network, size), len(discriminator_widths(network, size))
    most = min(blocks, _halvings(size, least=1))
    if halvings > most:
        raise ValueError(
            f"discriminator.halving_blocks: {halvings} found; expected 1 to {most} for {blocks} "
            f"blocks and {size}x{size} images"
        )
