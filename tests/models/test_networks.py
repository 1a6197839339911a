"""The shapes, sizes and initial weights of the networks."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from gantrain.config import DcganDiscriminatorConfig, DcganGeneratorConfig, load_config
from gantrain.config.backbones import DiscriminatorConfig
from gantrain.models.dropout import Dropout
from gantrain.models.layer_norm import LayerNorm
from gantrain.models.networks import (
    Discriminator,
    Generator,
    build_networks,
    treats_images_alone,
)

CONFIGS = Path(__file__).parents[2] / "configs"


def trainable(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def by_hand(kernel: int, channels: list[int], norms: list[int], biases: int) -> int:
    """Weights of square kernels between consecutive channel counts, gain and shift, biases."""
    pairs = itertools.pairwise(channels)
    return sum(kernel**2 * a * b for a, b in pairs) + 2 * sum(norms) + biases


@pytest.mark.parametrize("channels", [1, 3])
def test_the_books_networks_have_the_books_parameter_counts(channels: int) -> None:
    overrides = [f"data.channels={channels}"]
    dcgan_g, dcgan_d = build_networks(load_config(CONFIGS / "dcgan.yaml", overrides))
    wgan_g, critic = build_networks(load_config(CONFIGS / "wgan_gp_book.yaml", overrides))
    down, up = [channels, 64, 128, 256, 512, 1], [512, 256, 128, 64, channels]
    assert trainable(dcgan_d) == by_hand(4, down, [128, 256, 512], 0)
    assert trainable(dcgan_g) == by_hand(4, [100, *up], [512, 256, 128, 64], 0)
    assert trainable(critic) == by_hand(4, down, [], 64 + 128 + 256 + 512 + 1)
    assert trainable(wgan_g) == by_hand(4, [128, *up], [512, 256, 128, 64], channels)
    published = {  # what Keras's summary prints as trainable
        1: (2_763_520, 3_574_656, 2_762_689, 3_804_033),
        3: (2_765_568, 3_576_704, 2_764_737, 3_806_083),
    }
    found = (trainable(dcgan_d), trainable(dcgan_g), trainable(critic), trainable(wgan_g))
    assert found == published[channels]


@pytest.mark.parametrize("size", [32, 64, 128, 256])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kernel", [3, 4, 5])
@pytest.mark.parametrize("upsampling", ["transposed", "nearest"])
def test_images_of_every_size_are_generated_and_scored(
    size: int, channels: int, kernel: int, upsampling: str
) -> None:
    config = DcganGeneratorConfig.model_validate(
        {"width": 2, "kernel": kernel, "latent_size": 7, "upsampling": upsampling}
    )
    images = Generator(config, size, channels)(torch.randn(3, 7))
    assert images.shape == (3, channels, size, size)
    assert images.abs().max() <= 1
    judge = Discriminator(DcganDiscriminatorConfig(width=2, kernel=kernel), size, channels)
    assert judge(images).shape == (3,)
    last = [m for m in judge.modules() if not list(m.children())][-1]
    assert isinstance(last, nn.Conv2d)
    assert not any(isinstance(m, nn.Linear) for m in judge.modules())


@pytest.mark.parametrize(
    ("norm", "kind"),
    [
        ("batch", nn.BatchNorm2d),
        ("instance", nn.InstanceNorm2d),
        ("layer", LayerNorm),
        ("none", None),
    ],
)
def test_normalisation_is_on_all_layers_but_the_first_and_last(
    norm: str, kind: type[nn.Module] | None
) -> None:
    judge = Discriminator(
        DcganDiscriminatorConfig.model_validate({"width": 2, "norm": norm}), 64, 1
    )
    maker = Generator(DcganGeneratorConfig.model_validate({"width": 2, "norm": norm}), 64, 1)
    norms = (nn.BatchNorm2d, nn.InstanceNorm2d, LayerNorm)
    for network, expected in ((judge, 3), (maker, 4)):
        found = [type(m) for m in network.modules() if isinstance(m, norms)]
        assert found == ([kind] * expected if kind else [])


def test_layer_normalisation_is_over_channels_and_pixels() -> None:
    judge = Discriminator(DcganDiscriminatorConfig(width=2, norm="layer"), 32, 1)
    norm = next(m for m in judge.modules() if isinstance(m, LayerNorm))
    x = torch.randn(3, 4, 8, 8) * 5 + 2
    expected = nn.functional.layer_norm(x, x.shape[1:], eps=1e-5)
    torch.testing.assert_close(norm(x), expected)


def test_spectral_norm_bounds_every_convolution_by_one() -> None:
    judge = Discriminator(DcganDiscriminatorConfig(width=4, spectral_norm=True), 32, 1)
    x = torch.randn(4, 1, 32, 32)
    for _ in range(60):  # power iterations
        judge(x)
    for layer in judge.layers:
        if isinstance(layer, nn.Conv2d):
            largest = torch.linalg.matrix_norm(layer.weight.flatten(1), ord=2)
            assert largest.item() == pytest.approx(1, rel=0.02)


def test_dropout_and_slopes_are_where_the_config_puts_them() -> None:
    config = DcganDiscriminatorConfig(
        width=2, dropout=0.3, dropout_first=False, slope=(0.2, 0.3, 0.1)
    )
    judge = Discriminator(config, 32, 1)
    kinds = [type(m) for m in judge.layers]
    assert kinds.count(Dropout) == 2
    assert kinds.index(Dropout) > kinds.index(nn.BatchNorm2d)
    slopes = [m.negative_slope for m in judge.layers if isinstance(m, nn.LeakyReLU)]
    assert slopes == [0.2, 0.3, 0.1]


def test_initial_weights_follow_the_seed_and_the_configured_distribution() -> None:
    first = build_networks(load_config(CONFIGS / "wgan_gp.yaml"))
    second = build_networks(load_config(CONFIGS / "wgan_gp.yaml"))
    other = build_networks(load_config(CONFIGS / "wgan_gp.yaml", ["seed=1"]))
    for a, b, c in zip(first, second, other, strict=True):
        kernels = [p for p in a.parameters() if p.dim() == 4]
        assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))
        assert not torch.equal(kernels[0], next(p for p in c.parameters() if p.dim() == 4))
        assert all(k.std().item() == pytest.approx(0.02, rel=0.05) for k in kernels)
    book_g, _ = build_networks(load_config(CONFIGS / "dcgan.yaml"))
    kernel = next(p for p in book_g.parameters() if p.shape == (512, 256, 4, 4))
    limit = (6 / (16 * 512 + 16 * 256)) ** 0.5  # Glorot and Bengio 2010, uniform
    assert kernel.abs().max().item() == pytest.approx(limit, rel=1e-3)
    assert kernel.std().item() == pytest.approx(limit / 3**0.5, rel=0.01)


class _Minibatch(nn.Module):
    def forward(self, maps: Tensor) -> Tensor:
        return maps + maps.std(0)


@pytest.mark.parametrize(
    ("settings", "alone"),
    [
        ({"norm": "batch"}, False),
        ({"norm": "layer"}, True),
        ({"norm": "instance"}, True),
        ({"norm": "none"}, True),
        ({"norm": "layer", "dropout": 0.5}, False),
        ({"norm": "none", "spectral_norm": True}, False),
    ],
    ids=str,
)
@pytest.mark.parametrize("backbone", ["dcgan", "resnet"])
def test_batches_are_joined_only_if_no_score_depends_on_its_batch(
    backbone: str, settings: dict[str, Any], alone: bool
) -> None:
    section = {"backbone": backbone, "width": 4, **settings}
    judge = Discriminator(TypeAdapter(DiscriminatorConfig).validate_python(section), 32, 1)
    images = torch.randn(6, 1, 32, 32)
    scores = torch.cat([judge(images[:2]), judge(images[2:])])
    assert torch.allclose(judge(images), scores, rtol=1e-4, atol=1e-6) == alone
    assert treats_images_alone(judge) == alone
    judge.layers.append(_Minibatch())
    assert not treats_images_alone(judge)
