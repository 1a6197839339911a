"""The residual networks: shapes, parameter counts, initial weights, and the peer's results."""

import itertools
import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from experiments.baselines import mimicry
from experiments.baselines.mimicry import peer_module
from gantrain.common.errors import UserError
from gantrain.config import (
    Config,
    GeneratorConfig,
    ResnetDiscriminatorConfig,
    ResnetGeneratorConfig,
    parse_config,
)
from gantrain.config.backbones import discriminator_widths, generator_widths, halving_blocks
from gantrain.models.dropout import Dropout, add_dropout
from gantrain.models.layer_norm import LayerNorm
from gantrain.models.networks import Discriminator, Generator
from gantrain.models.resnet import ResidualBlock
from tests.conftest import small_tree

SIZES = range(16, 257, 8)
needs_peer = pytest.mark.skipif(not mimicry.is_installed(), reason="torch-mimicry is not installed")


def make(size: int, channels: int = 3, **settings: Any) -> Generator:
    section = {"backbone": "resnet", **settings}
    return Generator(ResnetGeneratorConfig.model_validate(section), size, channels)


def judge(size: int, channels: int = 3, **settings: Any) -> Discriminator:
    section = {"backbone": "resnet", **settings}
    return Discriminator(ResnetDiscriminatorConfig.model_validate(section), size, channels)


def blocks_of(network: Generator | Discriminator) -> list[ResidualBlock]:
    return [layer for layer in network.layers if isinstance(layer, ResidualBlock)]


@pytest.mark.parametrize("size", SIZES)
def test_images_of_every_multiple_of_8_are_generated_and_scored(size: int) -> None:
    channels = 1 if size % 16 else 3
    images = make(size, channels, width=1, latent_size=5)(torch.randn(2, 5))
    assert images.shape == (2, channels, size, size)
    assert images.abs().max() <= 1
    assert judge(size, channels, width=1)(images).shape == (2,)


# The tables of Miyato et al. 2018: the 3x3 convolutions of a block, its 1x1 convolution, and the
# normalisation of G, each with the biases.


def conv(before: int, after: int, kernel: int = 3) -> int:
    return (kernel**2 * before + 1) * after


def up(before: int, after: int) -> int:
    both = conv(before, after) + conv(after, after)
    return 2 * before + both + 2 * after + conv(before, after, 1)


def down(before: int, after: int, hidden: int | None = None) -> int:
    middle = before if hidden is None else hidden
    return conv(before, middle) + conv(middle, after) + conv(before, after, 1)


def flat(width: int) -> int:
    return 2 * conv(width, width)


BY_HAND = {
    32: (
        129 * 4**2 * 256 + 3 * up(256, 256) + 2 * 256 + conv(256, 3),
        down(3, 128, 128) + down(128, 128) + 2 * flat(128) + 129,
    ),
    48: (
        129 * 6**2 * 512 + up(512, 256) + up(256, 128) + up(128, 64) + 2 * 64 + conv(64, 3),
        down(3, 64, 64) + down(64, 128) + down(128, 256) + down(256, 512) + down(512, 1024) + 1025,
    ),
    64: (
        129 * 4**2 * 1024
        + (up(1024, 512) + up(512, 256) + up(256, 128) + up(128, 64))
        + (2 * 64 + conv(64, 3)),
        down(3, 64, 64) + down(64, 128) + down(128, 256) + down(256, 512) + down(512, 1024) + 1025,
    ),
}


def trainable(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(
    ("size", "up", "down", "halving"),
    [
        (16, (4, 4, 4), (2, 2, 2, 2), 2),
        (32, (4, 4, 4, 4), (2, 2, 2, 2), 2),
        (48, (8, 4, 2, 1), (1, 2, 4, 8, 16), 4),
        (64, (16, 8, 4, 2, 1), (1, 2, 4, 8, 16), 5),
        (72, (8, 4, 2, 1), (1, 2, 4, 8, 16, 16), 3),
        (128, (16, 16, 8, 4, 2, 1), (1, 2, 4, 8, 16, 16), 5),
        (256, (16, 16, 8, 8, 4, 2, 1), (1, 2, 4, 8, 8, 16, 16), 6),
    ],
)
def test_the_default_blocks_are_the_documented_ones(
    size: int, up: tuple[int, ...], down: tuple[int, ...], halving: int
) -> None:
    generator = ResnetGeneratorConfig(backbone="resnet", width=1)
    discriminator = ResnetDiscriminatorConfig(backbone="resnet", width=1)
    assert generator_widths(generator, size) == up
    assert discriminator_widths(discriminator, size) == down
    assert halving_blocks(discriminator, size) == halving


@pytest.mark.parametrize("size", BY_HAND)
def test_the_default_blocks_have_the_papers_parameter_counts(size: int) -> None:
    with torch.device("meta"):
        assert (trainable(make(size)), trainable(judge(size))) == BY_HAND[size]


def peers(size: int) -> tuple[Any, Any]:
    module = peer_module(f"nets.sngan.sngan_{size}")
    return getattr(module, f"SNGANGenerator{size}"), getattr(module, f"SNGANDiscriminator{size}")


@needs_peer
@pytest.mark.parametrize("size", [32, 48, 64, 128])
def test_the_default_blocks_have_as_many_parameters_as_the_peers(size: int) -> None:
    generator, discriminator = peers(size)
    with torch.device("meta"):
        assert trainable(make(size)) == trainable(generator())
        assert trainable(judge(size)) == trainable(discriminator())


# The peer's networks with our weights


def layers_with_weights(network: nn.Module) -> Iterator[Any]:
    return (m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear | nn.BatchNorm2d))


def peers_order(network: nn.Module) -> Iterator[Any]:
    child: Any
    for child in network.children():
        if hasattr(child, "c1"):
            b1, b2 = getattr(child, "b1", None), getattr(child, "b2", None)
            parts = [b1, child.c1, b2, child.c2, getattr(child, "c_sc", None)]
            yield from (part for part in parts if part is not None)
        elif list(child.parameters()):
            yield child


def copy_weights(ours: nn.Module, theirs: nn.Module) -> None:
    for mine, other in zip(layers_with_weights(ours), peers_order(theirs), strict=True):
        assert isinstance(mine, type(other))
        other.bias.data.copy_(mine.bias.data)
        if hasattr(mine, "parametrizations"):
            normalise = mine.parametrizations.weight[0]
            other.weight_orig.data.copy_(mine.parametrizations.weight.original.data)
            other.weight_u.copy_(normalise._u)
            other.weight_v.copy_(normalise._v)
        else:
            other.weight.data.copy_(mine.weight.data)


def without_in_place_rectification(network: nn.Module) -> nn.Module:
    for module in network.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    return network


@needs_peer
@pytest.mark.parametrize("size", [32, 48, 64, 128])
def test_the_generator_is_the_peers(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for its bilinear interpolation: SNGAN's own code repeats pixels."""
    torch.manual_seed(0)
    # The peer halves from its widest block on, 16 times as wide as the narrowest at 64 pixels.
    widest = {32: 8, 48: 16, 64: 32, 128: 32}[size]
    ours = make(size, width=2)
    theirs = peers(size)[0](ngf=widest)
    copy_weights(ours, theirs)
    latents = torch.randn(3, 128)
    images = ours(latents)
    nearest = partial(nn.functional.interpolate, mode="nearest")
    monkeypatch.setattr(
        nn.functional, "interpolate", lambda x, scale_factor, **_: nearest(x, None, scale_factor)
    )
    torch.testing.assert_close(images, theirs(latents), rtol=1e-4, atol=1e-5)


@needs_peer
@pytest.mark.parametrize("size", [32, 48, 64, 128])
def test_the_discriminator_is_the_peers(size: int) -> None:
    """But for its shortcuts, which get what its ReLU in place has left of the block's input."""
    torch.manual_seed(0)
    ours = judge(size, width=2, spectral_norm=True).eval()
    theirs = peers(size)[1](ndf=4 if size == 32 else 32).eval()
    copy_weights(ours, theirs)
    images = torch.rand(3, 3, size, size) * 2 - 1
    as_it_is = theirs(images)[:, 0]
    expected = without_in_place_rectification(theirs)(images)[:, 0]
    torch.testing.assert_close(ours(images), expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(ours(images), as_it_is, rtol=1e-2)


def convolve(layer: Any, maps: Tensor) -> Tensor:
    return nn.functional.conv2d(maps, layer.weight, layer.bias, padding=layer.weight.shape[-1] // 2)


@pytest.mark.parametrize("side", [4, 8])
def test_a_block_is_what_the_paper_says(side: int) -> None:
    torch.manual_seed(0)
    doubling, halving = blocks_of(make(16, width=1))[0], blocks_of(judge(16, width=1))[1]
    x = torch.randn(2, 4, side, side)
    norm1, _, _, conv1, norm2, _, conv2 = doubling.residual
    maps = convolve(conv1, torch.kron(norm1(x).relu(), torch.ones(2, 2)))
    shortcut = convolve(doubling.shortcut[0], torch.kron(x, torch.ones(2, 2)))
    expected = convolve(conv2, norm2(maps).relu()) + shortcut
    torch.testing.assert_close(doubling(x), expected, rtol=1e-4, atol=1e-5)
    x = torch.randn(2, 2, side, side)
    _, conv1, _, conv2 = halving.residual

    def mean(maps: Tensor) -> Tensor:
        return maps.view(2, -1, side // 2, 2, side // 2, 2).mean((3, 5))

    maps = convolve(conv2, convolve(conv1, x.relu()).relu())
    expected = mean(maps) + mean(convolve(halving.shortcut[1], x))
    torch.testing.assert_close(halving(x), expected, rtol=1e-4, atol=1e-5)


def test_scores_are_of_sums_over_pixels() -> None:
    network = judge(16, width=1)
    last = list(network.layers)[-1]
    assert isinstance(last, nn.Linear)
    images = torch.rand(2, 3, 16, 16)
    maps = images
    for block in blocks_of(network):
        maps = block(maps)
    expected = torch.einsum("nchw,c->n", maps.relu(), last.weight[0]) + last.bias
    torch.testing.assert_close(network(images), expected, rtol=1e-4, atol=1e-5)


# Initial weights


def weighted(network: nn.Module) -> list[Any]:
    return [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]


def test_initial_weights_are_glorots_with_a_gain_in_the_residual_branches() -> None:
    torch.manual_seed(0)
    for network in (make(32, width=16), judge(32, width=16)):
        within = {id(m) for block in blocks_of(network) for m in block.residual}
        for layer in weighted(network):
            outputs, inputs, *kernel = layer.weight.shape
            fans = (outputs + inputs) * math.prod(kernel)
            limit = (math.sqrt(2) if id(layer) in within else 1) * math.sqrt(6 / fans)
            assert layer.weight.abs().max().item() == pytest.approx(limit, rel=0.1)
            assert layer.weight.abs().max() <= limit
            assert not layer.bias.any()
    normal = judge(32, init="normal")
    kernels = [m.weight for m in normal.modules() if isinstance(m, nn.Conv2d)]
    assert torch.cat([k.flatten() for k in kernels]).std().item() == pytest.approx(0.02, rel=0.01)


# Settings


@pytest.mark.parametrize(
    ("norm", "kind"),
    [("batch", nn.BatchNorm2d), ("instance", nn.InstanceNorm2d), ("layer", LayerNorm)],
)
def test_normalisation_is_before_the_activations(norm: str, kind: type[nn.Module]) -> None:
    kinds = (nn.BatchNorm2d, nn.InstanceNorm2d, LayerNorm)
    for network, count in ((make(16, width=1, norm=norm), 5), (judge(16, width=1, norm=norm), 6)):
        found = [m for m in network.modules() if isinstance(m, kinds)]
        assert [type(m) for m in found] == [kind] * count
        for block in blocks_of(network):
            layers = list(block.residual)
            for before, after in itertools.pairwise(layers):
                if isinstance(before, kinds):
                    assert isinstance(after, nn.LeakyReLU)
    for network in (make(16, width=1, norm="none"), judge(16, width=1)):
        assert not any(isinstance(m, kinds) for m in network.modules())


def test_activations_in_place_leave_the_input_of_the_shortcut_as_it_is() -> None:
    for network, width in ((make(16, width=1, norm="none"), 4), (judge(16, width=1), 2)):
        block = blocks_of(network)[1]
        x = torch.randn(2, width, 4, 4)
        before = x.clone()
        block(x)
        assert torch.equal(x, before)


def test_slopes_dropout_and_blocks_are_those_of_the_config() -> None:
    network = judge(24, blocks=[1, 3, 2], halving_blocks=1, width=2, slope=0.1, dropout=0.25)
    activations = [m for m in network.modules() if isinstance(m, nn.LeakyReLU)]
    assert [m.negative_slope for m in activations] == [0.1] * 6
    assert [m.p for m in network.modules() if isinstance(m, Dropout)] == [0.25] * 6
    maps, shapes = torch.zeros(1, 3, 24, 24), []
    for block in blocks_of(network):
        maps = block(maps)
        shapes.append(tuple(maps.shape[1:]))
    assert shapes == [(2, 12, 12), (6, 12, 12), (4, 12, 12)]
    generator = make(24, blocks=[5, 1, 2], width=2)
    shapes = [tuple(weighted(block.residual)[-1].weight.shape) for block in blocks_of(generator)]
    assert shapes == [(2, 2, 3, 3), (4, 4, 3, 3)]
    assert generator.layers[:3](torch.zeros(1, 128)).shape == (1, 10, 6, 6)


def test_a_remedys_dropout_reaches_every_activation() -> None:
    torch.manual_seed(0)  # with some weights every activation is 0
    network, p = judge(16, width=2), 0.0
    add_dropout(network, lambda: p)
    images = torch.rand(2, 3, 16, 16)
    without = network(images)
    p = 0.5
    assert not torch.allclose(network(images), without)


def test_gradients_reach_every_weight() -> None:
    torch.manual_seed(0)
    generator, network = make(16, width=2), judge(16, width=4, spectral_norm=True)
    network(generator(torch.randn(4, 128))).sum().backward()
    for parameter in [*generator.parameters(), *network.parameters()]:
        assert parameter.grad is not None
        assert parameter.dim() == 1 or parameter.grad.abs().max() > 0


def resnet_config(size: int, generator: Any = None, discriminator: Any = None) -> Config:
    sections = {
        "data": {"size": size},
        "generator": {"backbone": "resnet", **(generator or {})},
        "discriminator": {"backbone": "resnet", **(discriminator or {})},
    }
    tree = small_tree(Path("shards"), Path("run"), **sections)
    return parse_config(tree, "x.yaml")


def test_the_defaults_differ_by_backbone() -> None:
    config = resnet_config(48)
    assert (config.generator.norm, config.discriminator.norm) == ("batch", "none")
    assert config.generator.init == config.discriminator.init == "glorot"
    assert resnet_config(48, {"latent_size": 3}).generator.latent_size == 3


@pytest.mark.parametrize(
    ("size", "generator", "discriminator", "message"),
    [
        (48, {"backbone": "dcgan"}, {}, r"data\.size: 48 .* set generator\.backbone: resnet$"),
        (16, {}, {"backbone": "dcgan"}, r"set discriminator\.backbone: resnet$"),
        (20, {}, {}, r"data\.size: 20 found; expected a multiple of 8 from 16 to 256"),
        (24, {"blocks": [1]}, {}, r"generator\.blocks: 1 numbers found; expected 2 to 4 for 24x24"),
        (24, {"blocks": [1] * 5}, {}, r"5 numbers found; .* 24 can be halved 3 times"),
        (24, {}, {"blocks": [1], "halving_blocks": 2}, r"halving_blocks: 2 found; expected 1 to 1"),
        (24, {}, {"halving_blocks": 4}, r"halving_blocks: 4 found; expected 1 to 3 for 4 blocks"),
        (32, {"kernel": 4}, {}, r"'generator\.kernel'; it belongs to generator\.backbone dcgan"),
        (32, {"upsampling": "nearest"}, {}, r"remove it, or set generator\.backbone to dcgan"),
        (32, {"output_bias": True}, {}, r"generator\.output_bias"),
        (
            32,
            {},
            {"bias": True},
            r"'discriminator\.bias'; it belongs to discriminator\.backbone",
        ),
        (32, {}, {"dropout_first": True}, r"'discriminator\.dropout_first'; it belongs to"),
        (32, {}, {"slope": [0.1, 0.2]}, r"discriminator\.slope: \[0\.1, 0\.2\] found"),
        (32, {"backbone": "unet"}, {}, r"generator\.backbone: 'unet' found; .* dcgan or resnet"),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    size: int, generator: Any, discriminator: Any, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        resnet_config(size, generator, discriminator)


def test_keys_of_resnet_are_refused_by_dcgan() -> None:
    section = {"backbone": "dcgan", "blocks": [1, 2]}
    with pytest.raises(UserError, match=r"belongs to generator\.backbone resnet, and .* is dcgan"):
        resnet_config(32, section)


def test_the_backbone_can_be_left_out() -> None:
    config = parse_config(small_tree(Path("shards"), Path("run")), "x.yaml")
    sections: tuple[GeneratorConfig, ...] = (config.generator,)
    assert sections[0].backbone == config.discriminator.backbone == "dcgan"
