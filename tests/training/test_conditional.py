"""Steps of conditional networks, against plain PyTorch, and conditional runs from end to end."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from gantrain.common.rng import PositionalRNG, Stream
from gantrain.config import Config
from gantrain.inference.export import load_generator, open_generator
from gantrain.inference.sampling import generate_images, sample_latents
from gantrain.runs.paths import GENERATOR
from gantrain.training.batch import Batch
from gantrain.training.gan import Gan
from gantrain.training.joint import joint_step
from gantrain.training.loop import d_step, g_step
from gantrain.training.objectives import make_objective
from tests.conftest import RPGAN, SNGAN, WGAN_GP, small_config, small_tree
from tests.curves import assert_same_end, assert_similar_curves, curve
from tests.launching import Train, launch_several, write_config
from tests.training.plain_networks import assert_close

COUNTS = {"a": 4, "b": 2, "c": 2}
RNG = PositionalRNG(0, 0, 8)
REAL = torch.rand(8, 1, 32, 32, generator=torch.Generator().manual_seed(5)) * 2 - 1
CLASSES = torch.tensor([0, 0, 1, 2, 0, 1, 2, 0])
BATCH = Batch(REAL, RNG, classes=CLASSES)
KINDS = ["concat", "projection"]
OBJECTIVES = [
    pytest.param({}, id="dcgan"),
    pytest.param(WGAN_GP, id="wgan-gp"),
    pytest.param(SNGAN, id="hinge"),
    pytest.param(RPGAN, id="rpgan"),
]


def config_of(kind: str, sections: dict[str, Any] | None = None, **conditioning: Any) -> Config:
    given = {"kind": kind, **conditioning}
    return small_config(Path("shards"), Path("run"), conditioning=given, **(sections or {}))


def gan_of(config: Config) -> Gan:
    return Gan(config, Accelerator(cpu=True), class_counts=COUNTS)


def networks_of(gan: Gan) -> tuple[nn.Module, nn.Module]:
    return copy.deepcopy(gan.generator), copy.deepcopy(gan.discriminator)


def latents(stream: Stream) -> Tensor:
    return RNG.normal(stream, 8)


@pytest.mark.parametrize("kind", KINDS)
def test_an_iteration_of_dcgan_shows_both_networks_the_classes_of_the_batch(kind: str) -> None:
    sections = {"discriminator": {"norm": "batch"}}
    config = config_of(kind, sections)
    gan, objective = gan_of(config), make_objective(config)
    g, d = networks_of(gan)
    g_adam = torch.optim.Adam(g.parameters(), 2e-4, (0.5, 0.999))
    d_adam = torch.optim.Adam(d.parameters(), 2e-4, (0.5, 0.999))
    fake = g(latents(Stream.D_LATENTS), CLASSES).detach()
    real_loss = bce(d(REAL, CLASSES), torch.ones(8))
    ((real_loss + bce(d(fake, CLASSES), torch.zeros(8))) / 2).backward()  # type: ignore[no-untyped-call]
    d_adam.step()
    fake = g(latents(Stream.G_LATENTS), CLASSES)
    g_adam.zero_grad()
    bce(d(fake, CLASSES), torch.ones(8)).backward()  # type: ignore[no-untyped-call]
    g_adam.step()
    d_step(gan, objective, BATCH)
    g_step(gan, objective, BATCH)
    assert_close(gan.generator, g)
    assert_close(gan.discriminator, d)


@pytest.mark.parametrize("kind", KINDS)
def test_the_penalty_of_wgan_gp_is_taken_between_images_of_one_class(kind: str) -> None:
    config = config_of(kind, WGAN_GP)
    gan, objective = gan_of(config), make_objective(config)
    g, d = networks_of(gan)
    d_adam = torch.optim.Adam(d.parameters(), 2e-4, (0.5, 0.999))
    fake = g(latents(Stream.D_LATENTS), CLASSES).detach()
    epsilon = RNG.uniform(Stream.PENALTY, 1).float().view(8, 1, 1, 1)
    mixed = (epsilon * REAL + (1 - epsilon) * fake).requires_grad_()
    gradient = torch.autograd.grad(d(mixed, CLASSES).sum(), mixed, create_graph=True)[0]
    penalty = ((gradient.pow(2).sum((1, 2, 3)).sqrt() - 1) ** 2).mean()
    (d(fake, CLASSES).mean() - d(REAL, CLASSES).mean() + 10 * penalty).backward()
    d_adam.step()
    d_step(gan, objective, BATCH)
    assert_close(gan.discriminator, d)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sections", OBJECTIVES)
def test_steps_in_micro_batches_equal_the_whole_steps(kind: str, sections: Any) -> None:
    norms = {"generator": {"norm": "layer"}, "discriminator": {"norm": "layer"}}
    merged = {**sections, **{k: {**sections.get(k, {}), **v} for k, v in norms.items()}}
    config = config_of(kind, merged)
    split = config.model_copy(
        update={"training": config.training.model_copy(update={"grad_accum_steps": 4})}
    )
    whole, parts, objective = gan_of(config), gan_of(split), make_objective(config)
    for gan in (whole, parts):
        d_step(gan, objective, BATCH)
        g_step(gan, objective, BATCH)
    assert_close(whole.generator, parts.generator)
    assert_close(whole.discriminator, parts.discriminator)


def test_the_joint_step_shows_both_networks_the_classes_too() -> None:
    config = config_of("concat")
    gan, shuffled, objective = gan_of(config), gan_of(config), make_objective(config)
    joint_step(gan, objective, BATCH)
    joint_step(shuffled, objective, Batch(REAL, RNG, classes=CLASSES.flip(0).roll(1)))
    one, other = (g.generator.state_dict() for g in (gan, shuffled))
    assert any(not torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("fake_classes", "expected"), [("data", [1 / 2, 1 / 4, 1 / 4]), ("uniform", [1 / 3] * 3)]
)
def test_classes_of_fakes_follow_the_stated_distribution(
    fake_classes: str, expected: list[float]
) -> None:
    gan = gan_of(config_of("concat", fake_classes=fake_classes))
    batch = Batch(REAL, PositionalRNG(0, 0, 5000), classes=CLASSES)
    drawn = gan.fake_classes(batch, Stream.D_CLASSES)
    assert drawn is not None
    frequencies = torch.bincount(drawn, minlength=3) / 5000
    torch.testing.assert_close(frequencies, torch.tensor(expected), rtol=0, atol=0.025)
    others = gan.fake_classes(batch, Stream.G_CLASSES)
    assert others is not None
    assert not torch.equal(drawn, others)


@pytest.mark.parametrize("objective", ["wgan-gp", "rpgan"])
def test_pairs_of_real_and_fake_images_must_be_of_one_class(objective: str) -> None:
    sections = {"objective": {"kind": objective}, "discriminator": {"norm": "layer"}}
    with pytest.raises(Exception, match=r"conditioning\.fake_classes: expected 'batch'"):
        config_of("concat", sections, fake_classes="uniform")


def test_joined_latents_are_a_choice_of_projection() -> None:
    gan = gan_of(config_of("projection", join_latents=True))
    assert gan.generator.conditioning.latent_inputs("batch") == len(COUNTS)
    assert gan_of(config_of("projection")).generator.conditioning.latent_inputs("batch") == 0
    with pytest.raises(Exception, match=r"conditioning\.join_latents: expected false"):
        config_of("concat", join_latents=True)


def test_features_of_each_pixel_are_a_choice_of_projection_in_dcgan() -> None:
    config_of("projection", pool_features=False)
    with pytest.raises(Exception, match=r"conditioning\.pool_features: expected true unless"):
        config_of("concat", pool_features=False)
    sections = {"discriminator": {"backbone": "resnet", "norm": "none"}}
    with pytest.raises(Exception, match=r"pool_features: .* with discriminator\.backbone resnet"):
        config_of("projection", sections, pool_features=False)


CONDITIONAL: dict[str, dict[str, Any]] = {
    "conditioning": {"kind": "projection", "fake_classes": "data"},
    "objective": {"kind": "hinge", "n_critic": 2},
    "discriminator": {"norm": "none", "spectral_norm": True},
    "output": {"grid": [5, 2]},
}


@pytest.mark.parametrize("mode", ["cache", "stream"])
def test_a_conditional_run_resumes_exactly_and_samples_a_class_a_row(
    mode: str, shards: Path, tmp_path: Path, train: Train
) -> None:
    for name, lengths in (("whole", [0.16]), ("stopped", [0.08, 0.16])):
        tree = small_tree(shards, tmp_path / name, **CONDITIONAL)
        tree["data"]["mode"] = mode
        config = write_config(tmp_path / f"{name}.yaml", tree)
        for length in lengths:
            done = train(config, f"training.total_kimg={length}")
            assert done.returncode == 0, done.stderr
    assert_same_end(tmp_path / "whole", tmp_path / "stopped")
    assert len(curve(tmp_path / "whole")) == 5
    from_run, from_file = (
        open_generator(path) for path in (tmp_path / "whole", tmp_path / "whole" / GENERATOR)
    )
    names = {f"part{i}": 40 for i in range(5)}
    assert dict(from_run.generator.conditioning.class_counts) == names
    assert dict(from_file.generator.conditioning.class_counts) == names
    z = sample_latents(from_run.generator, 10, 0)
    rows = torch.arange(5).repeat_interleave(2)
    one = generate_images(from_run.generator, z, rows)
    assert torch.equal(one, generate_images(from_file.generator, z, rows))
    assert not torch.equal(one, generate_images(from_run.generator, z, rows.flip(0)))
    assert Image.open(tmp_path / "whole" / "samples" / "real.png").size[1] == 5 * 32 + 4 * 2


def test_two_ranks_train_as_one(shards: Path, tmp_path: Path, train: Train) -> None:
    sections = {**CONDITIONAL, "generator": {"norm": "layer"}}
    starts = []
    for name in ("concat", "projection"):
        sections["conditioning"] = {"kind": name}
        tree = small_tree(shards, tmp_path / f"{name}-1", **sections)
        config = write_config(tmp_path / f"{name}.yaml", tree)
        assert train(config).returncode == 0
        starts.append(["--config", str(config), f"output.run_dir={tmp_path / name}-2"])
    done = launch_several(*starts, ranks=2)
    assert done.returncode == 0, done.stderr
    for name in ("concat", "projection"):
        assert_similar_curves(tmp_path / f"{name}-1", tmp_path / f"{name}-2", lines=5)


def test_a_run_resumes_only_with_the_classes_of_its_networks(
    shards: Path, tmp_path: Path, train: Train
) -> None:
    tree = small_tree(shards, tmp_path / "run", conditioning={"kind": "projection"})
    config = write_config(tmp_path / "config.yaml", tree)
    assert train(config, "training.total_kimg=0.032").returncode == 0
    for override, expected in (
        ("data.classes=[part0, part1]", "missing classes part2, part3, part4"),
        ("conditioning.kind=concat", "conditioning.kind was projection and is concat now"),
        ("conditioning.join_latents=true", "conditioning.join_latents was False and is True now"),
        ("conditioning.pool_features=false", "pool_features was True and is False now"),
    ):
        failed = train(config, override)
        assert failed.returncode == 2
        assert expected in failed.stderr
        assert "Traceback" not in failed.stderr
    assert train(config).returncode == 0
    assert load_generator(tmp_path / "run").conditioning.kind == "projection"
