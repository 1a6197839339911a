"""Layer normalisation that is differentiated twice: by finite differences, and against torch's."""

import itertools
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck

from gantrain.models import layer_norm as layer_norm_module
from gantrain.models.convolutions import fast_convolutions
from gantrain.models.layer_norm import LayerNorm
from gantrain.training.penalties import squared_gradient

LAYOUTS = [torch.contiguous_format, torch.channels_last]
WAYS = ["by groups", "by rows"]  # as on a CPU, as on a GPU


@pytest.fixture
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How the maps are normalised."""
    chosen: str = request.param
    monkeypatch.setattr(layer_norm_module, "_by_rows", lambda _: chosen == "by rows")
    return chosen


def test_the_result_may_be_changed_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_norm_module, "_by_rows", lambda _: True)
    for affine, layout in itertools.product([True, False], LAYOUTS):
        x = torch.rand(2, 3, 4, 4).to(memory_format=layout).requires_grad_()
        with fast_convolutions():
            layer_norm(affine=affine)(x).mul_(2).sum().backward()


def layer_norm(*, affine: bool = True) -> LayerNorm:
    rng = torch.Generator().manual_seed(1)
    layer = LayerNorm(3, 1e-2, affine=affine)
    for weight in layer.parameters():
        weight.data = torch.randn(3, generator=rng)
    return layer


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("way", WAYS, indirect=True)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("affine", [True, False])
def test_first_and_second_derivatives_are_those_of_finite_differences(
    layout: torch.memory_format, *, affine: bool
) -> None:
    layer = layer_norm(affine=affine).double()
    maps = 2 + torch.randn(2, 3, 2, 4, dtype=torch.double).to(memory_format=layout)

    def normalise(x: Tensor, *_: Tensor) -> Tensor:
        with fast_convolutions(twice=True):
            return layer(x)  # type: ignore[no-any-return]

    inputs = (maps.requires_grad_(), *layer.parameters())
    assert normalise(*inputs).grad_fn.name() == "_NormBackward"  # type: ignore[union-attr]
    assert gradcheck(normalise, inputs)
    assert gradgradcheck(normalise, inputs)


def penalised(layer: nn.Module, images: Tensor, *, fast: bool) -> list[Tensor]:
    x = images.detach().requires_grad_()
    autocast = torch.autocast(x.device.type, x.dtype, enabled=x.dtype != torch.float32)
    with autocast, fast_convolutions(twice=True) if fast else nullcontext():
        y = nn.functional.leaky_relu(layer(x), 0.2, inplace=True)  # as in the networks
    ramp = torch.linspace(-1, 1, y.numel(), device=y.device).view(y.shape)
    scores = (y.float() * ramp).sum((1, 2, 3)).tanh()
    loss = squared_gradient(scores, x) + scores.mean()
    return [loss, *torch.autograd.grad(loss, [x, *layer.parameters()])]


@pytest.mark.parametrize(
    ("device", "way", "dtype"),
    [
        ("cpu", "by groups", torch.float32),
        ("cpu", "by groups", torch.bfloat16),
        ("cpu", "by rows", torch.float32),  # torch rounds the means of such rows to bfloat16
        pytest.param("cuda", "by rows", torch.float32, marks=pytest.mark.gpu),
        pytest.param("cuda", "by rows", torch.bfloat16, marks=pytest.mark.gpu),
    ],
    indirect=["way"],
)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_penalised_loss_has_the_gradient_that_torch_gives_it(
    device: str, way: str, dtype: torch.dtype, layout: torch.memory_format
) -> None:
    layer = layer_norm().to(device)
    images = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(2)).bfloat16()
    images = images.float().to(device, memory_format=layout)
    rounding = 0.01 if (way, dtype) == ("by rows", torch.bfloat16) else 1e-5
    exact = penalised(layer, images, fast=False)
    usual = penalised(layer, images.to(dtype), fast=False)
    for fast, torchs, value in zip(
        penalised(layer, images.to(dtype), fast=True), usual, exact, strict=True
    ):
        assert (fast.dtype, fast.shape) == (torchs.dtype, torchs.shape)
        error, usual_error = (fast - value).norm(), (torchs - value).norm()
        assert error <= 1.5 * usual_error + rounding * value.norm()
