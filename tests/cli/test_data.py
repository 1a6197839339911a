"""The `gantrain data` commands."""

import os
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from gantrain.cli.data import data_app
from gantrain.common.errors import UserError
from gantrain.data.shards.manifest import read_manifest
from gantrain.data.shards.reader import iterate_shard


def run(*arguments: object) -> Result:
    return CliRunner().invoke(data_app, [str(argument) for argument in arguments])


def stdout_of(result: Result) -> str:
    assert result.exception is None, result.exception
    return result.stdout


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    for part in ("3001 brick 2x4", "3003 brick 2x2"):
        for view in range(3):
            path = folder / "dataset" / f"{part} {view:03d}L.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (20, 20), (90 * view, 0, 200)).save(path)
    (folder / "validation.txt").write_text("3001 brick 2x4 000L.png\nlost.png\n")
    (folder / "dataset" / "[red]bad.png").write_text("text")
    (folder / "dataset" / "read.me").touch()
    return folder


@pytest.fixture
def shards(images: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "set"
    stdout_of(run("import", images, folder, "--size", 32, "--workers", 1, "--images-per-shard", 4))
    return folder


def test_import_reports_every_file(images: Path, tmp_path: Path) -> None:
    text = stdout_of(run("import", images, tmp_path / "set", "--size", 32, "--workers", 1))
    assert "6 images of 32x32 in 1 shard " in text
    assert "splits: train 6, validation 1 (held out, never trained on): 1 image listed in" in text
    assert "1 other files ignored (1 .me)" in text
    assert "1 images could not be read and were skipped" in text
    assert "[red]bad.png" in text
    assert "lost.png" in text


def test_import_passes_on_its_options(images: Path, tmp_path: Path) -> None:
    target = tmp_path / "set"
    options = ("--size", 32, "--channels", 3, "--fit", "pad", "--background", "white")
    stdout_of(run("import", images, target, *options, "--workers", 1))
    manifest = read_manifest(target)
    assert (manifest.size, manifest.channels) == (32, 3)
    assert manifest.source == "images (fit pad, background white)"
    again = run("import", images, target, "--workers", 1)
    assert isinstance(again.exception, UserError)
    stdout_of(run("import", images, target, "--workers", 1, "--overwrite"))
    assert read_manifest(target).size == 64


@pytest.mark.parametrize(("size", "advice"), [(28, 32), (33, 40), (0, 16), (-1, 16), (512, 256)])
@pytest.mark.parametrize("command", ["import", "render"])
def test_a_size_without_networks_is_an_error_at_once(
    images: Path, tmp_path: Path, command: str, size: int, advice: int
) -> None:
    sources = (images,) if command == "import" else ()
    result = run(command, *sources, tmp_path / "set", "--size", size)
    assert isinstance(result.exception, UserError)
    assert str(result.exception).startswith(
        f"size is {size}; the networks train on images of a multiple of 8 from 16 to 256 pixels. "
        f"Use --size {advice}:"
    )
    assert not (tmp_path / "set").exists()


def test_digits_of_28_pixels_are_resized(tmp_path: Path) -> None:
    for digit in "01":
        (tmp_path / "in" / digit).mkdir(parents=True)
        Image.new("L", (28, 28), 255).save(tmp_path / "in" / digit / "1.png")
    options = ("--size", 32, "--workers", 1)
    text = stdout_of(run("import", tmp_path / "in", tmp_path / "set", *options))
    assert "classes: 2 by path (the images are in 2 class folders" in text
    assert "2 images of 32x32" in text


def test_import_prints_classes_and_splits_before_it_reads(tmp_path: Path) -> None:
    for name in ("data/Train/a[b]/1.png", "data/Train/dog/1.png", "data/Test/dog/2.png"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (28, 28), 255).save(path)
    options = (tmp_path / "in", tmp_path / "set", "--size", 32, "--workers", 1)
    text = stdout_of(run("import", *options))
    assert text.splitlines()[:3] == [
        "source: folder of image files",
        "classes: 2 by path (the images are in 2 class folders; data/, which is around all, is "
        "left out; change with --classes): a[b] 1, dog 2",
        "splits: train 2, validation 1 (held out, never trained on): Test/ 1 for validation, "
        "Train/ 2 for train (change with --splits)",
    ]
    everything = ("--splits", "train=train,test=train", "--classes", "none", "--overwrite")
    text = stdout_of(run("import", *options, *everything))
    assert "\nclasses: none (as --classes none states; change with --classes)\n" in text
    assert "splits: train 3, validation 0: Test/ 1 for train" in text
    manifest = read_manifest(tmp_path / "set")
    assert manifest.splits == {"train": 3, "validation": 0}
    assert manifest.classes == {}
    for wrong in ("test", "test=maybe", "=train"):
        assert "seg_train=train" in str(run("import", *options, "--splits", wrong).exception)
    assert run("import", *options, "--classes", "words").exit_code == 2


def test_import_strict_is_a_user_error(images: Path, tmp_path: Path) -> None:
    result = run("import", images, tmp_path / "set", "--strict", "--workers", 1)
    assert isinstance(result.exception, UserError)
    assert "bad" in str(result.exception)


def test_verify_prints_ok_and_exits_with_0(shards: Path) -> None:
    assert "OK: 6 images in 2 shards" in stdout_of(run("verify", shards))


def test_verify_lists_problems_and_exits_with_1(shards: Path) -> None:
    os.truncate(shards / "shard-000000.tar", 700)
    (shards / "shard-000001.tar").unlink()
    result = run("verify", shards, "--workers", 1)
    assert result.exit_code == 1
    assert "shard-000000.tar: cut short" in result.stdout
    assert "shard-000001.tar: in the manifest, but not readable" in result.stdout
    assert "2 problems" in result.stdout


@pytest.mark.parametrize("command", ["verify", "show"])
def test_a_missing_set_is_a_user_error(command: str, tmp_path: Path) -> None:
    result = run(command, tmp_path)
    assert isinstance(result.exception, UserError)


def test_show_prints_counts_and_classes(shards: Path) -> None:
    text = stdout_of(run("show", shards))
    for words in ("6 of 32x32, grey", "train 5, validation 1", "2 classes", "brick 2x4", "3003"):
        assert words in text
    assert read_manifest(shards).identity in text


@pytest.mark.parametrize("channels", [1, 3])
def test_show_tiles_images_of_each_class(images: Path, tmp_path: Path, channels: int) -> None:
    options = ("--size", 32, "--channels", channels, "--workers", 1)
    stdout_of(run("import", images, tmp_path / "set", *options))
    grid = tmp_path / "grid.png"
    assert "6 images in" in stdout_of(run("show", tmp_path / "set", "--grid", grid))
    with Image.open(grid) as image:
        assert image.size == (96, 64)
        assert image.mode == ("L" if channels == 1 else "RGB")
        assert len(image.getcolors() or []) == 3
    result = run("show", tmp_path / "set", "--grid", tmp_path / "grid.nothing")
    assert isinstance(result.exception, UserError)
    assert "grid.nothing" in str(result.exception)


def test_render_passes_on_its_options(tmp_path: Path) -> None:
    target = tmp_path / "set"
    parts = ("--parts", "3001,3003", "--parts", "3005, 3001")
    options = ("--size", 32, "--views", 3, "--seed", 7, "--tip", 0, "--images-per-shard", 10)
    text = stdout_of(run("render", target, *parts, *options, "--workers", 1))
    assert "18 images of 32x32 in 2 shards" in text
    manifest = read_manifest(target)
    assert manifest.source == "rendered bricks (views 3, seed 7, tip 0)"
    assert sorted(manifest.classes) == ["3001", "3003", "3005"]
    keys = {s.key for entry in manifest.shards for s in iterate_shard(target, manifest, entry)}
    assert keys == {
        f"{part}-{camera}-000{view}"
        for part in ("3001", "3003", "3005")
        for camera in "LR"
        for view in range(3)
    }
    assert isinstance(run("render", target, "--parts", ",").exception, UserError)
    assert isinstance(run("render", target, "--parts", "3001").exception, UserError)
    stdout_of(run("render", target, "--parts", "3005", *options, "--workers", 1, "--overwrite"))
    assert read_manifest(target).count == 6
    assert stdout_of(run("verify", target)).startswith("OK")
