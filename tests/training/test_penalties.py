"""R1 and R2: closed forms, whole steps beside a plain PyTorch loop, precision, lazy steps."""

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn.functional import softplus

from gantrain.common.rng import PositionalRNG, Stream
from gantrain.config import Config
from gantrain.config.objectives import gamma_of
from gantrain.config.schedules import WeightSchedule
from gantrain.data.loading.datasets import Images
from gantrain.training import gan as gan_module
from gantrain.training.batch import Batch, Moment
from gantrain.training.d_loss import d_losses
from gantrain.training.gan import Gan
from gantrain.training.joint import joint_step
from gantrain.training.loop import d_step, g_step
from gantrain.training.objectives import make_objective
from gantrain.training.penalties import Metrics, Scored, ZeroCentred, squared_gradient
from tests.conftest import small_config
from tests.training.plain_networks import assert_close, plain_copy

RNG = PositionalRNG(0, 0, 8)
START = Moment()


def real_images(step: int = 0) -> Tensor:
    return torch.rand(8, 1, 32, 32, generator=torch.Generator().manual_seed(step)) * 2 - 1


def batch_of(step: int) -> Batch:
    moment = Moment(8 * step, 1000, step)
    return Batch(real_images(step), PositionalRNG(0, 8 * step, 8), moment)


def config_of(objective: dict[str, Any], **training: Any) -> Config:
    # A D whose weights are not so small that its gradient vanishes.
    return small_config(
        Path("shards"),
        Path("run"),
        discriminator={"norm": "none", "init": "glorot"},
        objective=objective,
        training=training,
    )


def gan_of(config: Config) -> Gan:
    return Gan(config, Accelerator(cpu=True, mixed_precision=config.training.mixed_precision))


def test_the_squared_gradient_of_a_linear_d_is_that_of_its_weight() -> None:
    weight, images = torch.randn(3, 5, 5), torch.randn(4, 3, 5, 5, requires_grad=True)
    found = squared_gradient((images * weight).sum((1, 2, 3)), images)
    torch.testing.assert_close(found, weight.square().sum())


def test_the_squared_gradient_of_a_quadratic_d_is_that_of_each_image_and_has_a_gradient() -> None:
    images = torch.randn(4, 3, 5, 5, requires_grad=True)
    a = torch.tensor(0.7, requires_grad=True)
    found = squared_gradient(a * images.square().sum((1, 2, 3)) / 2, images)
    norms = images.detach().flatten(1).norm(dim=1)  # the gradient of a ‖x‖² / 2 is a x
    torch.testing.assert_close(found, (0.7 * norms).square().mean())
    (slope,) = torch.autograd.grad(found, a)
    torch.testing.assert_close(slope, 2 * 0.7 * norms.square().mean())


def penalised(penalty: ZeroCentred, moment: Moment = START) -> tuple[float, Metrics]:
    """The penalty of a D whose gradient has a squared norm of 9 at real images, 4 at fakes."""
    scored = []
    for slope in (3.0, 2.0):
        images = torch.randn(2, 1, 1, 1, requires_grad=True)
        scored.append(Scored(images, images, slope * images.flatten()))
    total, metrics = penalty(torch.flatten, scored[0], scored[1], RNG, moment)
    return float(total), metrics


def test_r1_and_r2_have_weights_of_their_own() -> None:
    total, metrics = penalised(ZeroCentred(0.5, 0.25))
    assert total == pytest.approx(0.5 / 2 * 9 + 0.25 / 2 * 4)
    assert {name: float(value) for name, value in metrics.items()} == {"loss/r1": 9, "loss/r2": 4}
    assert penalised(ZeroCentred(r2_gamma=1))[0] == pytest.approx(2)
    assert penalised(ZeroCentred()) == (0, {})
    assert ZeroCentred(r2_gamma=1).differentiates(START) == (False, True)


def test_a_lazy_penalty_has_the_same_mean_as_one_in_every_step() -> None:
    penalty = ZeroCentred(0.5, 0.25, every=4)
    paid = [penalised(penalty, Moment(d_step=step)) for step in range(8)]
    assert [step for step, (total, _) in enumerate(paid) if total] == [0, 4]
    assert [step for step, (_, metrics) in enumerate(paid) if metrics] == [0, 4]
    assert sum(total for total, _ in paid) / 8 == pytest.approx(0.5 / 2 * 9 + 0.25 / 2 * 4)
    due = [penalty.differentiates(Moment(d_step=step)) for step in range(5)]
    assert due == [(True, True), *[(False, False)] * 3, (True, True)]


def test_a_scheduled_gamma_follows_the_images_seen() -> None:
    gamma = WeightSchedule.model_validate({"from": 4, "to": 0})
    penalty = ZeroCentred(r1_gamma=gamma)
    paid = [penalised(penalty, Moment(n, 100)) for n in (0, 25, 100)]
    assert [total for total, _ in paid] == pytest.approx([4 / 2 * 9, 3 / 2 * 9, 0])
    assert [list(metrics) for _, metrics in paid] == [["loss/r1"]] * 3


def test_the_automatic_gamma_is_the_heuristic_of_stylegan2_ada_for_the_whole_batch() -> None:
    # Karras et al. 2020, appendix C: 256 pixels and 64 images.
    assert gamma_of("auto", 256, 64) == pytest.approx(0.2048)
    assert gamma_of(3, 256, 64) == 3
    config = config_of({"r1_gamma": "auto", "r2_gamma": 2}, batch_size=16, grad_accum_steps=2)
    penalty = make_objective(config).penalty
    assert penalty == ZeroCentred(0.0002 * 32**2 / 16, 2)


def d_loss_of(kind: str, real: Tensor, fake: Tensor) -> Tensor:
    if kind == "hinge":
        return (1 - real).clamp(min=0).mean() + (1 + fake).clamp(min=0).mean()
    if kind == "rpgan":
        return -(real - fake).sigmoid().log().mean()
    return (softplus(-real) + softplus(fake)).mean() / 2


def g_loss_of(kind: str, fake: Tensor, real: Tensor) -> Tensor:
    if kind == "hinge":
        return -fake.mean()
    return -(fake - real).sigmoid().log().mean() if kind == "rpgan" else softplus(-fake).mean()


def squared_norms(scores: Tensor, images: Tensor) -> Tensor:
    """The mean of the squared norms, one image after the other."""
    norms = []
    for i in range(len(scores)):
        (gradient,) = torch.autograd.grad(scores[i], images, create_graph=True)
        norms.append(gradient[i].pow(2).sum())
    return torch.stack(norms).mean()


def latents(step: int, stream: Stream) -> Tensor:
    return PositionalRNG(0, 8 * step, 8).normal(stream, 8)[:, :, None, None]


def plain_training(
    kind: str, g: nn.Module, d: nn.Module, *, r1: float, r2: float, every: int, joint: bool
) -> None:
    """Three iterations by the definitions."""
    g_adam = torch.optim.Adam(g.parameters(), 2e-4, (0.5, 0.999))
    d_adam = torch.optim.Adam(d.parameters(), 2e-4, (0.5, 0.999))
    for step in range(3):
        x = real_images(step).requires_grad_()
        fake = g(latents(step, Stream.D_LATENTS))
        y = fake if joint else fake.detach().requires_grad_()
        real_scores, fake_scores = d(x), d(y)
        d_loss = d_loss_of(kind, real_scores, fake_scores)
        if step % every == 0:
            d_loss = d_loss + every * r1 / 2 * squared_norms(real_scores, x)
            d_loss = d_loss + every * r2 / 2 * squared_norms(fake_scores, y)
        set_gradients(d, d_loss)
        if joint:
            set_gradients(g, g_loss_of(kind, fake_scores, real_scores))
            d_adam.step()
        else:
            d_adam.step()
            fake_scores = d(g(latents(step, Stream.G_LATENTS)))
            set_gradients(g, g_loss_of(kind, fake_scores, d(x)))
        g_adam.step()


def set_gradients(network: nn.Module, loss: Tensor) -> None:
    weights = list(network.parameters())
    for weight, gradient in zip(
        weights, torch.autograd.grad(loss, weights, retain_graph=True), strict=True
    ):
        weight.grad = gradient


def train(config: Config, gan: Gan, steps: int = 3) -> list[Metrics]:
    """Train for some iterations and return what D's step logs in each."""
    objective, logged = make_objective(config), []
    for step in range(steps):
        if config.training.updates == "joint":
            logged.append(joint_step(gan, objective, batch_of(step))[0])
        else:
            logged.append(d_step(gan, objective, batch_of(step)))
            g_step(gan, objective, batch_of(step))
    return logged


@pytest.mark.parametrize("kind", ["dcgan", "hinge", "rpgan"])
@pytest.mark.parametrize(
    ("gammas", "every"), [((20.0, 30.0), 1), ((20.0, 30.0), 2), ((20.0, 0.0), 1), ((0.0, 30.0), 1)]
)
@pytest.mark.parametrize("updates", ["alternating", "joint"])
def test_iterations_equal_those_of_a_plain_pytorch_loop(
    kind: str, gammas: tuple[float, float], every: int, updates: str
) -> None:
    r1, r2 = gammas
    objective = {"kind": kind, "r1_gamma": r1, "r2_gamma": r2, "penalty_every": every}
    config = config_of(objective, updates=updates)
    gan = gan_of(config)
    g, d = plain_copy(gan, norm=False)
    plain_training(kind, g, d, r1=r1, r2=r2, every=every, joint=updates == "joint")
    train(config, gan)
    assert_close(gan.generator, g)
    assert_close(gan.discriminator, d)


def gradients_of(gan: Gan, penalty: ZeroCentred, images: Tensor) -> Tensor:
    """The gradient of a penalty alone with respect to D's weights, as one vector."""
    x = images.detach().requires_grad_()
    scored = Scored(x, x, gan.ddp_discriminate(x, twice=True))
    total, _ = penalty(gan.discriminate, scored, scored, RNG, START)
    weights = list(gan.discriminator.parameters())
    return torch.cat([g.flatten() for g in torch.autograd.grad(total, weights)])


def test_the_penalty_counts_in_the_steps_of_the_tests_above() -> None:
    gan = gan_of(config_of({"kind": "dcgan"}))
    of_penalty = gradients_of(gan, ZeroCentred(20), real_images())
    loss = d_loss_of("dcgan", gan.discriminate(real_images()), gan.discriminate(real_images(1)))
    weights = list(gan.discriminator.parameters())
    of_loss = torch.cat([g.flatten() for g in torch.autograd.grad(loss, weights)])
    assert 0.1 < of_penalty.norm() / of_loss.norm() < 100


@pytest.mark.parametrize("updates", ["alternating", "joint"])
def test_penalties_need_no_pass_of_their_own_and_between_lazy_steps_no_gradient(
    updates: str,
) -> None:
    objective = {"r1_gamma": 1, "r2_gamma": 1, "penalty_every": 2}
    config = config_of(objective, updates=updates)
    gan, seen = gan_of(config), []

    def note(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.append(inputs[0].requires_grad)

    gan.discriminator.register_forward_pre_hook(note)
    logged = train(config, gan, steps=2)
    assert ["loss/r1" in metrics for metrics in logged] == [True, False]
    assert ["loss/r2" in metrics for metrics in logged] == [True, False]
    # D's passes: real, fake and, in alternating updates, that of the G step.
    first, second = (
        ([True, True], [False, True])
        if updates == "joint"
        else (
            [True, True, True],
            [False, False, True],
        )
    )
    assert seen == first + second


@pytest.mark.parametrize("updates", ["alternating", "joint"])
def test_micro_batches_have_the_penalty_of_the_whole_batch(updates: str) -> None:
    objective = {"r1_gamma": 20, "r2_gamma": 30, "penalty_every": 2}
    ends = []
    for steps in (1, 4):
        config = config_of(objective, updates=updates, grad_accum_steps=steps)
        gan = gan_of(no_batch_norm(config))
        ends.append((gan, train(config, gan)))
    (whole, of_whole), (split, of_split) = ends
    assert_close(whole.generator, split.generator)
    assert_close(whole.discriminator, split.discriminator)
    for a, b in zip(of_whole, of_split, strict=True):
        for name, value in a.items():
            torch.testing.assert_close(b[name], value, rtol=1e-3, atol=1e-5)


def no_batch_norm(config: Config) -> Config:
    generator = config.generator.model_copy(update={"norm": "none"})
    return config.model_copy(update={"generator": generator})


def test_the_gradient_is_that_with_respect_to_images_before_diffaugment() -> None:
    config = config_of({"r1_gamma": 1})
    augment = config.augment.model_copy(update={"diffaugment": ("translation", "cutout")})
    config = config.model_copy(update={"augment": augment})
    gan = gan_of(config)
    x = real_images().requires_grad_()
    seen = gan.augment(x, RNG, Stream.D_REAL_AUGMENT)
    expected = squared_norms(gan.discriminate(seen), x)
    metrics = d_step(gan, make_objective(config), batch_of(0))
    torch.testing.assert_close(metrics["loss/r1"], expected)
    with_respect_to_seen = squared_norms(gan.discriminate(seen), seen)
    assert with_respect_to_seen > 1.05 * expected


def test_in_bf16_the_gradient_of_the_penalty_is_off_by_far_less_than_by_other_images() -> None:
    gan = gan_of(config_of({}))
    exact, other = (gradients_of(gan, ZeroCentred(1, 1), real_images(step)) for step in (0, 1))
    with torch.autocast("cpu", torch.bfloat16):
        in_bf16 = gradients_of(gan, ZeroCentred(1, 1), real_images())
    assert not torch.equal(in_bf16, exact)
    assert (in_bf16 - exact).norm() < 0.06 * exact.norm()
    assert (other - exact).norm() > 2 * (in_bf16 - exact).norm()


def test_in_bf16_scores_and_penalties_are_float32() -> None:
    config = config_of({"r1_gamma": 1, "r2_gamma": 1}, mixed_precision="bf16")
    gan, kinds = gan_of(config), []
    gan.discriminator.layers[-1].register_forward_hook(lambda _m, _x, y: kinds.append(y.dtype))
    (metrics,) = train(config, gan, steps=1)
    assert kinds == [torch.bfloat16] * 3
    assert all(value.dtype == torch.float32 and value.isfinite() for value in metrics.values())


def test_under_fp16_the_steps_with_a_penalty_run_d_in_float32(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Accelerate's fp16 needs a GPU: the request is mocked, and bf16 is what must be disabled."""
    config = config_of({"r1_gamma": 1, "penalty_every": 2}, mixed_precision="bf16")
    gan, kinds = gan_of(config), []
    gan.discriminator.layers[-1].register_forward_hook(lambda _m, _x, y: kinds.append(y.dtype))
    monkeypatch.setattr(Accelerator, "mixed_precision", "fp16")
    for step in range(2):
        d_losses(gan, make_objective(config), batch_of(step), Images(real_images(9), None))
    low = torch.bfloat16
    assert kinds == [torch.float32, low, low, low]  # R1 needs no gradient at fake images


def test_fp16_would_lose_the_gradients_of_a_weak_d() -> None:
    """Why the penalty is in float32 under fp16: its smallest number is 6e-8."""
    gan = gan_of(config_of({}))
    for weight in gan.discriminator.parameters():
        weight.data.mul_(0.2)
    exact = gradients_of(gan, ZeroCentred(1, 1), real_images())
    with torch.autocast("cpu", torch.float16):
        in_fp16 = gradients_of(gan, ZeroCentred(1, 1), real_images())
    assert (in_fp16 - exact).norm() > 0.1 * exact.norm()


def test_compiled_networks_make_the_same_penalised_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """AOTAutograd is the part of torch.compile that refuses second derivatives."""

    def compile_fast(*networks: nn.Module) -> None:
        for network in networks:
            network.compile(backend="aot_eager")

    monkeypatch.setattr(gan_module, "_compile", compile_fast)
    objective = {"r1_gamma": 20, "r2_gamma": 30, "penalty_every": 2}
    eager = gan_of(no_batch_norm(config_of(objective)))
    compiled = gan_of(no_batch_norm(config_of(objective, compile="on")))
    for gan in (eager, compiled):
        train(config_of(objective), gan, steps=2)
    assert_close(eager.generator, compiled.generator)
    assert_close(eager.discriminator, compiled.discriminator)
