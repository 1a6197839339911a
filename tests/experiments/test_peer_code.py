"""The losses, whole steps and spectral normalisation compared with the peer's, torch-mimicry."""

import copy
import importlib.metadata
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from experiments.baselines import mimicry
from experiments.baselines.mimicry import (
    PeerDiscriminator,
    PeerGenerator,
    peer_module,
    peer_networks,
)
from gantrain.common.errors import UserError
from gantrain.common.rng import PositionalRNG, Stream
from gantrain.config import (
    Config,
    DcganConfig,
    DcganDiscriminatorConfig,
    HingeConfig,
    WganGpConfig,
)
from gantrain.models.networks import Discriminator
from gantrain.training.batch import Batch
from gantrain.training.gan import Gan
from gantrain.training.loop import d_step, g_step
from gantrain.training.objectives import Dcgan, Hinge, WganGp, make_objective
from gantrain.training.penalties import gradient_penalty
from tests.conftest import small_config

needs_peer = pytest.mark.skipif(not mimicry.is_installed(), reason="torch-mimicry is not installed")
COUNT = 8
KINDS = ["dcgan", "wgan-gp", "hinge"]


def scores() -> tuple[Tensor, Tensor]:
    """Scores of real and of fake images, (64,) each, on both sides of every kink."""
    real, fake = torch.randn(2, 64, generator=torch.Generator().manual_seed(3)) * 3
    return real, fake


def rng_of(step: int) -> PositionalRNG:
    return PositionalRNG(0, step * COUNT, COUNT)


@needs_peer
def test_losses_equal_the_peers() -> None:
    real, fake = scores()
    theirs, rng = peer_module("modules.losses"), PositionalRNG(0, 0, 64)
    dcgan, wgan = Dcgan(DcganConfig()), WganGp(WganGpConfig(kind="wgan-gp"))
    hinge = Hinge(HingeConfig(kind="hinge"))
    columns = {"output_real": real[:, None], "output_fake": fake[:, None]}
    pairs = [
        # The peer adds what ours averages.
        (2 * dcgan.d_loss(real, fake, rng)[0], theirs.minimax_loss_dis(**columns)),
        (dcgan.g_loss(fake)[0], theirs.ns_loss_gen(fake[:, None])),
        (wgan.d_loss(real, fake, rng)[0], theirs.wasserstein_loss_dis(**columns)),
        (wgan.g_loss(fake)[0], theirs.wasserstein_loss_gen(fake[:, None])),
        (hinge.d_loss(real, fake, rng)[0], theirs.hinge_loss_dis(**columns)),
        (hinge.g_loss(fake)[0], theirs.hinge_loss_gen(fake[:, None])),
    ]
    for ours, expected in pairs:
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


@needs_peer
def test_the_peers_generator_loss_loses_its_gradient_where_ours_keeps_it() -> None:
    """It adds 1e-8 to the probability, which is less than that from a logit of -18 on."""
    theirs = peer_module("modules.losses").ns_loss_gen
    logits = torch.tensor([-10.0, -18.42, -30.0], requires_grad=True)
    (at_ours,) = torch.autograd.grad(Dcgan(DcganConfig()).g_loss(logits)[0], logits)
    (at_theirs,) = torch.autograd.grad(theirs(logits), logits)
    expected = torch.tensor([1.0, 0.5, 0.0])
    torch.testing.assert_close(at_theirs / at_ours, expected, rtol=2e-3, atol=2e-3)


@needs_peer
def test_the_gradient_penalty_equals_the_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    critic = peer_networks("wgan-gp", 4)[1]
    real, fake = torch.rand(2, COUNT, 3, 32, 32).unbind()
    epsilon = torch.rand(COUNT, 1)
    monkeypatch.setattr(torch, "rand", lambda *shape: epsilon)
    expected = critic.compute_gradient_penalty_loss(real, fake, gp_scale=10.0)
    penalty = gradient_penalty(lambda x: critic(x).flatten(), real, fake, epsilon[..., None, None])
    torch.testing.assert_close(10 * penalty, expected, rtol=1e-5, atol=1e-6)


def gan_with(kind: str, networks: tuple[nn.Module, nn.Module], epsilon: float) -> Gan:
    """Our Gan with copies of the peer's networks and the peer's Adam."""
    adam = {"betas": [0.0, 0.9], "adam_epsilon": epsilon}
    # DCGAN's D loss is half the peer's, and so is its gradient.
    d_adam = {**adam, "adam_epsilon": epsilon / 2} if kind == "dcgan" else adam
    config = small_config(
        Path("shards"),
        Path("run"),
        objective={"kind": kind},
        data={"channels": 3},
        generator={**adam, "latent_size": mimicry.LATENT_SIZE},
        discriminator={**d_adam, "norm": "none"},
    )
    generator, discriminator = copy.deepcopy(networks)
    ours = PeerGenerator(generator), PeerDiscriminator(discriminator)
    return Gan(config, Accelerator(cpu=True), ours)


def real_images(step: int) -> Tensor:
    generator = torch.Generator().manual_seed(step)
    return torch.rand(COUNT, 3, 32, 32, generator=generator) * 2 - 1


def train_ours(gan: Gan, kind: str, d_steps: int) -> None:
    objective = make_objective(small_config_of(kind))
    for step in range(d_steps):
        d_step(gan, objective, Batch(real_images(step), rng_of(step)))
    g_step(gan, objective, Batch(real_images(d_steps - 1), rng_of(0)))


def small_config_of(kind: str) -> Config:
    return small_config(
        Path("shards"), Path("run"), objective={"kind": kind}, discriminator={"norm": "none"}
    )


def adams_of(networks: tuple[Any, Any], epsilon: float) -> tuple[Any, Any]:
    g_adam, d_adam = (torch.optim.Adam(n.parameters(), 2e-4, (0.0, 0.9), epsilon) for n in networks)
    return g_adam, d_adam


def train_theirs(
    networks: tuple[Any, Any],
    adams: tuple[Any, Any],
    d_steps: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The peer's own steps, which draw our latents and our ε."""
    size = mimicry.LATENT_SIZE
    latents = [rng_of(i).normal(Stream.D_LATENTS, size) for i in range(d_steps)]
    drawn = iter([*latents, rng_of(0).normal(Stream.G_LATENTS, size)])
    mixes = iter([rng_of(i).uniform(Stream.PENALTY, 1).float() for i in range(d_steps)])
    real = [real_images(i) for i in range(d_steps)]
    monkeypatch.setattr(torch, "randn", lambda *shape, **_: next(drawn))
    monkeypatch.setattr(torch, "rand", lambda *shape: next(mixes))
    (g, d), (g_adam, d_adam) = networks, adams
    log = peer_module("training.metric_log").MetricLog()
    for images in real:
        batch = images, torch.zeros(COUNT)
        d.train_step(real_batch=batch, netG=g, optD=d_adam, log_data=log)
    g.train_step(real_batch=batch, netD=d, optG=g_adam, log_data=log)


@pytest.fixture(params=KINDS)
def both(request: pytest.FixtureRequest) -> tuple[str, tuple[Any, Any]]:
    torch.manual_seed(1)
    return request.param, peer_networks(request.param, 4)


@needs_peer
@pytest.mark.parametrize("epsilon", [1e-8, 1e-2])
def test_an_iteration_gives_the_weights_that_the_peers_gives(
    both: tuple[str, tuple[Any, Any]], epsilon: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, networks = both
    gan = gan_with(kind, networks, epsilon)
    before = [p.clone() for n in networks for p in n.parameters()]
    train_ours(gan, kind, d_steps=2)
    train_theirs(networks, adams_of(networks, epsilon), 2, monkeypatch)
    ours = [*gan.generator.parameters(), *gan.discriminator.parameters()]
    theirs = [p for network in networks for p in network.parameters()]
    agree, changed = [], []
    for one, other, first in zip(ours, theirs, before, strict=True):
        agree.append(torch.isclose(one, other, rtol=1e-4, atol=2e-6).flatten())
        changed.append((one - first).abs().flatten())
    assert torch.cat(changed).median() > (1e-4 if epsilon == 1e-8 else 1e-6)
    # With Adam's usual epsilon the first steps are the learning rate times the gradient's sign, so
    # that a gradient near zero may round to either side. With a large one all weights must agree.
    assert torch.cat(agree).float().mean() > (0.995 if epsilon == 1e-8 else 0.99999)


def all_weights(network: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in network.parameters()])


@needs_peer
def test_ten_iterations_with_the_same_numbers_stay_together(
    both: tuple[str, tuple[Any, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, networks = both
    gan = gan_with(kind, networks, 1e-8)
    before = all_weights(networks[0])
    for _ in range(10):
        train_ours(gan, kind, d_steps=2)
    adams = adams_of(networks, 1e-8)
    for _ in range(10):
        with monkeypatch.context() as patch:
            train_theirs(networks, adams, 2, patch)
    ours, theirs = all_weights(gan.generator), all_weights(networks[0])
    assert (ours - theirs).norm() < 0.05 * (theirs - before).norm()


@needs_peer
def test_only_statistics_that_training_does_not_use_differ_after_an_iteration(
    both: tuple[str, tuple[Any, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The peer's G updates the running statistics of BatchNorm in D steps as well."""
    kind, networks = both
    gan = gan_with(kind, networks, 1e-2)
    train_ours(gan, kind, d_steps=1)
    train_theirs(networks, adams_of(networks, 1e-2), 1, monkeypatch)
    ours = dict(gan.generator.layers[0].named_buffers())
    differ = {
        name
        for name, value in networks[0].named_buffers()
        if not torch.allclose(ours[name].float(), value.float(), rtol=1e-4, atol=1e-5)
    }
    assert {name.rpartition(".")[2] for name in differ} == {
        "running_mean",
        "running_var",
        "num_batches_tracked",
    }
    for name, value in networks[1].named_buffers():  # of spectral normalisation
        torch.testing.assert_close(
            gan.discriminator.layers[0].get_buffer(name), value, rtol=1e-4, atol=1e-5
        )


def convolution() -> Any:
    """A convolution of our D, normalised by its largest singular value."""
    torch.manual_seed(2)
    config = DcganDiscriminatorConfig(width=4, spectral_norm=True, norm="none")
    return Discriminator(config, 32, 3).layers[2]


@needs_peer
def test_spectral_normalisation_makes_the_peers_power_iterations() -> None:
    """Ours starts from the right singular vector, so the peer's gets the transposed matrix."""
    layer = convolution()
    matrix = layer.parametrizations.weight.original.detach().flatten(1)
    normalise = layer.parametrizations.weight[0]
    peer = peer_module("modules.spectral_norm").SNLinear(*matrix.shape)
    peer.weight.data = matrix.t().contiguous()
    normalise._v.copy_(torch.nn.functional.normalize(torch.randn(matrix.shape[1]), dim=0))
    peer.sn_u.copy_(normalise._v[None])
    exact = matrix / torch.linalg.matrix_norm(matrix, 2)
    distances = []
    for _ in range(30):
        ours = layer.weight.detach().flatten(1)  # one access is one forward pass
        torch.testing.assert_close(ours, peer.sn_weights().detach().t(), rtol=1e-5, atol=1e-6)
        distances.append((ours - exact).norm().item())
    assert distances[0] > 10 * distances[-1]  # one iteration in each pass, not many in the first


@needs_peer
def test_spectral_normalisation_keeps_its_vectors_in_evaluation() -> None:
    layer = convolution().eval()
    vector = layer.parametrizations.weight[0]._v.clone()
    assert layer.weight is not None
    assert torch.equal(layer.parametrizations.weight[0]._v, vector)


def test_a_missing_peer_is_an_error_that_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> Any:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    monkeypatch.setattr(sys, "modules", {})
    with pytest.raises(UserError, match="pip install --no-deps torch-mimicry"):
        peer_module("modules.losses")
