"""Latent space: samples, ways between them, directions, projection."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from gantrain.cli.main import app
from gantrain.common.errors import UserError
from gantrain.inference.directions import (
    evaluate_expression,
    fit_directions,
    load_directions,
    named,
    parse_expression,
    save_directions,
    turned,
)
from gantrain.inference.export import load_generator
from gantrain.inference.interpolation import between, lerp, plane, slerp
from gantrain.inference.projection import project
from gantrain.inference.sampling import (
    chosen_latents,
    generate_images,
    sample_images,
    sample_latents,
)
from gantrain.models.networks import Generator
from tests.conftest import small_tree
from tests.launching import write_config

HALF = torch.tensor([0.5])


def test_a_sample_depends_on_its_number_alone(generator: Generator) -> None:
    all_of_them = sample_images(generator, 300, 5)
    chosen = generate_images(generator, chosen_latents(generator, [0, 270], 5))
    assert torch.allclose(all_of_them[[0, 270]], chosen, atol=1e-5)


def test_truncation_draws_the_latents_in(generator: Generator) -> None:
    whole, drawn_in = (sample_latents(generator, 20, 0, truncation=t) for t in (1.0, 0.25))
    assert torch.equal(drawn_in, whole * 0.25)


def test_slerp_keeps_the_length_and_lerp_does_not() -> None:
    a, b = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 3.0])
    assert slerp(a, b, HALF).norm() == pytest.approx(3.0)
    assert torch.allclose(slerp(a, b, HALF), torch.full((1, 2), 3 / math.sqrt(2)))
    assert lerp(a, b, HALF).norm() == pytest.approx(3 / math.sqrt(2))


@pytest.mark.parametrize("b", [(1.0, 0.0), (-1.0, 0.0), (0.0, 0.0)])
def test_slerp_is_finite_where_there_is_no_great_circle(b: tuple[float, float]) -> None:
    ends = torch.tensor([1.0, 0.0]), torch.tensor(b)
    way = slerp(*ends, torch.tensor([0.0, 0.5, 1.0]))
    assert way.isfinite().all()
    assert torch.allclose(way[[0, -1]], torch.stack(ends))


@pytest.mark.parametrize("way", ["slerp", "lerp"])
def test_a_way_passes_its_anchors(generator: Generator, way: str) -> None:
    anchors = sample_latents(generator, 3, 0)
    open_way = between(anchors, 4, way)  # type: ignore[arg-type]
    closed = between(anchors, 4, way, closed=True)  # type: ignore[arg-type]
    assert len(open_way) == 9
    assert len(closed) == 12
    assert torch.allclose(open_way[::4], anchors, atol=1e-6)
    assert torch.allclose(closed[::4], anchors, atol=1e-6)
    square = plane(sample_latents(generator, 4, 0), 3, 5, way)  # type: ignore[arg-type]
    corners = square[[0, 4, 10, 14]]
    assert torch.allclose(corners, sample_latents(generator, 4, 0), atol=1e-6)


def test_directions_are_found_where_labels_follow_the_latents() -> None:
    latents = torch.randn(2000, 6, generator=torch.Generator().manual_seed(0))
    yaw = torch.rad2deg(torch.atan2(latents[:, 3], latents[:, 2])) % 360
    labels = [
        {
            "part": "3001" if z[0] > 0 else "3003",
            "tilt": float(z[1]),
            "yaw": float(angle),
            "view": 1,
            "camera": "L" if i % 2 else "R",
        }
        for i, (z, angle) in enumerate(zip(latents, yaw, strict=True))
    ]
    found = fit_directions(latents, labels)
    assert named(found, "part=3001").vector[0] > 0.95
    assert named(found, "tilt").score > 0.99
    assert named(found, "yaw.cos").score > 0.5
    # The camera has nothing to do with the latents, and the score says so.
    assert named(found, "camera=L").score == pytest.approx(0.5, abs=0.1)
    assert named(found, "camera=L").weak
    assert "view" not in {direction.name for direction in found}
    quarter = turned(latents[:5], 90, named(found, "yaw.cos"), named(found, "yaw.sin"))
    angle = torch.rad2deg(torch.atan2(quarter[:, 3], quarter[:, 2])) % 360
    assert ((angle - yaw[:5] - 90 + 180) % 360 - 180).abs().max() < 12
    with pytest.raises(UserError, match=r"expected one of: .*part=3001"):
        named(found, "part=9999")


def test_sums_of_samples_keep_the_length_of_the_first() -> None:
    latents = {0: torch.tensor([2.0, 0.0]), 1: torch.tensor([0.0, 1.0])}
    result = evaluate_expression("0 - 2*1", latents, {})
    assert result.norm() == pytest.approx(2.0)
    assert result[1] == pytest.approx(-result[0])


@pytest.mark.parametrize("text", ["", "3 +", "part=3001", "3 7", "3 ** 2", "-"])
def test_a_sum_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"expected|start from"):
        parse_expression(text)


def test_projection_finds_a_image_that_the_generator_can_make(generator: Generator) -> None:
    # Not one of the starts: another seed.
    targets = generate_images(generator, sample_latents(generator, 2, 77))
    found = project(generator, targets, steps=150)
    assert (found.errors < 0.5 * found.random_errors).all()
    again = generate_images(generator, found.latents)
    gap = (again - targets).abs().mean((1, 2, 3)).double() * 127.5
    assert torch.allclose(found.errors, gap, atol=1e-3)


@pytest.fixture(scope="module")
def run(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from gantrain.train import main

    folder = tmp_path_factory.mktemp("latents")
    path = write_config(folder / "c.yaml", small_tree(shards, folder / "run"))
    assert main(["--config", str(path)]) == 0
    return folder / "run"


def _call(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_the_commands_write_images(run: Path, tmp_path: Path) -> None:
    _call("interpolate", run, 3, 7, "--steps", 4, "--out", tmp_path / "way.png")
    assert Image.open(tmp_path / "way.png").size == (5 * 34 - 2, 32)
    _call("walk", run, "--n", 3, "--steps", 4, "--tiles", 2, "--out", tmp_path / "walk.webp")
    walk = Image.open(tmp_path / "walk.webp")
    assert walk.size == (66, 66)
    # WebP may merge frames that are alike.
    assert 1 < getattr(walk, "n_frames", 1) <= 12
    _call("interpolate", run, 3, 7, "--steps", 4, "--out", tmp_path / "way.gif")
    assert Image.open(tmp_path / "way.gif").format == "GIF"
    _call("arithmetic", run, "3 - 7 + 1", "--out", tmp_path / "sum.png")
    assert Image.open(tmp_path / "sum.png").size == (4 * 34 - 2, 32)
    _call(
        "grid",
        run,
        "--corners",
        "0,1,2,3",
        "--rows",
        3,
        "--columns",
        4,
        "--out",
        tmp_path / "g.png",
    )
    assert Image.open(tmp_path / "g.png").size == (4 * 34 - 2, 3 * 34 - 2)


def test_directions_are_kept_for_their_generator_alone(tmp_path: Path) -> None:
    latents = torch.randn(400, 4)
    found = fit_directions(latents, [{"tilt": float(z[0])} for z in latents])
    save_directions(found, tmp_path / "d.safetensors", "one")
    (kept,) = load_directions(tmp_path / "d.safetensors", "one") or []
    assert (kept.name, kept.kind, kept.score) == ("tilt", "more", found[0].score)
    assert torch.equal(kept.vector, found[0].vector)
    assert load_directions(tmp_path / "d.safetensors", "another") is None
    (tmp_path / "d.safetensors").write_bytes(b"cut short")
    assert load_directions(tmp_path / "d.safetensors", "one") is None


def test_project_tells_its_error(run: Path, tmp_path: Path) -> None:
    image = tmp_path / "given.png"
    Image.new("RGB", (50, 40), (200, 200, 200)).save(image)
    kept = tmp_path / "z.npy"
    words = ("--steps", 5, "--out", tmp_path / "p.png", "--latents", kept)
    assert "grey levels" in _call("project", run, image, *words)
    assert np.load(kept).shape == (1, load_generator(run).latent_size)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["interpolate", "RUN", "3"], "two or more"),
        (["interpolate", "RUN", "3", "7", "--how", "spline"], "slerp or lerp"),
        (["walk", "RUN", "--out", "walk.mp4"], ".gif, .webp"),
        (["grid", "RUN"], "either --direction"),
        (["grid", "RUN", "--corners", "1,2"], "four samples"),
        (["project", "RUN", "missing.png"], "missing.png: no image"),
        (["nearest", "RUN", "--shards", "elsewhere"], "elsewhere"),
        (["nearest", "RUN", "--by", "taste"], "pixels or features"),
    ],
)
def test_mistakes_are_told(run: Path, words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        _call(*[run if word == "RUN" else word for word in words])
