"""Networks that get classes, against plain PyTorch, closed forms and counts by hand."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from gantrain.common.rng import PositionalRNG, Stream
from gantrain.config import (
    DcganDiscriminatorConfig,
    DcganGeneratorConfig,
    ResnetDiscriminatorConfig,
    ResnetGeneratorConfig,
)
from gantrain.config.section import Section
from gantrain.models.conditioning import ConditionalNorm, Conditioning, Layers, ProjectionHead
from gantrain.models.networks import Discriminator, Generator

COUNTS = {"a": 30, "b": 10, "c": 60}
RANDOM = torch.Generator().manual_seed(0)
LATENTS = torch.randn(6, 5, generator=RANDOM)
IMAGES = torch.rand(6, 1, 32, 32, generator=RANDOM) * 2 - 1
CLASSES = torch.tensor([0, 1, 2, 2, 1, 0])


def generator_of(
    kind: Any, backbone: str = "dcgan", *, join_latents: bool = False, **section: Any
) -> Generator:
    torch.manual_seed(1)
    model: type[Section] = DcganGeneratorConfig if backbone == "dcgan" else ResnetGeneratorConfig
    tree = {"backbone": backbone, "width": 2, "latent_size": 5, **section}
    config: Any = model.model_validate(tree)
    return Generator(config, 32, 1, Conditioning(kind, COUNTS, join_latents))


def discriminator_of(
    kind: Any, backbone: str = "dcgan", *, pool_features: bool = True, **section: Any
) -> Discriminator:
    torch.manual_seed(1)
    of_dcgan = backbone == "dcgan"
    model: type[Section] = DcganDiscriminatorConfig if of_dcgan else ResnetDiscriminatorConfig
    tree = {"backbone": backbone, "width": 2, "norm": "none", **section}
    config: Any = model.model_validate(tree)
    conditioning = Conditioning(kind, COUNTS, pool_features=pool_features)
    return Discriminator(config, 32, 1, conditioning)


def layers_of(network: Generator | Discriminator) -> list[nn.Module]:
    return list(network.layers.children())


def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def randomise(network: nn.Module) -> None:
    """Give each class other gains and biases than the ones and zeros that they start from."""
    for layer in network.modules():
        if isinstance(layer, ConditionalNorm):
            nn.init.normal_(layer.gain)
            nn.init.normal_(layer.bias)


@pytest.mark.parametrize("norm", ["batch", "instance", "layer"])
def test_a_conditional_norm_is_the_plain_one_with_the_gain_of_each_class(norm: str) -> None:
    network = generator_of("projection", norm=norm)
    randomise(network)
    layer = next(m for m in network.modules() if isinstance(m, ConditionalNorm))
    width = layer.gain.shape[1]
    maps = torch.randn(6, width, 4, 4, generator=RANDOM)
    dims = {"batch": (0, 2, 3), "instance": (2, 3), "layer": (1, 2, 3)}[norm]
    variance, mean = torch.var_mean(maps, dims, correction=0, keepdim=True)
    plain = (maps - mean) / (variance + 1e-5).sqrt()
    one_hot = functional.one_hot(CLASSES, 3).float()
    for image, index in enumerate(CLASSES.tolist()):
        expected = plain[image] * layer.gain[index][:, None, None]
        expected = expected + layer.bias[index][:, None, None]
        torch.testing.assert_close(layer(maps, one_hot)[image], expected, rtol=1e-4, atol=1e-5)


def test_with_equal_gains_classes_make_no_difference_to_g() -> None:
    network = generator_of("projection").eval()
    images = [network(LATENTS, torch.full((6,), index)) for index in range(3)]
    assert torch.equal(images[0], images[1])
    randomise(network)
    changed = [network(LATENTS, torch.full((6,), index)) for index in range(3)]
    assert not torch.equal(changed[0], changed[1])


@pytest.mark.parametrize("backbone", ["dcgan", "resnet"])
def test_the_projection_adds_the_product_of_class_and_features_to_the_score(backbone: str) -> None:
    network = discriminator_of("projection", backbone).eval()
    head = layers_of(network)[-1]
    assert isinstance(head, ProjectionHead)
    features = IMAGES
    for layer in layers_of(network)[:-1]:
        features = layer(features)
    scores = network(IMAGES, CLASSES)
    for image, index in enumerate(CLASSES.tolist()):
        own = features[image]
        pooled = own.sum((1, 2)) if own.ndim == 3 else own
        expected = head.score(own[None]).sum() + head.embedding.weight[:, index] @ pooled
        torch.testing.assert_close(scores[image], expected, rtol=1e-4, atol=1e-5)


def test_without_pooling_the_score_is_that_of_one_dense_layer_per_class() -> None:
    network = discriminator_of("projection", pool_features=False, bias=True).eval()
    head = layers_of(network)[-1]
    assert isinstance(head, ProjectionHead)
    assert isinstance(head.score, nn.Conv2d)
    assert head.score.bias is not None
    features = nn.Sequential(*layers_of(network)[:-1])(IMAGES).flatten(1)
    weights = head.score.weight.flatten(1) + head.embedding.weight.T
    scores = functional.linear(features, weights, head.score.bias.expand(3))
    torch.testing.assert_close(network(IMAGES, CLASSES), scores[torch.arange(6), CLASSES])


def test_without_pooling_a_class_tells_what_has_to_be_where() -> None:
    """Sums over pixels are equal for both images, but for the common score."""
    maps = torch.zeros(2, 1, 4, 4)
    maps[0, 0, 0, 0] = maps[1, 0, 3, 3] = 1
    classes = torch.eye(2)[[0, 0]]
    for pixels, differ in ((None, False), (16, True)):
        score = nn.Conv2d(1, 1, 4)
        nn.init.zeros_(score.weight)
        head = ProjectionHead(score, 1, 2, pixels)
        one, other = head(maps, classes).flatten().tolist()
        assert (one != other) == differ


def test_concat_joins_one_hot_vectors_to_latents_and_planes_to_images() -> None:
    g, d = generator_of("concat").eval(), discriminator_of("concat").eval()
    rows = torch.eye(3)[CLASSES]
    joined = torch.cat([LATENTS, rows], 1)[:, :, None, None]
    planes = torch.zeros(6, 3, 32, 32)
    for image, index in enumerate(CLASSES.tolist()):
        planes[image, index] = 1
    plain_g, plain_d = nn.Sequential(*layers_of(g)), nn.Sequential(*layers_of(d))
    torch.testing.assert_close(g(LATENTS, CLASSES), plain_g(joined))
    expected = plain_d(torch.cat([IMAGES, planes], 1)).flatten()
    torch.testing.assert_close(d(IMAGES, CLASSES), expected)


@pytest.mark.parametrize("backbone", ["dcgan", "resnet"])
def test_joined_latents_tell_the_class_before_any_gain_does(backbone: str) -> None:
    network = generator_of("projection", backbone, join_latents=True).eval()
    joined = torch.cat([LATENTS, torch.eye(3)[CLASSES]], 1)[:, :, None, None]
    # Its gains are still those of a G without classes, so that only the joined vectors differ.
    first, *others = network.layers
    start = first(joined)
    expected = Layers(*others)(start, torch.eye(3)[CLASSES])
    torch.testing.assert_close(network(LATENTS, CLASSES), expected)
    assert not torch.equal(network(LATENTS, CLASSES), network(LATENTS, CLASSES.flip(0).roll(1)))
    plain = generator_of("projection", backbone)
    columns = next(p for p in plain.parameters() if p.ndim > 1).shape
    wider = next(p for p in network.parameters() if p.ndim > 1).shape
    assert sorted(a - b for a, b in zip(wider, columns, strict=True))[-1] == len(COUNTS)
    assert {name for name, _ in network.named_parameters()} == {
        name for name, _ in plain.named_parameters()
    }


def test_parameters_are_as_many_as_counted_by_hand() -> None:
    g: dict[str, Any] = {"norm": "batch"}
    d: dict[str, Any] = {"norm": "none"}
    plain_g, plain_d = (
        count(Generator(DcganGeneratorConfig(width=2, latent_size=5), 32, 1)),
        count(Discriminator(DcganDiscriminatorConfig(width=2, norm="none"), 32, 1)),
    )
    # One-hot inputs of the 4x4 layer to 8 channels, and planes of the 4x4 layer to 2 channels.
    assert count(generator_of("concat", **g)) == plain_g + 3 * 8 * 16
    assert count(discriminator_of("concat", **d)) == plain_d + 3 * 2 * 16
    # 2 more pairs of gain and bias for each of 8 + 4 + 2 channels; a vector of 8 per class.
    assert count(generator_of("projection", **g)) == plain_g + 2 * 2 * (8 + 4 + 2)
    assert count(discriminator_of("projection", **d)) == plain_d + 3 * 8
    by_pixel = count(discriminator_of("projection", pool_features=False, **d))
    assert by_pixel == plain_d + 3 * 8 * 16
    both = count(generator_of("projection", join_latents=True, **g))
    assert both == plain_g + 2 * 2 * (8 + 4 + 2) + 3 * 8 * 16
    # Without normalisation, G gets one-hot inputs in place of gains.
    without = count(Generator(DcganGeneratorConfig(width=2, latent_size=5, norm="none"), 32, 1))
    assert count(generator_of("projection", norm="none")) == without + 3 * 8 * 16


@pytest.mark.parametrize("kind", ["concat", "projection"])
@pytest.mark.parametrize("backbone", ["dcgan", "resnet"])
def test_an_index_and_its_one_hot_row_are_the_same_class(kind: str, backbone: str) -> None:
    g, d = generator_of(kind, backbone).eval(), discriminator_of(kind, backbone).eval()
    randomise(g)
    rows = torch.eye(3)[CLASSES]
    assert torch.equal(g(LATENTS, CLASSES), g(LATENTS, rows))
    assert torch.equal(d(IMAGES, CLASSES), d(IMAGES, rows))
    halfway = (rows + rows.flip(0)) / 2
    mixed = g(LATENTS, halfway)
    assert not torch.equal(mixed, g(LATENTS, rows)) or torch.equal(rows, rows.flip(0))
    assert mixed.isfinite().all()


@pytest.mark.parametrize("kind", ["concat", "projection"])
def test_every_weight_of_both_networks_is_trained(kind: str) -> None:
    g, d = generator_of(kind, "resnet"), discriminator_of(kind, "resnet")
    d(g(LATENTS, CLASSES), CLASSES).sum().backward()
    for network in (g, d):
        unused = [name for name, p in network.named_parameters() if p.grad is None]
        assert unused == []


def test_the_vectors_of_classes_are_spectrally_normalised_too() -> None:
    network = discriminator_of("projection", "resnet", spectral_norm=True)
    for _ in range(30):
        network(IMAGES, CLASSES)
    head = layers_of(network.eval())[-1]
    assert isinstance(head, ProjectionHead)
    largest = torch.linalg.matrix_norm(head.embedding.weight.detach(), 2)
    torch.testing.assert_close(largest, torch.tensor(1.0), rtol=1e-3, atol=1e-3)


def test_under_bf16_gains_keep_the_precision_of_float32() -> None:
    layer = ConditionalNorm(nn.Identity(), 4, 3)
    nn.init.constant_(layer.gain, 1 + 2**-12)  # rounds to 1 in bf16
    maps, one_hot = torch.ones(6, 4, 2, 2), torch.eye(3)[CLASSES]
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(maps, one_hot)[0, 0, 0, 0].item() == 1 + 2**-12


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 30))
def test_rows_of_a_grid_have_one_class_each(rows: int, columns: int, classes: int) -> None:
    conditioning = Conditioning("concat", {f"{i}": 1 for i in range(classes)})
    found = conditioning.by_row(rows, columns)
    assert found is not None
    grid = found.view(rows, columns)
    assert (grid == grid[:, :1]).all()
    assert len(set(grid[:, 0].tolist())) == min(rows, classes)
    assert 0 <= int(grid.min()) <= int(grid.max()) < classes


def test_classes_are_drawn_as_often_as_they_occur() -> None:
    def frequencies(counts: Mapping[str, int], **how: bool) -> Tensor:
        rng = PositionalRNG(0, 0, 20_000)
        drawn = Conditioning("concat", counts).draw(rng, Stream.D_CLASSES, **how)
        assert drawn is not None
        return torch.bincount(drawn, minlength=len(counts)) / len(drawn)

    # Three standard deviations of a frequency of 20,000 draws are below 0.011.
    expected = torch.tensor([0.3, 0.1, 0.6])
    torch.testing.assert_close(frequencies(COUNTS), expected, rtol=0, atol=0.011)
    third = torch.full((3,), 1 / 3)
    torch.testing.assert_close(frequencies(COUNTS, evenly=True), third, rtol=0, atol=0.011)
    assert frequencies({"a": 1, "none": 0, "b": 1})[1] == 0


def test_drawn_classes_depend_on_the_position_alone() -> None:
    conditioning = Conditioning("projection", COUNTS)
    whole = conditioning.draw(PositionalRNG(7, 0, 40), Stream.G_CLASSES)
    parts = [conditioning.draw(PositionalRNG(7, i, 10), Stream.G_CLASSES) for i in (0, 10, 20, 30)]
    assert whole is not None
    assert torch.equal(whole, torch.cat([part for part in parts if part is not None]))
