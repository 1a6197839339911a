"""Commands that generate images from a run: sample, interpolate, walk, arithmetic, grid, …"""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from gantrain.cli.main import app
from gantrain.common.errors import UserError
from gantrain.inference.export import load_generator
from tests.conftest import small_tree
from tests.launching import write_config

TILE = 32 + 2  # pixels, with the gap


@pytest.fixture(scope="module")
def run(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from gantrain.train import main

    folder = tmp_path_factory.mktemp("latents")
    path = write_config(folder / "c.yaml", small_tree(shards, folder / "run"))
    assert main(["--config", str(path)]) == 0
    return folder / "run"


def _invoke(*words: object) -> Result:
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def _output(*words: object) -> str:
    result = _invoke(*words)
    assert result.exit_code == 0, result.output
    return result.output


def _size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def test_samples_are_tiled(run: Path, tmp_path: Path) -> None:
    _output("sample", run, "--n", 5, "--out", tmp_path / "s.png")
    assert _size(tmp_path / "s.png") == (3 * TILE - 2, 2 * TILE - 2)


def test_an_interpolation_is_a_row_or_an_animation(run: Path, tmp_path: Path) -> None:
    _output("interpolate", run, 3, 7, "--steps", 4, "--out", tmp_path / "i.png")
    assert _size(tmp_path / "i.png") == (5 * TILE - 2, 32)
    _output("interpolate", run, 3, 7, "--steps", 4, "--out", tmp_path / "i.gif")
    assert Image.open(tmp_path / "i.gif").format == "GIF"


def test_walks_are_animated_side_by_side(run: Path, tmp_path: Path) -> None:
    _output("walk", run, "--n", 3, "--steps", 4, "--tiles", 2, "--out", tmp_path / "walk.webp")
    walk = Image.open(tmp_path / "walk.webp")
    assert walk.size == (2 * TILE - 2, 2 * TILE - 2)
    # WebP may merge similar frames.
    assert 1 < getattr(walk, "n_frames", 1) <= 12


def test_arithmetic_shows_samples_and_result(run: Path, tmp_path: Path) -> None:
    _output("arithmetic", run, "3 - 7 + 1", "--out", tmp_path / "sum.png")
    assert _size(tmp_path / "sum.png") == (4 * TILE - 2, 32)


def test_a_grid_fills_the_square_between_four_samples(run: Path, tmp_path: Path) -> None:
    shape = ("--rows", 3, "--columns", 4)
    _output("grid", run, "--corners", "0,1,2,3", *shape, "--out", tmp_path / "g.png")
    assert _size(tmp_path / "g.png") == (4 * TILE - 2, 3 * TILE - 2)


def test_project_prints_its_error_and_saves_latents(run: Path, tmp_path: Path) -> None:
    Image.new("RGB", (50, 40), (200, 200, 200)).save(tmp_path / "target.png")
    latents = tmp_path / "z.npy"
    options = ("--steps", 5, "--out", tmp_path / "p.png", "--latents", latents)
    assert "grey levels" in _output("project", run, tmp_path / "target.png", *options)
    assert np.load(latents).shape == (1, load_generator(run).latent_size)
    shape = ("--fit", "pad", "--background", "white")
    padded = _output("project", run, tmp_path / "target.png", *shape, *options)
    assert "grey levels" in padded
    with pytest.raises(UserError, match=r"0\.002 megapixels, more than the limit of 0\.001"):
        _output("project", run, tmp_path / "target.png", "--max-megapixels", 0.001, *options)


@pytest.mark.usefixtures("short_classifier_training")
@pytest.mark.parametrize("by", ["pixels", "features"])
def test_nearest_shows_a_row_per_sample(run: Path, tmp_path: Path, by: str) -> None:
    options = ("--k", 3, "--by", by, "--out", tmp_path / "n.png")
    output = _output("nearest", run, 3, 7, *options)
    assert "sample 7: square-" in output
    assert "searched 200 training images" in output
    assert _size(tmp_path / "n.png") == (4 * TILE - 2, 2 * TILE - 2)


def test_export_writes_a_verified_onnx_file(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    output = _output("export", run / "generator.safetensors", "--out", tmp_path / "g.onnx")
    assert "differs from PyTorch by at most" in output
    assert (tmp_path / "g.onnx").stat().st_size > 1000


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sample", "RUN", "--out", "s.jpg"], r"--out is 's\.jpg'; expected .*\.png"),
        (["interpolate", "RUN", "3"], "two or more"),
        (["interpolate", "RUN", "3", "-7"], None),
        (["interpolate", "RUN", "3", "7", "--how", "spline"], None),
        (["walk", "RUN", "--out", "walk.mp4"], r"\.gif, \.webp"),
        (["grid", "RUN"], "either --direction"),
        (["grid", "RUN", "--corners", "1,2"], "four samples"),
        (["grid", "RUN", "--corners", "a,b"], "four samples"),
        (["project", "RUN", "missing.png"], r"missing\.png: not readable as an image"),
        (["nearest", "RUN", "--shards", "elsewhere"], "elsewhere"),
        (["nearest", "RUN", "--by", "colour"], None),
    ],
)
def test_invalid_arguments_are_rejected(run: Path, words: list[str], message: str | None) -> None:
    arguments = [run if word == "RUN" else word for word in words]
    if message is None:  # by the parser of the command line
        assert _invoke(*arguments).exit_code == 2
        return
    with pytest.raises(UserError, match=message):
        _invoke(*arguments)
