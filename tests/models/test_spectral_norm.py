"""Spectral normalisation against Miyato et al. 2018 and against the singular values."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from gantrain.config import DcganDiscriminatorConfig, ResnetDiscriminatorConfig
from gantrain.models.convolutions import fast_convolutions
from gantrain.models.layers import normalise_spectrally
from gantrain.models.networks import Discriminator
from gantrain.training.frozen import frozen

RESNET = ResnetDiscriminatorConfig(backbone="resnet", width=4, spectral_norm=True)
DCGAN = DcganDiscriminatorConfig(width=4, spectral_norm=True)


def discriminator(config: DcganDiscriminatorConfig | ResnetDiscriminatorConfig) -> Discriminator:
    torch.manual_seed(0)
    return Discriminator(config, 32, 1)


def weighted(network: nn.Module) -> list[Any]:
    return [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]


@pytest.mark.parametrize("config", [DCGAN, RESNET], ids=["dcgan", "resnet"])
def test_after_many_passes_the_largest_singular_value_of_every_layer_is_1(
    config: DcganDiscriminatorConfig | ResnetDiscriminatorConfig,
) -> None:
    network = discriminator(config)
    images = torch.randn(2, 1, 32, 32)
    for _ in range(60):
        network(images)
    network.eval()
    assert len(weighted(network)) == (4 if config is DCGAN else 11)
    for layer in weighted(network):
        largest = torch.linalg.svdvals(layer.weight.flatten(1))[0]
        assert largest.item() == pytest.approx(1, rel=0.02)


@pytest.mark.parametrize("layer", [nn.Conv2d(3, 5, 3), nn.Linear(7, 4)], ids=["conv", "dense"])
def test_each_pass_makes_the_papers_power_iteration(layer: Any) -> None:
    matrix = layer.weight.detach().flatten(1).double().numpy()  # (outputs, inputs x kernel)
    normalise_spectrally(layer)
    state = layer.parametrizations.weight[0]
    v = state._v.double().numpy()
    for _ in range(3):
        u = matrix @ v
        u /= np.linalg.norm(u)
        v = matrix.T @ u
        v /= np.linalg.norm(v)
        found = layer.weight.detach().flatten(1).numpy()
        np.testing.assert_allclose(found, matrix / (u @ matrix @ v), rtol=1e-5, atol=1e-7)
    layer.eval()
    before = state._u.clone()
    np.testing.assert_allclose(layer.weight.detach().flatten(1).numpy(), found, rtol=1e-5)
    assert torch.equal(state._u, before)


@pytest.mark.parametrize("config", [DCGAN, RESNET], ids=["dcgan", "resnet"])
@pytest.mark.parametrize("passes", [nullcontext, lambda: fast_convolutions(smallest=0)])
def test_a_pass_of_a_network_normalises_each_weight_once(
    config: DcganDiscriminatorConfig | ResnetDiscriminatorConfig,
    passes: Callable[[], AbstractContextManager[None]],
) -> None:
    network = discriminator(config)
    normalised: list[Any] = []
    for layer in weighted(network):
        layer.parametrizations.weight[0].register_forward_hook(
            lambda module, *_: normalised.append(module)
        )
    with passes():
        network(torch.randn(2, 1, 32, 32))
    assert len(normalised) == len(set(normalised)) == len(weighted(network))


def test_the_gradient_is_that_of_equation_12() -> None:
    torch.manual_seed(0)
    layer: Any = nn.Linear(6, 5, bias=False)
    normalise_spectrally(layer)
    factor = torch.randn(5, 6)
    with torch.no_grad():
        layer(torch.zeros(1, 6))
    layer.eval()
    (layer.weight * factor).sum().backward()
    original, state = layer.parametrizations.weight.original, layer.parametrizations.weight[0]
    sigma = state._u @ original @ state._v
    direction = (factor * original / sigma).sum() * torch.outer(state._u, state._v)
    torch.testing.assert_close(original.grad, ((factor - direction) / sigma).detach())


def test_it_is_torchs_own_in_float_and_stays_in_float_under_autocast() -> None:
    torch.manual_seed(0)
    ours, theirs = nn.Conv2d(2, 6, 3), nn.Conv2d(2, 6, 3)
    theirs.load_state_dict(ours.state_dict())
    torch.manual_seed(1)
    normalise_spectrally(ours)
    torch.manual_seed(1)
    spectral_norm(theirs)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    expected = theirs.weight
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(ours.weight, expected)


def test_the_g_step_makes_no_power_iteration() -> None:
    network = discriminator(RESNET)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    images = torch.randn(2, 1, 32, 32, requires_grad=True)
    with frozen(network):
        network(images).sum().backward()
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    assert images.grad is not None
    network(images)
    changed = {k for k, v in network.state_dict().items() if not torch.equal(before[k], v)}
    assert changed
    assert all(key.endswith(("._u", "._v")) for key in changed)
