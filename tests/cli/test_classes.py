"""Commands about generators with a conditional one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from typer.testing import CliRunner

from gantrain.cli.main import app
from gantrain.common.errors import UserError
from gantrain.common.grids import to_uint8
from gantrain.inference.export import export_generator, load_generator
from gantrain.inference.sampling import generate_images, sample_latents
from tests.cli.test_bad_paths import commands
from tests.conftest import small_config
from tests.inference.conditional import conditional_generator

TILE = 32 + 2  # pixels, with the gap


@pytest.fixture(scope="module")
def file(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a generator of which the latents and the classes are visible in the images."""
    run_dir = tmp_path_factory.mktemp("conditional") / "run"
    sections: dict[str, Any] = {"generator": {"norm": "none"}, "conditioning": {"kind": "concat"}}
    config = small_config(shards, run_dir, **sections)
    return export_generator(conditional_generator(), config, 0)


def _output(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def _tiles(path: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return the images of a PNG, uint8 (rows, columns, 32, 32)."""
    pixels = np.asarray(Image.open(path).convert("L"))
    rows, columns = ((n + 2) // TILE for n in pixels.shape)
    return np.stack(
        [
            [pixels[y * TILE : y * TILE + 32, x * TILE : x * TILE + 32] for x in range(columns)]
            for y in range(rows)
        ]
    )


def _expected(file: Path, latents: Tensor, weights: list[list[float]]) -> np.ndarray[Any, Any]:
    images = generate_images(load_generator(file), latents, torch.tensor(weights))
    return to_uint8(images)[..., 0]


A, B = [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]  # part0, part3


def test_samples_have_a_row_for_each_class(file: Path, tmp_path: Path) -> None:
    output = _output("sample", file, "--n", 10, "--out", tmp_path / "s.png")
    assert "rows from the top: part0, part1, with, comma, part3" in output
    assert "12 images of" in output
    latents = sample_latents(load_generator(file), 3, 0)
    tiles = _tiles(tmp_path / "s.png")
    assert tiles.shape[:2] == (4, 3)
    for row, weights in ((0, A), (3, B)):
        assert np.abs(tiles[row] - _expected(file, latents, [weights] * 3).astype(int)).max() <= 1
    _output("sample", file, "--class", "part3,part0", "--n", 6, "--out", tmp_path / "t.png")
    assert np.array_equal(_tiles(tmp_path / "t.png"), tiles[[3, 0]])


def test_samples_of_one_class_are_a_square(file: Path, tmp_path: Path) -> None:
    words = ("--class", "part3", "--n", 4, "--out", tmp_path / "s.png")
    assert "4 images of class part3" in _output("sample", file, *words)
    latents = sample_latents(load_generator(file), 4, 0)
    expected = _expected(file, latents, [B] * 4).reshape(2, 2, 32, 32)
    assert np.abs(_tiles(tmp_path / "s.png") - expected.astype(int)).max() <= 1


def test_an_interpolation_changes_the_class_of_one_sample(file: Path, tmp_path: Path) -> None:
    words = ("--class", "part0,part3", "--steps", 2, "--out", tmp_path / "i.png")
    assert "3 images from 7 of classes part0, part3" in _output("interpolate", file, 7, *words)
    latents = sample_latents(load_generator(file), 8, 0)[[7, 7, 7]]
    half = [0.5, 0.0, 0.0, 0.5]
    expected = _expected(file, latents, [A, half, B])
    assert np.abs(_tiles(tmp_path / "i.png")[0] - expected.astype(int)).max() <= 1


def test_samples_and_classes_change_together_or_the_class_stays(file: Path, tmp_path: Path) -> None:
    latents = sample_latents(load_generator(file), 8, 0)
    for given, weights in (("part0,part3", [A, B]), ("part3", [B, B])):
        words = ("--class", given, "--steps", 2, "--out", tmp_path / "i.png")
        _output("interpolate", file, 3, 7, *words)
        ends = _tiles(tmp_path / "i.png")[0, [0, -1]]
        assert np.abs(ends - _expected(file, latents[[3, 7]], weights).astype(int)).max() <= 1
    default = _output("interpolate", file, 3, 7, "--out", tmp_path / "i.png")
    assert "class part0, the first of 4" in default


def test_a_walk_visits_classes_at_a_fixed_latent(file: Path, tmp_path: Path) -> None:
    fixed = ("--n", 1, "--class", "part0,part1,part3", "--steps", 2, "--out", tmp_path / "w.gif")
    assert "6 frames through 1 sample of classes part0" in _output("walk", file, *fixed)
    moving = ("--n", 3, "--steps", 2, "--tiles", 2, "--out", tmp_path / "w.gif")
    assert "6 frames through 3 samples of class part0" in _output("walk", file, *moving)


def test_corners_and_rows_have_their_classes(file: Path, tmp_path: Path) -> None:
    corners = ("--class", "part0,part3,part3,part0", "--rows", 3, "--columns", 3)
    _output("grid", file, "--corners", "0,1,2,3", *corners, "--out", tmp_path / "g.png")
    latents = sample_latents(load_generator(file), 4, 0)
    tiles = _tiles(tmp_path / "g.png")
    seen = np.stack([tiles[0, 0], tiles[0, 2], tiles[2, 0], tiles[2, 2]])
    assert np.abs(seen - _expected(file, latents, [A, B, B, A]).astype(int)).max() <= 1
    rows = ("--class", "part0,part3", "--rows", 2, "--columns", 3)
    words = ("--direction", "part=part3", *rows, "--out", tmp_path / "d.png")
    _output("grid", file, *words)
    middle = _tiles(tmp_path / "d.png")[:, 1]
    assert np.abs(middle - _expected(file, latents[:2], [A, B]).astype(int)).max() <= 1


def test_a_sum_is_of_one_class(file: Path, tmp_path: Path) -> None:
    words = ("3 - 7", "--class", "part3", "--out", tmp_path / "sum.png")
    assert "3 - 7 of class part3" in _output("arithmetic", file, *words)
    latents = sample_latents(load_generator(file), 8, 0)[[3, 7]]
    shown = _tiles(tmp_path / "sum.png")[0, :2]
    assert np.abs(shown - _expected(file, latents, [B, B]).astype(int)).max() <= 1


def test_project_and_nearest_name_the_classes(file: Path, tmp_path: Path) -> None:
    Image.new("L", (32, 32), 200).save(tmp_path / "target.png")
    options = ("--steps", 2, "--out", tmp_path / "p.png")
    target = tmp_path / "target.png"
    assert "class part3, differs by" in _output(
        "project", file, target, "--class", "part3", *options
    )
    assert "png: class " in _output("project", file, target, *options)
    output = _output("nearest", file, 3, 7, "--class", "part1", "--out", tmp_path / "n.png")
    assert "sample 7 of class part1: square-" in output
    assert "sample 7 of class " in _output("nearest", file, 7, "--out", tmp_path / "n.png")


def test_export_lists_the_classes(conditional_run: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    output = _output("export", conditional_run, "--out", tmp_path / "g.onnx")
    assert "weights: part0, part1, part2, part3, part4" in output
    assert "latents (N, 8) and classes (N, 5)" in output


# For each command with --class: the words of a call.
WORDS = {
    "sample": "RUN --out s.png",
    "interpolate": "RUN 3 7 --out i.png",
    "walk": "RUN --out w.webp",
    "arithmetic": "RUN 3-7 --out a.png",
    "grid": "RUN --corners 0,1,2,3 --out g.png",
    "project": "RUN target.png --out p.png",
    "nearest": "RUN 3 --out n.png",
    "play": "RUN --export page",
}


@pytest.mark.parametrize("command", WORDS)
def test_an_unknown_class_is_one_error_that_lists_the_known_ones(
    command: str, conditional_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("L", (32, 32), 200).save("target.png")
    words = [str(conditional_run) if word == "RUN" else word for word in WORDS[command].split()]
    known = r"^--class 'part7': unknown; expected one of: part0, part1, part2, part3, part4\.$"
    with pytest.raises(UserError, match=known):
        _output(command, *words, "--class", "part0,part7")
    assert [path.name for path in tmp_path.iterdir()] == ["target.png"]


def test_a_generator_without_classes_has_none_to_choose(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gantrain.models.networks import build_networks

    config = small_config(shards, tmp_path / "run")
    export_generator(build_networks(config)[0].eval(), config, 0)
    Image.new("L", (32, 32), 200).save(tmp_path / "target.png")
    monkeypatch.chdir(tmp_path)
    for command, words in WORDS.items():
        given = [str(tmp_path / "run") if word == "RUN" else word for word in words.split()]
        with pytest.raises(UserError, match=r"^--class: .* was trained without classes"):
            _output(command, *given, "--class", "part0")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["interpolate", "RUN", "3"], "several classes, as in: RUN 3 --class A,B"),
        (["interpolate", "RUN", "1", "2", "3", "--class", "part0,part1"], "2 classes for 3"),
        (["walk", "RUN", "--n", "1"], "expected at least 2 samples"),
        (["grid", "RUN", "--corners", "0,1,2,3", "--class", "part0,part1"], "one or four"),
        (["arithmetic", "RUN", "3", "--class", "part0,part1"], "2 classes; expected one"),
        (["play", "RUN", "--class", "part0,part1"], "2 classes; expected one"),
    ],
)
def test_numbers_of_classes_that_do_not_fit_are_rejected(
    conditional_run: Path, words: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        _output(*(conditional_run if word == "RUN" else word for word in words))


def test_every_command_of_one_generator_can_choose_a_class() -> None:
    chosen = {
        command.name or command.callback.__name__  # type: ignore[union-attr]
        for command in app.registered_commands
        if "classes" in (command.callback.__annotations__ if command.callback else {})
    }
    assert chosen == set(WORDS)
    ones = {name for name, paths in commands() if "run" in paths}
    assert ones - chosen == {"report", "export", "show"}  # of which the result has all classes
