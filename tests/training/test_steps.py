"""The D step, the G step and the joint step: which weights change, and by how much."""

import copy
import dataclasses
from collections.abc import Callable
from functools import partial
from itertools import starmap
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from gantrain.common.rng import PositionalRNG, Stream
from gantrain.config import Config
from gantrain.training.batch import Batch
from gantrain.training.gan import Gan
from gantrain.training.joint import joint_step
from gantrain.training.loop import d_step, g_step
from gantrain.training.objectives import make_objective
from gantrain.training.penalties import Discriminate, gradient_penalty
from tests.conftest import RPGAN, SNGAN, WGAN_GP, small_config, weights_of
from tests.training.plain_networks import assert_close, plain_copy, plain_judge

RNG = PositionalRNG(0, 0, 8)
REAL = torch.rand(8, 1, 32, 32, generator=torch.Generator().manual_seed(5)) * 2 - 1
BATCH = Batch(REAL, RNG)
DCGAN_WITH_ALL: dict[str, dict[str, Any]] = {
    "objective": {"label_smoothing": 0.1, "label_noise": 0.05, "label_flips": 0.1},
    "discriminator": {"dropout": 0.3, "spectral_norm": True, "norm": "batch"},
}
KINDS = [
    pytest.param({}, id="dcgan"),
    pytest.param(DCGAN_WITH_ALL, id="dcgan-with-all"),
    pytest.param(WGAN_GP, id="wgan-gp"),
    pytest.param(SNGAN, id="hinge-with-spectral-norm"),
    pytest.param(RPGAN, id="rpgan"),
]


def gan_of(config: Config) -> Gan:
    return Gan(config, Accelerator(cpu=True, mixed_precision=config.training.mixed_precision))


def config_of(sections: dict[str, dict[str, Any]], **training: Any) -> Config:
    return small_config(Path("shards"), Path("run"), **sections, training=training)


@pytest.mark.parametrize("sections", KINDS)
def test_each_step_changes_one_network_and_no_bit_of_the_other(
    sections: dict[str, dict[str, Any]],
) -> None:
    config = config_of(sections)
    gan, objective = gan_of(config), make_objective(config)
    for _ in range(2):
        g_before, d_before = weights_of(gan.generator), weights_of(gan.discriminator)
        d_step(gan, objective, BATCH)
        assert_same(g_before, gan.generator)
        assert_all_changed(d_before, gan.discriminator)
        d_before = weights_of(gan.discriminator)
        g_step(gan, objective, BATCH)
        assert_same(d_before, gan.discriminator)
        assert_all_changed(g_before, gan.generator)


def assert_same(before: dict[str, Tensor], network: nn.Module) -> None:
    after = network.state_dict()
    assert [name for name in before if not torch.equal(before[name], after[name])] == []
    assert all(p.grad is None and p.requires_grad for p in network.parameters())


def assert_all_changed(before: dict[str, Tensor], network: nn.Module) -> None:
    after = network.state_dict()
    last = f"layers.{len(network.layers) - 1}.parametrizations.weight.0."  # type: ignore[arg-type]
    # A matrix of one row is its own singular vector, which spectral norm had right at once.
    same = [n for n in before if torch.equal(before[n], after[n]) and not n.startswith(last)]
    assert same == []


def latents(stream: Stream) -> Tensor:
    return RNG.normal(stream, 8)[:, :, None, None]


def plain_dcgan_step(g: nn.Module, d: nn.Module) -> None:
    g_adam = torch.optim.Adam(g.parameters(), 2e-4, (0.5, 0.999))
    d_adam = torch.optim.Adam(d.parameters(), 2e-4, (0.5, 0.999))
    real_scores, fake_scores = d(REAL), d(g(latents(Stream.D_LATENTS)).detach())
    d_loss = bce(real_scores, torch.ones(8)) + bce(fake_scores, torch.zeros(8))
    (d_loss / 2).backward()  # type: ignore[no-untyped-call]
    d_adam.step()
    g_loss = bce(d(g(latents(Stream.G_LATENTS))), torch.ones(8))
    g_loss.backward()  # type: ignore[no-untyped-call]
    g_adam.step()


def plain_wgan_step(g: nn.Module, d: nn.Module) -> None:
    g_adam = torch.optim.Adam(g.parameters(), 2e-4, (0.5, 0.999))
    d_adam = torch.optim.Adam(d.parameters(), 2e-4, (0.5, 0.999))
    fake = g(latents(Stream.D_LATENTS)).detach()
    epsilon = RNG.uniform(Stream.PENALTY, 1).float().view(8, 1, 1, 1)
    mixed = (epsilon * REAL + (1 - epsilon) * fake).requires_grad_()
    gradient = torch.autograd.grad(d(mixed).sum(), mixed, create_graph=True)[0]
    penalty = ((gradient.pow(2).sum((1, 2, 3)).sqrt() - 1) ** 2).mean()
    (d(fake).mean() - d(REAL).mean() + 10 * penalty).backward()
    d_adam.step()
    (-d(g(latents(Stream.G_LATENTS))).mean()).backward()
    g_adam.step()


def plain_hinge_step(g: nn.Module, d: nn.Module) -> None:
    g_adam = torch.optim.Adam(g.parameters(), 2e-4, (0.5, 0.999))
    d_adam = torch.optim.Adam(d.parameters(), 2e-4, (0.5, 0.999))
    real_scores, fake_scores = d(REAL), d(g(latents(Stream.D_LATENTS)).detach())
    (hinge(real_scores) + hinge(-fake_scores)).backward()  # type: ignore[no-untyped-call]
    d_adam.step()
    (-d(g(latents(Stream.G_LATENTS))).mean()).backward()
    g_adam.step()


def hinge(scores: Tensor) -> Tensor:
    return (1 - scores).clamp(min=0).mean()


PLAIN_STEPS = {"dcgan": plain_dcgan_step, "wgan-gp": plain_wgan_step, "hinge": plain_hinge_step}


@pytest.mark.parametrize("kind", list(PLAIN_STEPS))
def test_an_iteration_equals_that_of_a_plain_pytorch_loop(kind: str) -> None:
    batch_norm = kind == "dcgan"
    config = config_of(
        {
            "objective": {"kind": kind},
            "discriminator": {"norm": "batch" if batch_norm else "none"},
        }
    )
    gan, objective = gan_of(config), make_objective(config)
    g, d = plain_copy(gan, batch_norm)
    PLAIN_STEPS[kind](g, d)
    d_step(gan, objective, BATCH)
    g_step(gan, objective, BATCH)
    assert_close(gan.generator, g)
    assert_close(gan.discriminator, d)


def plain_joint_step(g: nn.Module, d: nn.Module, wgan: bool) -> None:
    """Both gradients by their definitions, before either optimizer steps."""
    fake = g(latents(Stream.D_LATENTS))
    real_scores, fake_scores = d(REAL), d(fake)
    if wgan:
        d_loss, g_loss = fake_scores.mean() - real_scores.mean(), -fake_scores.mean()
        epsilon = RNG.uniform(Stream.PENALTY, 1).float().view(8, 1, 1, 1)
        mixed = (epsilon * REAL + (1 - epsilon) * fake.detach()).requires_grad_()
        gradient = torch.autograd.grad(d(mixed).sum(), mixed, create_graph=True)[0]
        d_loss = d_loss + 10 * ((gradient.pow(2).sum((1, 2, 3)).sqrt() - 1) ** 2).mean()
    else:
        d_loss = (bce(real_scores, torch.ones(8)) + bce(fake_scores, torch.zeros(8))) / 2
        g_loss = bce(fake_scores, torch.ones(8))
    d_gradients = torch.autograd.grad(d_loss, list(d.parameters()), retain_graph=True)
    g_gradients = torch.autograd.grad(g_loss, list(g.parameters()))
    for network, gradients in ((d, d_gradients), (g, g_gradients)):
        for weight, gradient in zip(network.parameters(), gradients, strict=True):
            weight.grad = gradient
        torch.optim.Adam(network.parameters(), 2e-4, (0.5, 0.999)).step()


@pytest.mark.parametrize("kind", ["dcgan", "wgan-gp"])
@pytest.mark.parametrize("grad_accum_steps", [1, 4])
def test_a_joint_step_takes_both_gradients_before_either_network_changes(
    kind: str, grad_accum_steps: int
) -> None:
    # Batch statistics are those of a micro-batch, so with several the networks have none.
    batch_norm = kind == "dcgan" and grad_accum_steps == 1
    config = config_of(
        {
            "objective": {"kind": kind},
            "generator": {"norm": "batch" if batch_norm else "none"},
            "discriminator": {"norm": "batch" if batch_norm else "none"},
        },
        grad_accum_steps=grad_accum_steps,
    )
    gan, objective = gan_of(config), make_objective(config)
    g, d = copy.deepcopy(gan.generator.layers), plain_judge(batch_norm)
    d.load_state_dict(
        dict(zip(d.state_dict(), gan.discriminator.state_dict().values(), strict=True))
    )
    plain_joint_step(g, d, kind == "wgan-gp")
    joint_step(gan, objective, BATCH)
    assert_close(gan.generator, g)
    assert_close(gan.discriminator, d)


@pytest.mark.parametrize("kind", list(PLAIN_STEPS))
def test_a_step_in_micro_batches_equals_the_whole_step(kind: str) -> None:
    # Batch statistics are those of a micro-batch, so the networks have none.
    sections: dict[str, dict[str, Any]] = {
        "objective": {"kind": kind},
        "generator": {"norm": "none"},
        "discriminator": {"norm": "layer"},
    }
    objective = make_objective(config_of(sections))
    whole, split = gan_of(config_of(sections)), gan_of(config_of(sections, grad_accum_steps=4))
    whole_metrics = d_step(whole, objective, BATCH) | g_step(whole, objective, BATCH)
    split_metrics = d_step(split, objective, BATCH) | g_step(split, objective, BATCH)
    assert_close(whole.generator, split.generator)
    assert_close(whole.discriminator, split.discriminator)
    for name, value in whole_metrics.items():
        torch.testing.assert_close(split_metrics[name], value, rtol=1e-4, atol=1e-6)


def test_clipping_bounds_the_gradient_and_reports_its_norm_before() -> None:
    config = config_of({}, clip_norm=1e-3)
    gan, objective = gan_of(config), make_objective(config)
    seen: list[float] = []
    step = gan.d_optimizer.optimizer.step

    def spy() -> None:
        gradients = [p.grad for p in gan.discriminator.parameters() if p.grad is not None]
        seen.append(torch.nn.utils.get_total_norm(gradients).item())
        step()

    gan.d_optimizer.optimizer.step = spy
    metrics = d_step(gan, objective, BATCH)
    assert metrics["health/d_grad_norm"] > 1e-2
    assert seen == [pytest.approx(1e-3, rel=1e-2)]


def test_bf16_runs_the_networks_in_bf16_and_keeps_weights_scores_and_losses_in_fp32() -> None:
    config = config_of(WGAN_GP, mixed_precision="bf16")
    gan = gan_of(config)
    kinds: list[torch.dtype] = []
    last = gan.discriminator.layers[-1]
    last.register_forward_hook(lambda _m, _x, y: kinds.append(y.dtype))
    metrics = d_step(gan, make_objective(config), BATCH)
    assert kinds == [torch.bfloat16] * 2  # real and generated images, and their mixtures
    assert metrics["loss/discriminator"].dtype == torch.float32
    assert gan.discriminate(REAL).dtype == torch.float32
    assert all(p.dtype == torch.float32 for p in gan.discriminator.parameters())


def test_bf16_takes_the_hinge_loss_of_scores_in_fp32() -> None:
    config = config_of(SNGAN, mixed_precision="bf16")
    gan, objective = gan_of(config), make_objective(config)
    for metrics in (d_step(gan, objective, BATCH), g_step(gan, objective, BATCH)):
        assert all(x.dtype == torch.float32 and x.isfinite() for x in metrics.values())


def penalty_gradient(gan: Gan, critic: Discriminate, seed: int) -> Tensor:
    torch.manual_seed(seed)
    penalty = gradient_penalty(critic, REAL, REAL.flip(0), torch.rand(8, 1, 1, 1))
    weights = list(gan.discriminator.parameters())
    gradients = torch.autograd.grad(penalty, weights, allow_unused=True)
    return torch.cat([g.flatten() for g in gradients if g is not None])


def test_the_penalty_in_bf16_is_off_by_far_less_than_by_another_epsilon() -> None:
    gan = gan_of(config_of(WGAN_GP, mixed_precision="bf16"))
    exact = penalty_gradient(gan, gan.discriminator, 1)
    in_bf16, other = (penalty_gradient(gan, gan.discriminate_for_penalty, seed) for seed in (1, 2))
    assert not torch.equal(in_bf16, exact)
    assert (in_bf16 - exact).norm() < 0.03 * exact.norm()
    assert (other - exact).norm() > 2 * (in_bf16 - exact).norm()


def test_the_penalty_is_in_fp32_under_fp16(monkeypatch: pytest.MonkeyPatch) -> None:
    """fp16 needs a GPU: the request is mocked, and bf16 autocast is what must be disabled."""
    gan = gan_of(config_of(WGAN_GP, mixed_precision="bf16"))
    with torch.autocast("cpu", torch.bfloat16):
        assert gan.discriminator(REAL).dtype == torch.bfloat16
        monkeypatch.setattr(Accelerator, "mixed_precision", "fp16")
        assert gan.discriminate_for_penalty(REAL).dtype == torch.float32


def test_compiled_networks_make_the_same_steps() -> None:
    sections: dict[str, dict[str, Any]] = {"discriminator": {"norm": "none"}}
    eager = gan_of(config_of(sections))
    compiled = gan_of(config_of(sections, compile="on"))
    objective = make_objective(config_of(sections))
    for gan in (eager, compiled):
        joint_step(gan, objective, BATCH)
    assert_close(eager.generator, compiled.generator)
    assert_close(eager.discriminator, compiled.discriminator)


def peak_of_saved(action: Callable[[], object]) -> int:
    """Return the most bytes that autograd kept at a time for backward passes."""
    kept = peak = 0

    class Kept:
        def __init__(self, tensor: Tensor) -> None:
            nonlocal kept, peak
            self.tensor = tensor
            kept += tensor.nbytes
            peak = max(peak, kept)

        def __del__(self) -> None:
            nonlocal kept
            kept -= self.tensor.nbytes

    with torch.autograd.graph.saved_tensors_hooks(Kept, lambda held: held.tensor):
        action()
    return peak


@pytest.mark.parametrize(("step", "fraction"), [(d_step, 0.55), (joint_step, 0.75)])
@pytest.mark.parametrize(
    "sections", [{}, {"objective": {"kind": "hinge"}, "discriminator": {"norm": "none"}}]
)
def test_gradients_in_turn_are_those_of_one_pass_in_less_memory(
    sections: dict[str, dict[str, Any]], step: Callable[..., Any], fraction: float
) -> None:
    """fraction: more than a pass of D, and of G in a joint step, beside those with two of D."""
    config = config_of({**sections, "generator": {"norm": "none"}})
    peaks, results = [], []
    for separate in (False, True):
        gan = gan_of(config)
        gan.joins_batches = False  # a pass over all images differs by rounding
        objective: Any = make_objective(config)
        objective = dataclasses.replace(objective, separate=separate)
        peaks.append(peak_of_saved(partial(step, gan, objective, BATCH)))
        networks = (gan.generator, gan.discriminator)
        results.append([weight for network in networks for weight in weights_of(network).values()])
    assert all(starmap(torch.equal, zip(*results, strict=True)))
    assert peaks[1] < fraction * peaks[0]
