"""Augmentation: its result, its gradients, and its independence of ranks and micro-batches."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor

from gantrain.common.rng import PositionalRNG, Stream
from gantrain.models.augment import (
    brightness,
    cutout,
    diff_augment,
    random_flip_shift,
    shift,
    translation,
)
from gantrain.training.batch import Batch
from gantrain.training.gan import Gan
from gantrain.training.loop import d_step, g_step
from gantrain.training.objectives import make_objective
from tests.conftest import WGAN_GP, small_config, small_tree
from tests.launching import Train, write_config

RNG = PositionalRNG(7, 100, 12)
ALL = ("translation", "cutout", "brightness")


def images(count: int = 12, channels: int = 1, size: int = 32) -> Tensor:
    numbers = torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(1))
    return numbers * 2 - 1


def shift_by_loop(image: Tensor, down: int, right: int, fill: str) -> Tensor:
    """Pixel by pixel."""
    size = image.shape[-1]
    result = torch.zeros_like(image)
    for y in range(size):
        for x in range(size):
            from_y, from_x = y - down, x - right
            if fill == "edge":
                from_y, from_x = (min(max(n, 0), size - 1) for n in (from_y, from_x))
            if 0 <= from_y < size and 0 <= from_x < size:
                result[:, y, x] = image[:, from_y, from_x]
    return result


@pytest.mark.parametrize("fill", ["zero", "edge"])
@pytest.mark.parametrize("channels", [1, 3])
def test_shift_equals_a_loop_over_pixels(fill: str, channels: int) -> None:
    x = images(5, channels, 8)
    offsets = torch.tensor([[0, 0], [2, -3], [-1, 4], [8, 0], [-9, 9]])
    expected = [shift_by_loop(p, d, r, fill) for p, (d, r) in zip(x, offsets.tolist(), strict=True)]
    assert torch.equal(shift(x, offsets, fill=fill), torch.stack(expected))


def test_translation_is_at_most_an_eighth_of_the_size() -> None:
    x = torch.zeros(3000, 1, 32, 32)
    x[:, :, 16, 16] = 1
    numbers = PositionalRNG(0, 0, 3000).uniform(Stream.G_AUGMENT, 2)
    places = translation(x, numbers).flatten(1).argmax(1)
    for offsets in (places // 32 - 16, places % 32 - 16):
        counts = torch.bincount(offsets + 4, minlength=9)
        assert len(counts) == 9
        assert counts.min() > 3000 / 9 * 0.75


def test_cutout_is_a_square_of_half_the_size_around_any_pixel() -> None:
    numbers = PositionalRNG(0, 0, 2000).uniform(Stream.G_AUGMENT, 2)
    hidden = cutout(torch.ones(2000, 1, 32, 32), numbers)[:, 0] == 0
    rows, columns = hidden.any(2).sum(1), hidden.any(1).sum(1)
    assert torch.equal(hidden.sum((1, 2)), rows * columns)  # a rectangle
    assert rows.max() == columns.max() == 16
    assert rows.min() == columns.min() == 8  # half of it outside
    assert hidden.any(0).all()


def test_brightness_changes_a_whole_image_by_up_to_a_half() -> None:
    x = images()
    change = brightness(x, RNG.uniform(Stream.G_AUGMENT, 1).float()) - x
    amounts = change.flatten(1).mean(1)
    torch.testing.assert_close(change, amounts.view(-1, 1, 1, 1).expand_as(change))
    assert amounts.abs().max() <= 0.5
    assert amounts.std() > 0.1


@pytest.mark.parametrize("policy", ALL)
def test_gradients_flow_where_the_pixels_come_from(policy: str) -> None:
    x = images(4, 2, 8).double().requires_grad_()
    rng = PositionalRNG(3, 0, 4)
    assert torch.autograd.gradcheck(lambda y: diff_augment(y, rng, Stream.G_AUGMENT, [policy]), x)


def test_real_and_fake_images_of_each_step_have_independent_random_numbers() -> None:
    x = images()
    streams = (Stream.D_REAL_AUGMENT, Stream.D_FAKE_AUGMENT, Stream.G_AUGMENT)
    changed = [diff_augment(x, RNG, stream, ALL) for stream in streams]
    changed.append(diff_augment(x, PositionalRNG(7, 112, 12), Stream.G_AUGMENT, ALL))
    for i, one in enumerate(changed):
        assert all(not torch.equal(one, other) for other in changed[:i])
    assert torch.equal(diff_augment(x, RNG, Stream.G_AUGMENT, ALL), changed[2])
    assert diff_augment(x, RNG, Stream.G_AUGMENT, ()) is x


@pytest.mark.parametrize("count", [2, 3, 4])
def test_micro_batches_and_ranks_augment_as_the_whole_batch_would(count: int) -> None:
    x = images()
    strengths: dict[str, Any] = {"flip": 0.5, "max_shift": 3}
    micro_batches = list(zip(x.chunk(count), RNG.split(count), strict=True))
    whole = random_flip_shift(x, RNG, **strengths)
    parts = [random_flip_shift(part, rng, **strengths) for part, rng in micro_batches]
    assert torch.equal(torch.cat(parts), whole)
    stream = Stream.D_REAL_AUGMENT
    whole = diff_augment(x, RNG, stream, ALL)
    assert torch.equal(
        torch.cat([diff_augment(part, rng, stream, ALL) for part, rng in micro_batches]), whole
    )


def test_the_configured_fraction_of_images_is_mirrored() -> None:
    x = images(1000, 1, 4)
    rng = PositionalRNG(0, 0, 1000)
    flipped = random_flip_shift(x, rng, flip=0.3)
    same = (flipped == x).flatten(1).all(1)
    mirrored = (flipped == x.flip(3)).flatten(1).all(1)
    assert torch.equal(same, ~mirrored)
    assert 0.25 < mirrored.float().mean() < 0.35
    assert torch.equal(random_flip_shift(x, rng), x)


def steps_of(sections: dict[str, dict[str, Any]], seen: list[Tensor]) -> None:
    config = small_config(Path("shards"), Path("run"), **sections)
    gan, objective = Gan(config, Accelerator(cpu=True)), make_objective(config)
    first = gan.discriminator.layers
    first.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    d_step(gan, objective, Batch(images(), RNG))
    g_step(gan, objective, Batch(images(), RNG))


@pytest.mark.parametrize("sections", [{}, WGAN_GP], ids=["dcgan", "wgan-gp"])
def test_the_discriminator_and_the_penalty_see_augmented_images(
    sections: dict[str, dict[str, Any]],
) -> None:
    plain: list[Tensor] = []
    changed: list[Tensor] = []
    steps_of(sections, plain)
    steps_of({**sections, "augment": {"diffaugment": ["cutout"]}}, changed)
    # DCGAN's D sees real images, then generated ones; that of WGAN-GP both, then their mixtures.
    assert len(plain) == len(changed) == 3
    count = len(images())
    assert torch.equal(plain[0][:count], images())
    scored = changed[:1] if sections else changed[:2]
    for batch in (*scored, changed[-1]):
        assert (batch == 0).flatten(1).float().mean(1).min() > 0.05
    expected = diff_augment(images(), RNG, Stream.D_REAL_AUGMENT, ["cutout"])
    assert torch.equal(changed[0][:count], expected)


def test_a_run_with_all_augmentations_resumes_exactly(
    shards: Path, tmp_path: Path, train: Train
) -> None:
    augment = {"flip": 0.5, "shift": 2, "diffaugment": list(ALL)}
    curves = []
    for name, stops in (("whole", [0.16]), ("stopped", [0.08, 0.16])):
        tree = small_tree(shards, tmp_path / name, augment=augment)
        config = write_config(tmp_path / f"{name}.yaml", tree)
        for stop in stops:
            done = train(config, f"training.total_kimg={stop}")
            assert done.returncode == 0, done.stderr
        lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        curves.append([{**json.loads(line), "speed/images_per_second": 0} for line in lines])
    assert curves[0] == curves[1]
    assert len(curves[0]) == 5
