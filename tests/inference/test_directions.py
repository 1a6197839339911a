"""Directions in latent space, latent arithmetic, and the file of directions."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from gantrain.common.errors import UserError
from gantrain.data.shards.samples import Label
from gantrain.inference.arithmetic import evaluate_expression, parse_expression
from gantrain.inference.direction_file import load_directions, save_directions
from gantrain.inference.directions import (
    Direction,
    fit_directions,
    get_direction,
    rotate,
    traverse,
)


def test_directions_are_found_for_labels_that_depend_on_the_latents() -> None:
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
    directions = fit_directions(latents, labels)
    assert get_direction(directions, "part=3001").vector[0] > 0.95
    assert get_direction(directions, "tilt").score > 0.99
    cosine, sine = (get_direction(directions, f"yaw.{kind}") for kind in ("cos", "sin"))
    assert cosine.score > 0.5
    # The camera is independent of the latents.
    assert get_direction(directions, "camera=L").score == pytest.approx(0.5, abs=0.1)
    assert get_direction(directions, "camera=L").weak
    assert "view" not in {direction.name for direction in directions}
    quarter = rotate(latents[:5], 90, cosine, sine)
    angle = torch.rad2deg(torch.atan2(quarter[:, 3], quarter[:, 2])) % 360
    assert ((angle - yaw[:5] - 90 + 180) % 360 - 180).abs().max() < 12
    with pytest.raises(UserError, match=r"expected one of: .*part=3001"):
        get_direction(directions, "part=9999")


def test_traversal_moves_each_latent_to_either_side_or_around() -> None:
    names = ("tilt", "more"), ("yaw.cos", "cos"), ("yaw.sin", "sin")
    directions = [
        Direction(name, torch.eye(3)[i], kind, 1.0)  # type: ignore[arg-type]
        for i, (name, kind) in enumerate(names)
    ]
    latents = torch.tensor([[1.0, 2.0, 0.0], [5.0, 0.0, 2.0]])
    moved = traverse(latents, directions, "tilt", 3, 2.0)
    assert moved[:, 0].tolist() == [-1, 1, 3, 3, 5, 7]
    turned = traverse(latents, directions, "yaw", 4, 2.0)
    assert torch.allclose(turned[[0, 4]], latents, atol=1e-6)
    assert torch.allclose(turned[2], torch.tensor([1.0, -2.0, 0.0]), atol=1e-6)


def test_a_sum_of_samples_keeps_the_length_of_the_first() -> None:
    latents = {0: torch.tensor([2.0, 0.0]), 1: torch.tensor([0.0, 1.0])}
    result = evaluate_expression("0 - 2*1", latents, {})
    assert result.norm() == pytest.approx(2.0)
    assert result[1] == pytest.approx(-result[0])


def test_directions_are_added_in_standard_deviations() -> None:
    direction = Direction("tilt", torch.tensor([0.0, 1.0]), "more", 1.0)
    result = evaluate_expression("0 + 2*tilt", {0: torch.tensor([3.0, 0.0])}, {"tilt": direction})
    assert result.tolist() == [3, 2]


@pytest.mark.parametrize("text", ["", "3 +", "part=3001", "3 7", "3 ** 2", "-"])
def test_an_invalid_expression_is_rejected(text: str) -> None:
    with pytest.raises(UserError, match="expected"):
        parse_expression(text)


@pytest.mark.parametrize("name", ["shoes/small", "half bush", "a-b", "靴/小", "café.2", "3001"])
def test_a_class_in_a_sum_may_be_any_text(name: str) -> None:
    text = f"3 + 2*part={name} - 7+part={name}"
    assert parse_expression(text) == [
        (1.0, "3"),
        (2.0, f"part={name}"),
        (-1.0, "7"),
        (1.0, f"part={name}"),
    ]


def test_file_names_are_no_attributes() -> None:
    latents = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
    labels: list[Label] = [
        {"file": f"{'ab'[int(z[0] > 0)]}.png", "part": "xy"[int(z[0] > 0)]} for z in latents
    ]
    assert {each.name for each in fit_directions(latents, labels)} == {"part=x", "part=y"}


def test_saved_directions_are_loaded_for_the_same_generator_only(tmp_path: Path) -> None:
    path = tmp_path / "d.safetensors"
    latents = torch.randn(400, 4)
    directions = fit_directions(latents, [{"tilt": float(z[0])} for z in latents])
    save_directions(directions, path, "one")
    (loaded,) = load_directions(path, "one") or []
    assert (loaded.name, loaded.kind, loaded.score) == ("tilt", "more", directions[0].score)
    assert torch.equal(loaded.vector, directions[0].vector)
    assert load_directions(path, "another") is None
    path.write_bytes(b"truncated")
    assert load_directions(path, "one") is None


def test_a_file_of_version_0_1_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "d.safetensors"
    entries = json.dumps([{"name": "part=3001", "kind": "is", "score": 0.9}])
    header = {"format": "pt", "directions": entries, "made_with": "digest"}
    save_file({"vectors": torch.eye(4)[:1]}, path, metadata=header)
    (loaded,) = load_directions(path, "digest") or []
    assert (loaded.name, loaded.kind, loaded.score) == ("part=3001", "is", 0.9)
