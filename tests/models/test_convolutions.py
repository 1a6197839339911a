"""Fast convolutions and their derivatives: against torch's own, and by finite differences."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck

from gantrain.common.layouts import is_channels_last
from gantrain.models import passes, squares
from gantrain.models.convolutions import Conv2d, ConvTranspose2d, fast_convolutions
from gantrain.training.penalties import gradient_penalty, squared_gradient
from tests.models.counted import Passes

# channels of images, kernel, stride, padding, size of the images
GEOMETRIES = [
    pytest.param(1, 5, 2, 2, 8, id="halving-an-image"),
    pytest.param(1, 4, 2, 1, 8, id="halving-an-image-by-4x4"),
    pytest.param(1, 6, 2, 2, 8, id="halving-an-image-by-6x6"),
    pytest.param(1, 3, 2, 1, 6, id="halving-an-image-to-an-odd-size"),
    pytest.param(3, 4, 2, 1, 8, id="halving-a-coloured-image"),
    pytest.param(2, 3, 2, 1, 6, id="halving-by-3x3"),
    pytest.param(2, 6, 2, 2, 6, id="halving-by-6x6"),
    pytest.param(2, 5, 2, 1, 8, id="halving-with-a-small-margin"),
    pytest.param(1, 3, 2, 1, 7, id="an-odd-size"),
    pytest.param(5, 5, 2, 2, 6, id="many-channels"),
    pytest.param(2, 3, 1, 1, 4, id="same-size"),
    pytest.param(3, 4, 1, 0, 4, id="to-one-pixel"),
]
AS_PRODUCTS = {"_AVX2_ONLY": True, "_MANY_FORWARD": 1, "_MANY_TO_WEIGHT": 1, "_PART": 1}
Mode = Callable[[], AbstractContextManager[Any]]


def convolution(channels: int, kernel: int, stride: int, padding: int, size: int) -> Any:
    torch.manual_seed(0)
    layer = Conv2d(channels, 3, kernel, stride, padding).double()
    images = torch.randn(2, channels, size, size, dtype=torch.double, requires_grad=True)
    return layer, images


@pytest.mark.parametrize("constants", [{}, AS_PRODUCTS], ids=["as-they-are", "as-products"])
@pytest.mark.parametrize(("channels", "kernel", "stride", "padding", "size"), GEOMETRIES)
def test_first_and_second_derivatives_are_those_of_finite_differences(
    monkeypatch: pytest.MonkeyPatch,
    constants: dict[str, Any],
    channels: int,
    kernel: int,
    stride: int,
    padding: int,
    size: int,
) -> None:
    for name, value in constants.items():
        monkeypatch.setattr(passes, name, value)
    layer, images = convolution(channels, kernel, stride, padding, size)

    def convolve(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        with fast_convolutions(twice=True, smallest=0):
            return layer._conv_forward(x, weight, bias)  # type: ignore[no-any-return]

    inputs = (images, layer.weight, layer.bias)
    assert convolve(*inputs).grad_fn.name() == "_ForwardBackward"  # type: ignore[union-attr]
    assert gradcheck(convolve, inputs)
    assert gradgradcheck(convolve, inputs)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("channels", "kernel", "stride", "padding", "size"), GEOMETRIES)
def test_passes_on_gpus_have_the_values_of_torch(
    channels: int, kernel: int, stride: int, padding: int, size: int, layout: torch.memory_format
) -> None:
    layer, images = convolution(channels, kernel, stride, padding, size)
    layer.to(memory_format=layout)
    weight, bias = layer.weight, layer.bias
    maps = torch.conv2d(images, weight, bias, stride, padding)
    gradient = torch.randn_like(maps)
    to_images, to_weight = torch.autograd.grad(maps, (images, weight), gradient)
    elsewhere = passes.Passes((stride, stride), (padding, padding), on_cpu=False)
    with torch.no_grad():
        torch.testing.assert_close(elsewhere.forward(images, weight, bias), maps)
        torch.testing.assert_close(elsewhere.to_input(gradient, weight, images.shape), to_images)
        torch.testing.assert_close(elsewhere.to_weight(images, gradient, weight), to_weight)
        if elsewhere.halves_an_image(images.shape, weight.shape):
            by_squares = squares.from_image(images, weight, padding, bias)
            torch.testing.assert_close(by_squares, maps)
            assert by_squares.is_contiguous(memory_format=torch.channels_last)
            by_squares = squares.to_weight(images, gradient, weight.shape, padding)
            torch.testing.assert_close(by_squares, to_weight)


@pytest.mark.parametrize(
    ("channels", "dtype", "on_cpu", "by_squares"),
    [
        (1, torch.bfloat16, False, True),
        (1, torch.float16, False, True),
        (1, torch.float32, False, False),
        (3, torch.bfloat16, False, False),
        (1, torch.bfloat16, True, False),
    ],
)
def test_grey_images_are_read_by_squares_in_half_precision_on_gpus(
    channels: int, dtype: torch.dtype, *, on_cpu: bool, by_squares: bool
) -> None:
    of_5x5 = passes.Passes((2, 2), (2, 2), on_cpu)
    size, weight = torch.Size((2, channels, 8, 8)), torch.Size((4, channels, 5, 5))
    assert of_5x5.reads_squares(size, weight, dtype) == by_squares
    assert of_5x5.needs_layout(size) == (channels == 1 and not on_cpu)


def test_grey_images_get_the_layout_of_maps_on_gpus() -> None:
    images = torch.zeros(2, 1, 8, 8)
    weight = torch.zeros(4, 1, 3, 3)
    maps = passes.Passes((1, 1), (1, 1), on_cpu=False).forward(images, weight)
    assert is_channels_last(maps)
    assert not is_channels_last(torch.conv2d(images, weight, None, 1, 1))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("channels", "kernel", "stride", "padding", "missing", "size"),
    [
        pytest.param(1, 5, 2, 2, 1, 4, id="doubling-to-an-image"),
        pytest.param(1, 4, 2, 1, 0, 3, id="doubling-an-odd-size-to-an-image"),
        pytest.param(3, 4, 2, 1, 0, 4, id="doubling-to-a-coloured-image"),
        pytest.param(2, 3, 2, 1, 1, 3, id="doubling-by-3x3"),
        pytest.param(2, 3, 2, 1, 0, 3, id="to-an-odd-size"),
        pytest.param(5, 4, 2, 1, 0, 3, id="many-channels"),
        pytest.param(5, 4, 1, 0, 0, 1, id="from-one-pixel"),
    ],
)
def test_a_transposed_convolution_is_that_of_torch(
    channels: int, kernel: int, stride: int, padding: int, missing: int, size: int, *, bias: bool
) -> None:
    torch.manual_seed(0)
    layer = ConvTranspose2d(4, channels, kernel, stride, padding, missing, bias=bias).double()
    maps = torch.randn(2, 4, size, size, dtype=torch.double, requires_grad=True)
    with fast_convolutions(smallest=0):
        images = layer(maps)
    assert images.grad_fn.name() == "_InputGradientBackward"
    torch.testing.assert_close(images, layer(maps))

    def convolve(*_: Tensor) -> Tensor:
        with fast_convolutions(smallest=0):
            return layer(maps)  # type: ignore[no-any-return]

    inputs = (maps, *layer.parameters())
    assert gradcheck(convolve, inputs)
    assert gradgradcheck(convolve, inputs)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    ("layer", "channels", "size"),
    [
        pytest.param(Conv2d(8, 6, 5, 2, 2), 8, 8, id="halving-5x5"),
        pytest.param(Conv2d(8, 6, 4, 2, 1), 8, 8, id="halving-4x4"),
        pytest.param(Conv2d(8, 6, 3, 1, 1), 8, 7, id="same-size"),
        pytest.param(Conv2d(8, 6, (3, 2), (2, 1), (0, 1)), 8, 8, id="uneven"),
        pytest.param(Conv2d(8, 1, 4), 8, 4, id="to-one-pixel"),
        pytest.param(ConvTranspose2d(8, 6, 5, 2, 2, 1), 8, 4, id="doubling"),
        pytest.param(ConvTranspose2d(8, 1, 5, 2, 2, 1), 8, 4, id="doubling-to-an-image"),
        pytest.param(ConvTranspose2d(8, 6, 4), 8, 1, id="from-one-pixel"),
    ],
)
def test_gradients_in_bf16_are_as_exact_as_those_of_torch(
    layer: nn.Module, channels: int, size: int, layout: torch.memory_format
) -> None:
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(4, channels, size, size, generator=rng).to(memory_format=layout)
    x = x.requires_grad_()
    layer.to(memory_format=layout)  # type: ignore[call-overload]

    def values(*, bf16: bool, fast: bool) -> list[Tensor]:
        mode = fast_convolutions(smallest=0) if fast else nullcontext()
        with mode, torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            y = layer(x)
        ramp = torch.linspace(-1, 1, y.numel()).view(y.shape)
        loss = (y.float() * ramp).sum()
        return [y, *torch.autograd.grad(loss, [x, *layer.parameters()])]

    exact = values(bf16=False, fast=False)
    torch.testing.assert_close(values(bf16=False, fast=True), exact, rtol=1e-4, atol=1e-4)
    for fast, torchs, value in zip(
        values(bf16=True, fast=True), values(bf16=True, fast=False), exact, strict=True
    ):
        assert (fast.dtype, fast.shape) == (torchs.dtype, value.shape)
        error, usual = (fast - value).norm(), (torchs - value).norm()
        assert error <= 1.5 * usual + 1e-3 * value.norm()


@pytest.mark.parametrize("part", [1, 2**14, 2**24], ids="parts of {} numbers".format)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("layer", [Conv2d(16, 24, 5, 2, 2), Conv2d(16, 24, 3, 1, 1, bias=False)])
def test_products_have_the_values_of_convolutions(
    monkeypatch: pytest.MonkeyPatch, layer: Conv2d, layout: torch.memory_format, part: int
) -> None:
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(5, 16, 8, 8, generator=rng).to(memory_format=layout).requires_grad_()

    def values() -> list[Tensor]:
        with fast_convolutions(smallest=0):
            y = layer(x)
        return [y, *torch.autograd.grad((y * y).sum(), [x, *layer.parameters()])]

    monkeypatch.setattr(passes, "_AVX2_ONLY", False)
    convolved = values()
    for name, value in {**AS_PRODUCTS, "_PART": part}.items():
        monkeypatch.setattr(passes, name, value)
    torch.testing.assert_close(values(), convolved, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("layer", "avx2_only", "forward", "to_weight"),
    [
        pytest.param(Conv2d(256, 512, 5, 2, 2), True, 0, 0, id="3.3 million weights"),
        pytest.param(Conv2d(128, 256, 5, 2, 2), True, 1, 0, id="0.8 million weights"),
        pytest.param(Conv2d(64, 128, 5, 2, 2), True, 1, 1, id="0.2 million weights"),
        pytest.param(Conv2d(256, 512, 5, 2, 2), False, 1, 1, id="with AVX-512"),
    ],
)
def test_layers_of_many_weights_are_products_without_avx512(
    monkeypatch: pytest.MonkeyPatch, layer: Conv2d, forward: int, to_weight: int, *, avx2_only: bool
) -> None:
    monkeypatch.setattr(passes, "_AVX2_ONLY", avx2_only)
    x = torch.zeros(4, layer.in_channels, 8, 8)
    with fast_convolutions(twice=True), Passes() as counted:
        torch.autograd.grad(layer(x).sum(), [*layer.parameters()])
    assert (counted.forward, counted.weights) == (forward, to_weight)


@pytest.mark.parametrize(
    "changes",
    [{"groups": 2}, {"dilation": 2}, {"padding": "same"}, {"padding_mode": "reflect"}],
    ids=str,
)
def test_other_convolutions_stay_as_they_are(changes: dict[str, Any]) -> None:
    layer = Conv2d(2, 4, 3, **{"padding": 1, **changes})
    images = torch.randn(2, 2, 8, 8)
    with fast_convolutions(twice=True, smallest=0):
        assert torch.equal(layer(images), layer(images))
        values = layer(images)
    assert torch.equal(values, layer(images))


@pytest.mark.parametrize(
    ("channels", "images", "fast"),
    [(64, 1, False), (64, 64, True), (3, 1, False), (3, 64, True)],
)
def test_small_convolutions_stay_as_they_are(channels: int, images: int, *, fast: bool) -> None:
    layer = Conv2d(channels, 64, 5, 2, 2)
    with fast_convolutions(twice=True):
        values = layer(torch.randn(images, channels, 16, 16, requires_grad=True))
    assert (values.grad_fn.name() == "_ForwardBackward") == fast


def all_fast() -> AbstractContextManager[None]:
    return fast_convolutions(twice=True, smallest=0)


def critic() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(
        Conv2d(1, 8, 5, 2, 2),
        nn.LeakyReLU(0.2),
        Conv2d(8, 16, 5, 2, 2, bias=False),
        nn.GroupNorm(1, 16),
        nn.LeakyReLU(0.2),
        Conv2d(16, 1, 4),
        nn.Flatten(0),
    )


def penalty_gradients(
    network: nn.Module, mode: Mode, *, bf16: bool = False
) -> tuple[Tensor, list[Tensor]]:
    real, fake = torch.rand(2, 6, 1, 16, 16, generator=torch.Generator().manual_seed(2))
    epsilon = torch.linspace(0, 1, 6).view(-1, 1, 1, 1)

    def scores(images: Tensor) -> Tensor:
        with mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            return network(images).float()  # type: ignore[no-any-return]

    penalty = gradient_penalty(scores, real, fake, epsilon)
    real = real.requires_grad_()
    total = penalty + squared_gradient(scores(real), real) + scores(fake).mean()
    return total, list(torch.autograd.grad(total, list(network.parameters())))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_penalised_loss_has_the_gradient_that_torch_gives_it(layout: torch.memory_format) -> None:
    network = critic().to(memory_format=layout)  # type: ignore[call-overload]
    expected, expected_gradients = penalty_gradients(network, nullcontext)
    loss, gradients = penalty_gradients(network, all_fast)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradients, expected_gradients, rtol=1e-4, atol=1e-5)


def test_under_autocast_it_computes_in_bf16_as_torch_does() -> None:
    network = critic()
    exact, _ = penalty_gradients(network, nullcontext)
    expected, expected_gradients = penalty_gradients(network, nullcontext, bf16=True)
    loss, gradients = penalty_gradients(network, all_fast, bf16=True)
    assert loss != exact  # the precision does matter
    torch.testing.assert_close(loss, expected, rtol=0.01, atol=0)
    for gradient, other in zip(gradients, expected_gradients, strict=True):
        assert gradient.dtype == torch.float32
        assert (gradient - other).norm() <= 0.05 * other.norm() + 1e-6


def test_only_the_gradients_that_are_asked_for_are_computed() -> None:
    network = nn.Sequential(*[Conv2d(8, 8, 3, padding=1) for _ in range(3)])
    weights = [weight for weight in network.parameters() if weight.ndim == 4]
    images = torch.randn(2, 8, 8, 8, requires_grad=True)
    with fast_convolutions(twice=True, smallest=0):
        scores = network(images)
    with Passes() as to_images:
        (gradient,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    assert (to_images.inputs, to_images.weights) == (3, 0)
    with Passes() as to_weights:
        torch.autograd.grad(gradient.square().sum(), weights)
    assert (to_weights.inputs, to_weights.weights) == (0, 3)
