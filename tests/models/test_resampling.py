"""Convolutions that double or halve maps in one pass: the same as torch's two."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck
from torch.nn.functional import avg_pool2d, conv2d, interpolate

from gantrain.models import resampling
from gantrain.models.convolutions import fast_convolutions
from gantrain.models.resampling import DoublingConv2d, HalvingConv2d
from tests.models.counted import Passes

LAYERS = [
    pytest.param(HalvingConv2d(3, 4, 1), id="halving-1x1"),
    pytest.param(HalvingConv2d(3, 4, 3), id="halving-3x3"),
    pytest.param(HalvingConv2d(3, 4, 5), id="halving-5x5"),
    pytest.param(DoublingConv2d(3, 4, 1), id="doubling-1x1"),
    pytest.param(DoublingConv2d(3, 4, 3), id="doubling-3x3"),
    pytest.param(DoublingConv2d(3, 4, 4, bias=False), id="doubling-4x4"),
    pytest.param(DoublingConv2d(3, 4, 5), id="doubling-5x5"),
]


@pytest.fixture
def _in_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resampling, "_is_faster", lambda *_: True)


def in_two_passes(layer: Any, maps: Tensor) -> Tensor:
    if isinstance(layer, DoublingConv2d):
        repeated = interpolate(maps, scale_factor=2, mode="nearest")
        return conv2d(repeated, layer.weight, layer.bias, padding="same")
    return avg_pool2d(conv2d(maps, layer.weight, layer.bias, padding="same"), 2)


@pytest.mark.usefixtures("_in_one_pass")
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", [(8, 8), (3, 6), (7, 5)], ids=str)
@pytest.mark.parametrize("layer", LAYERS)
def test_values_and_gradients_are_those_of_two_passes(
    layer: nn.Module, size: tuple[int, int], layout: torch.memory_format
) -> None:
    torch.manual_seed(0)
    layer.double().to(memory_format=layout)  # type: ignore[call-overload]
    maps = torch.randn(2, 3, *size, dtype=torch.double).to(memory_format=layout).requires_grad_()
    inputs = [maps, *layer.parameters()]
    values = [layer(maps), in_two_passes(layer, maps)]
    ramp = torch.linspace(-1, 1, values[0].numel(), dtype=torch.double).view(values[0].shape)
    torch.testing.assert_close(*values)
    for got, expected in zip(
        *(torch.autograd.grad((y * y * ramp).sum(), inputs) for y in values), strict=True
    ):
        torch.testing.assert_close(got, expected)


@pytest.mark.usefixtures("_in_one_pass")
@pytest.mark.parametrize("layer", LAYERS)
def test_second_derivatives_are_those_of_finite_differences(layer: nn.Module) -> None:
    torch.manual_seed(0)
    maps = torch.randn(1, 3, 4, 4, dtype=torch.double, requires_grad=True)
    inputs = (maps, *layer.double().parameters())

    def convolved(*_: Tensor) -> Tensor:
        with fast_convolutions(twice=True, smallest=0):
            return layer(maps)  # type: ignore[no-any-return]

    assert gradcheck(convolved, inputs)
    assert gradgradcheck(convolved, inputs)


@pytest.mark.usefixtures("_in_one_pass")
@pytest.mark.parametrize("layer", LAYERS)
def test_in_bf16_it_is_nearly_as_exact_as_two_passes(layer: nn.Module) -> None:
    torch.manual_seed(0)
    layer.float()
    maps = torch.randn(8, 3, 16, 16)
    exact = in_two_passes(layer, maps)
    with torch.autocast("cpu", torch.bfloat16):
        fast, usual = layer(maps), in_two_passes(layer, maps)
    assert fast.dtype == usual.dtype == torch.bfloat16
    assert (fast - exact).norm() <= 1.5 * (usual - exact).norm() + 1e-3 * exact.norm()


@pytest.mark.parametrize(
    ("layer", "side", "in_one_pass"),
    [
        (HalvingConv2d(3, 4, 3), 8, True),
        (HalvingConv2d(3, 4, 3), 4, False),
        (HalvingConv2d(3, 4, 1), 8, False),
        (DoublingConv2d(3, 4, 3), 8, True),
        (DoublingConv2d(3, 4, 3), 4, False),
        (DoublingConv2d(3, 4, 1), 8, False),
    ],
)
def test_one_pass_is_for_maps_and_kernels_that_gain_by_it(
    layer: Any, side: int, *, in_one_pass: bool
) -> None:
    maps = torch.randn(2, 3, side, side)
    with Passes() as counted:
        values = layer(maps)
    assert counted.kernels == [(4, 4) if in_one_pass else layer.kernel_size]
    torch.testing.assert_close(values, in_two_passes(layer, maps))
    layer.in_one_pass = False
    with Passes() as counted:
        torch.testing.assert_close(layer(maps), values)
    assert counted.kernels == [layer.kernel_size]


@pytest.mark.parametrize("layer", LAYERS)
def test_checkpoints_have_the_weights_of_two_passes(layer: Any) -> None:
    assert list(layer.state_dict()) == [name for name, _ in layer.named_parameters()]
    assert layer.weight.shape == (4, 3, *layer.kernel_size)
