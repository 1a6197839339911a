"""Layer normalisation that is differentiated twice: by finite differences, and against torch's."""

from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck

from gantrain.models.convolutions import fast_convolutions
from gantrain.models.layer_norm import LayerNorm
from gantrain.training.penalties import squared_gradient

LAYOUTS = [torch.contiguous_format, torch.channels_last]


def layer_norm(*, affine: bool = True) -> LayerNorm:
    rng = torch.Generator().manual_seed(1)
    layer = LayerNorm(3, 1e-2, affine=affine)
    for weight in layer.parameters():
        weight.data = torch.randn(3, generator=rng)
    return layer


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
    with fast_convolutions(twice=True) if fast else nullcontext():
        y = nn.functional.leaky_relu(layer(x), 0.2)
    ramp = torch.linspace(-1, 1, y.numel()).view(y.shape)
    scores = (y.float() * ramp).sum((1, 2, 3)).tanh()
    loss = squared_gradient(scores, x) + scores.mean()
    return [loss, *torch.autograd.grad(loss, [x, *layer.parameters()])]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_penalised_loss_has_the_gradient_that_torch_gives_it(
    layout: torch.memory_format, dtype: torch.dtype
) -> None:
    layer = layer_norm()
    images = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(2)).bfloat16()
    images = images.float().to(memory_format=layout)
    exact = penalised(layer, images, fast=False)
    usual = penalised(layer, images.to(dtype), fast=False)
    for fast, torchs, value in zip(
        penalised(layer, images.to(dtype), fast=True), usual, exact, strict=True
    ):
        assert (fast.dtype, fast.shape) == (torchs.dtype, torchs.shape)
        error, usual_error = (fast - value).norm(), (torchs - value).norm()
        assert error <= 1.5 * usual_error + 1e-5 * value.norm()
