"""Sampling, interpolation and projection."""

import math

import pytest
import torch

from gantrain.inference.interpolation import Method, interpolate, interpolate_grid, lerp, slerp
from gantrain.inference.projection import project
from gantrain.inference.sampling import (
    generate_images,
    sample_images,
    sample_latents,
    select_latents,
)
from gantrain.models.networks import Generator

HALF = torch.tensor([0.5])


def test_a_sample_depends_only_on_its_number(generator: Generator) -> None:
    images = sample_images(generator, 300, 5)
    selected = generate_images(generator, select_latents(generator, [0, 270], 5))
    assert torch.allclose(images[[0, 270]], selected, atol=1e-5)


def test_truncation_scales_the_latents(generator: Generator) -> None:
    full, truncated = (sample_latents(generator, 20, 0, truncation=t) for t in (1.0, 0.25))
    assert torch.equal(truncated, full * 0.25)


def test_slerp_keeps_the_length_and_lerp_does_not() -> None:
    a, b = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 3.0])
    assert slerp(a, b, HALF).norm() == pytest.approx(3.0)
    assert torch.allclose(slerp(a, b, HALF), torch.full((1, 2), 3 / math.sqrt(2)))
    assert lerp(a, b, HALF).norm() == pytest.approx(3 / math.sqrt(2))


@pytest.mark.parametrize("b", [(1.0, 0.0), (-1.0, 0.0), (0.0, 0.0)])
def test_slerp_is_finite_without_a_unique_great_circle(b: tuple[float, float]) -> None:
    ends = torch.tensor([1.0, 0.0]), torch.tensor(b)
    path = slerp(*ends, torch.tensor([0.0, 0.5, 1.0]))
    assert path.isfinite().all()
    assert torch.allclose(path[[0, -1]], torch.stack(ends))


@pytest.mark.parametrize("method", ["slerp", "lerp"])
def test_paths_and_grids_pass_through_their_anchors(generator: Generator, method: Method) -> None:
    anchors = sample_latents(generator, 3, 0)
    path = interpolate(anchors, 4, method)
    closed = interpolate(anchors, 4, method, closed=True)
    assert len(path) == 9
    assert len(closed) == 12
    assert torch.allclose(path[::4], anchors, atol=1e-6)
    assert torch.allclose(closed[::4], anchors, atol=1e-6)
    corners = sample_latents(generator, 4, 0)
    grid = interpolate_grid(corners, 3, 5, method)
    assert torch.allclose(grid[[0, 4, 10, 14]], corners, atol=1e-6)


def test_projection_recovers_generated_images(generator: Generator) -> None:
    # Another seed, so that no starting point is the solution.
    targets = generate_images(generator, sample_latents(generator, 2, 77))
    result = project(generator, targets, steps=150)
    assert (result.errors < 0.5 * result.random_errors).all()
    images = generate_images(generator, result.latents)
    differences = (images - targets).abs().mean((1, 2, 3)).double() * 127.5
    assert torch.allclose(result.errors, differences, atol=1e-3)
