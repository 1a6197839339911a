"""Dropout: probability, scale, seed and gradients."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gantrain.models.dropout import Dropout, dropout


@given(p=st.floats(0, 0.95), seed=st.integers(0, 2**32))
def test_a_fraction_p_is_zeroed_and_the_rest_scaled_to_keep_the_mean(p: float, seed: int) -> None:
    torch.manual_seed(seed)
    dropped = dropout(torch.ones(20_000, dtype=torch.float64), p)
    zero = dropped == 0
    # Five standard deviations of a binomial proportion.
    assert zero.double().mean().item() == pytest.approx(
        p, abs=5 * (p * (1 - p) / 2e4) ** 0.5 + 2e-5
    )
    torch.testing.assert_close(
        dropped[~zero], torch.full_like(dropped[~zero], 1 / (1 - p)), rtol=1e-3, atol=0
    )


def test_masks_follow_torchs_seed_and_differ_from_call_to_call() -> None:
    x = torch.ones(1000)
    torch.manual_seed(3)
    first, second = dropout(x, 0.5), dropout(x, 0.5)
    torch.manual_seed(3)
    assert torch.equal(dropout(x, 0.5), first)
    assert not torch.equal(first, second)


def test_neighbours_in_memory_are_dropped_independently() -> None:
    torch.manual_seed(0)
    zero = (dropout(torch.ones(400_000), 0.3) == 0).double()
    for gap in (1, 2, 3, 4, 16):
        together = (zero[gap:] * zero[:-gap]).mean().item()
        assert together == pytest.approx(0.09, abs=0.003)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_layout_and_precision_are_kept_and_the_gradient_is_the_mask(
    layout: torch.memory_format, dtype: torch.dtype
) -> None:
    x = torch.full((3, 5, 4, 7), 2.0, dtype=dtype).to(memory_format=layout).requires_grad_()
    y = dropout(x, 0.25)
    assert y.dtype == dtype
    assert y.is_contiguous(memory_format=layout)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(gradient * 2, y)


def test_it_is_the_identity_in_evaluation_mode_and_has_no_weights() -> None:
    layer = Dropout(0.5)
    x = torch.randn(10)
    assert layer.eval()(x) is x
    assert not layer.state_dict()
    assert not torch.equal(layer.train()(x), x)


def test_second_derivatives_exist_as_the_gradient_penalty_needs() -> None:
    x = torch.randn(6, dtype=torch.float64, requires_grad=True)
    torch.manual_seed(1)

    def of(values: Tensor) -> Tensor:
        torch.manual_seed(1)
        return dropout(values, 0.3).square().sum()

    assert torch.autograd.gradgradcheck(of, (x,))
