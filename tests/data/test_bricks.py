"""Rendered images: content, reproducibility and invalid arguments."""

import io
import itertools
import math
import multiprocessing
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from gantrain.common.errors import UserError
from gantrain.data.bricks.choosing import choose_parts
from gantrain.data.bricks.geometry import box
from gantrain.data.bricks.kaggle import KAGGLE
from gantrain.data.bricks.parts import PARTS, find_part
from gantrain.data.bricks.render import CAMERAS, SWAY, render_samples, sample_count
from gantrain.data.bricks.tracing import MARGIN, direction, load_flat_scene, load_scene, trace
from gantrain.data.ldraw.colours import COLOURS, choose_colours
from gantrain.data.ldraw.library import Library
from gantrain.data.ldraw.meshes import part_mesh
from gantrain.data.shards.samples import Sample
from tests.ldraw import CUBE, library_folder, write_library

FLOOR = round(255 * 0.8 ** (1 / 2.2))
TILE = (8.0, 8.0, 3.2)


def _pixels(sample: Sample) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(sample.image)))


def _rotation(degrees: float) -> NDArray[np.float64]:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def _covered(number: str, yaw: float, camera: NDArray[np.float64], size: int) -> NDArray[np.bool_]:
    """Return the pixels that change with the part's reflectance."""
    image = trace(load_scene(find_part(number).build()), _rotation(yaw), camera, size, (0.0, 1.0))
    return np.asarray(image[..., 0] != image[..., 1])


def test_every_part_view_and_camera_is_rendered_once_with_its_label() -> None:
    samples = list(render_samples(size=16, parts=["3001", "4589"], views=3, workers=1))
    assert len(samples) == sample_count(["3001", "4589"], 3) == 2 * 3 * 2
    assert {sample.key for sample in samples} == {
        f"{part}-{camera}-{view:04d}"
        for part in ("3001", "4589")
        for camera in "LR"
        for view in range(3)
    }
    for sample in samples:
        part, camera, view = sample.key.split("-")
        assert sample.label["part"] == part
        assert sample.label["name"] == {"3001": "Brick 2 x 4", "4589": "Cone 1 x 1"}[part]
        assert (sample.label["camera"], sample.label["view"]) == (camera, int(view))


def test_the_full_set_has_the_size_of_the_kaggle_set() -> None:
    assert sample_count(None, 400) == 40_000


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
@pytest.mark.parametrize("size", [16, 40, 80])
def test_images_are_pngs_of_the_requested_size(channels: int, mode: str, size: int) -> None:
    sample = next(render_samples(size=size, channels=channels, parts=["3005"], workers=1))
    with Image.open(io.BytesIO(sample.image)) as image:
        assert (image.format, image.mode, image.size) == ("PNG", mode, (size, size))


def test_the_number_of_processes_does_not_change_the_output() -> None:
    def render(workers: int) -> list[Sample]:
        return list(render_samples(parts=["3062", "3701"], views=50, seed=5, workers=workers))

    assert render(1) == render(2)


def test_an_image_does_not_depend_on_the_other_parts() -> None:
    alone = {sample.key: sample for sample in render_samples(parts=["3040b"], views=3, workers=1)}
    together = render_samples(parts=["3001", "3040b"], views=3, workers=1)
    assert {s.key: s for s in together if s.label["part"] == "3040b"} == alone


def test_a_different_seed_changes_order_and_angles() -> None:
    def render(seed: int) -> list[Sample]:
        return list(render_samples(size=16, parts=["3040b"], views=12, seed=seed, workers=1))

    first, second = render(0), render(1)
    assert [s.key for s in first] != [s.key for s in second]
    by_key = {sample.key: sample.image for sample in second}
    assert all(sample.image != by_key[sample.key] for sample in first)


def test_views_are_evenly_spaced_over_whole_turns() -> None:
    samples = render_samples(size=16, parts=["3024"], views=40, workers=1)
    yaw = {int(s.label["view"]): float(s.label["yaw"]) for s in samples}
    steps = [(yaw[(view + 1) % 40] - yaw[view]) % 360.0 for view in range(40)]
    assert steps == pytest.approx([steps[0]] * 40, abs=0.01)  # wraps around
    assert steps[0] * 40 % 360.0 == pytest.approx(0.0, abs=0.1)


def test_a_tenth_of_the_images_of_each_part_is_held_out_at_random() -> None:
    def held_out(seed: int) -> set[str]:
        samples = render_samples(size=16, parts=["3024", "3005"], views=60, seed=seed, workers=1)
        return {s.key for s in samples if s.label["split"] == "validation"}

    keys = held_out(0)
    assert Counter(key.split("-")[0] for key in keys) == {"3024": 12, "3005": 12}
    assert held_out(1) != keys
    views = {part: {int(k[-4:]) for k in keys if k.startswith(part)} for part in ("3024", "3005")}
    assert views["3024"] != views["3005"]
    assert max(views["3024"]) - min(views["3024"]) > 30  # not one sector


def test_the_order_mixes_parts_and_views() -> None:
    stream = render_samples(size=16, views=8, workers=1)
    some = [next(stream) for _ in range(200)]
    assert len({sample.label["part"] for sample in some}) > 40
    assert len({sample.label["view"] for sample in some}) == 8


@pytest.mark.parametrize(("part", "tip"), [("6141", 120), ("4589", 0), ("3003", 0)])
def test_no_two_images_of_a_symmetric_part_are_identical(part: str, tip: float) -> None:
    samples = list(render_samples(parts=[part], views=40, tip=tip, workers=1))
    assert len({sample.image for sample in samples}) == 80


def test_cameras_stay_near_their_places() -> None:
    labels = [s.label for s in render_samples(size=16, parts=["3005"], views=40, workers=1)]
    for camera, place in CAMERAS.items():
        for name, middle, sway in zip(("azimuth", "elevation"), place, SWAY, strict=True):
            values = [float(label[name]) for label in labels if label["camera"] == camera]
            assert sway / 2 < max(values) - middle <= sway
            assert -sway <= min(values) - middle < -sway / 2


@pytest.mark.parametrize("yaw", [0.0, 30.0, 77.0])
@pytest.mark.parametrize("camera", [direction(-45.0, 25.0), direction(45.0, 38.0)])
def test_a_tile_covers_the_projection_of_its_box(yaw: float, camera: NDArray[np.float64]) -> None:
    size = 256
    x, y, z = np.abs(_rotation(yaw).T @ camera)
    a, b, c = TILE
    area = b * c * x + a * c * y + a * b * z
    frame = math.hypot(*TILE) * MARGIN
    covered = _covered("3070a", yaw, camera, size)
    # Border pixels count in full, which adds half the outline's length in pixels.
    assert covered.mean() == pytest.approx(area / frame**2, rel=0.03)
    rows, columns = np.nonzero(covered)
    middle = (size - 1) / 2
    assert (rows.min() + rows.max()) / 2 == pytest.approx(middle, abs=1.5)
    assert (columns.min() + columns.max()) / 2 == pytest.approx(middle, abs=1.5)


def test_level_faces_and_the_open_floor_have_the_expected_brightness() -> None:
    scene = load_scene(find_part("3070a").build())
    image = trace(scene, _rotation(0.0), direction(-45.0, 38.0), 64, (0.3,))[..., 0]
    assert image[30:34, 30:34] == pytest.approx(255 * 0.3 ** (1 / 2.2), abs=1.0)
    assert image.max() == pytest.approx(FLOOR, abs=1)


def test_a_part_casts_a_soft_shadow_away_from_the_window() -> None:
    camera = direction(0.0, 38.0)
    scene = load_scene(find_part("3005").build())
    image = trace(scene, _rotation(0.0), camera, 64, (0.0, 1.0))
    floor = np.where(image[..., 0] == image[..., 1], image[..., 0], 255)
    assert floor[:32].min() < 0.7 * FLOOR  # behind the part; the window is in front
    assert len(np.unique(floor)) > 30  # no hard edge
    assert floor[-1, 0] > 0.95 * FLOOR


@pytest.mark.parametrize(("azimuth", "side"), [(-45.0, -4.0), (45.0, 4.0)])
def test_top_front_and_side_differ_in_brightness(azimuth: float, side: float) -> None:
    camera, size = direction(azimuth, 35.0), 96
    scene = load_scene(find_part("3070a").build())
    image = trace(scene, _rotation(0.0), camera, size, (0.3,))[..., 0].astype(int)
    right = np.cross((0.0, 0.0, 1.0), camera)
    right /= np.linalg.norm(right)
    up = np.cross(camera, right)

    def seen(x: float, y: float, z: float) -> int:
        point = np.array([x, y, z - TILE[2] / 2]) * size / (math.hypot(*TILE) * MARGIN)
        row, column = size / 2 - float(point @ up), size / 2 + float(point @ right)
        return int(image[round(row), round(column)])

    top, front, flank = seen(0.0, 0.0, 3.2), seen(0.0, -4.0, 1.8), seen(side, 0.0, 1.8)
    assert top > front + 12
    assert front > flank + 12  # the window is in front
    assert top < FLOOR - 60


@pytest.mark.parametrize("number", [part.number for part in PARTS])
def test_a_part_stays_in_the_frame_and_is_not_too_small(number: str) -> None:
    fractions = []
    for yaw in (0.0, 50.0):
        covered = _covered(number, yaw, direction(-45.0, 38.0), 32)
        border = np.concatenate([covered[0], covered[-1], covered[:, 0], covered[:, -1]])
        assert not border.any()
        fractions.append(covered.mean())
    assert max(fractions) > 0.08


def test_parts_differ_in_hue_in_rgb_images() -> None:
    samples = list(render_samples(channels=3, size=32, parts=["3001", "3002"], views=1, workers=1))
    for sample in samples:
        red, _, blue = _pixels(sample)[16, 16].astype(int)
        assert (red > blue + 30) if sample.label["part"] == "3001" else (blue > red + 30)


def test_the_first_sample_of_a_large_set_is_immediate() -> None:
    stream = render_samples(size=16, views=10_000, workers=1)
    assert _pixels(next(stream)).shape == (16, 16)


@pytest.fixture
def stream_of_two() -> Iterator[Iterator[Sample]]:
    stream = render_samples(views=400, workers=2)
    next(stream)
    yield stream
    stream.close()  # type: ignore[attr-defined]


def test_a_killed_worker_is_an_error_and_does_not_hang(stream_of_two: Iterator[Sample]) -> None:
    child = multiprocessing.active_children()[0]
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    with pytest.raises(UserError, match="process"):
        list(stream_of_two)


def test_closing_the_iterator_early_ends_its_workers(stream_of_two: Iterator[Sample]) -> None:
    stream_of_two.close()  # type: ignore[attr-defined]
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 60}, "size is 60; expected a multiple of 8, such as 56"),
        ({"size": 0}, "size is 0; expected 16 to 1024"),
        ({"size": 2048}, "size is 2048; expected 16 to 1024"),
        ({"channels": 2}, "channels is 2; expected 1"),
        ({"views": 0}, "views is 0; expected 1 to 10000"),
        ({"workers": 0}, "workers is 0; expected 1"),
        ({"parts": ["3oo1"]}, "Unknown part '3oo1'; the closest is 3001"),
        ({"parts": ["3001", "3003", "3001"]}, "contains 3001 more than once"),
        ({"parts": []}, "parts is empty"),
    ],
)
def test_invalid_arguments_are_reported_at_once(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        render_samples(**arguments)


def test_a_missing_package_is_reported_with_the_install_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "embreex", None)  # marks it as not importable
    with pytest.raises(UserError, match=r"embreex.*pip install 'gantrain\[render\]'"):
        render_samples()


def test_without_a_tip_parts_stay_upright_and_rotate_once() -> None:
    labels = [s.label for s in render_samples(size=16, parts=["3001"], views=8, tip=0, workers=1)]
    assert {label["tilt"] for label in labels} == {0.0}
    yaws = sorted(float(label["yaw"]) for label in labels if label["camera"] == "L")
    gaps = [after - before for before, after in itertools.pairwise(yaws)]
    assert gaps == pytest.approx([45.0] * 7, abs=1e-2)
    with pytest.raises(UserError, match="tip is 200"):
        render_samples(tip=200)


@pytest.fixture
def cube_library(tmp_path: Path) -> Path:
    plate = "0 Flat\n4 16 -20 0 -20 20 0 -20 20 0 20 -20 0 20\n"
    return write_library(
        tmp_path,
        p__cube=CUBE,
        parts__brick="0 Brick\n1 16 0 -10 0 20 0 0 0 10 0 0 0 40 cube.dat\n",
        parts__flat=plate,
    )


def test_parts_of_a_library_are_rendered_like_solids(cube_library: Path) -> None:
    scene = load_flat_scene(part_mesh(Library(cube_library), "brick"))
    solid = load_scene(box((-8.0, -16.0, 0.0), (8.0, 16.0, 8.0)))
    camera = direction(-45.0, 38.0)
    for yaw in (0.0, 33.0):
        images = [trace(each, _rotation(yaw), camera, 64, (0.3,)) for each in (scene, solid)]
        assert np.abs(images[0].astype(int) - images[1]).max() <= 1
    edges = trace(scene, _rotation(0.0), camera, 64, (0.3,), edges=True).astype(int)
    darker = trace(scene, _rotation(0.0), camera, 64, (0.3,)).astype(int) - edges
    assert darker.min() == 0
    assert (darker > 20).sum() > 10  # the one visible edge


def test_a_flat_part_is_lit_from_both_sides(cube_library: Path) -> None:
    samples = list(
        render_samples(size=16, parts=["flat"], views=10, tip=180, library=cube_library, workers=1)
    )
    assert len(samples) == 20
    assert all((_pixels(sample) < FLOOR - 20).any() for sample in samples)


def test_colours_are_those_asked_for(cube_library: Path) -> None:
    colours = choose_colours("red,blue", COLOURS)
    samples = list(
        render_samples(
            size=32,
            channels=3,
            parts=["brick"],
            views=12,
            tip=0,
            library=cube_library,
            colours=colours,
            background=(255, 230, 0),
            workers=1,
        )
    )
    assert {sample.label["color"] for sample in samples} == {"Red", "Blue"}
    for sample in samples:
        pixels = _pixels(sample).astype(int)
        red, _, blue = pixels[16, 16]
        assert (red > blue + 30) if sample.label["color"] == "Red" else (blue > red + 30)
        assert pixels[0, 0] == pytest.approx([FLOOR, 230 / 255 * FLOOR, 0], abs=6)


def test_the_kaggle_set_needs_a_library_for_some_parts() -> None:
    assert sample_count(None, 400, "kaggle") == 49 * 400 * 2
    with pytest.raises(UserError, match=r"20 parts that gantrain does not model \(2780, .*--ldraw"):
        render_samples(part_set="kaggle")
    with pytest.raises(UserError, match="Edges are drawn on parts of an LDraw library only"):
        render_samples(edges=True)


def test_the_kaggle_set_has_the_numbers_of_its_files() -> None:
    parts = choose_parts(None, "kaggle", library_folder())
    assert {part.key for part in parts} == set(KAGGLE)
    names = {part.key: (part.number, part.name) for part in parts}
    assert names["3062"] == ("3062b", "Brick 1 x 1 Round with Hollow Stud")


@pytest.mark.parametrize("name", ["parts/brick", "p/cube"])
def test_a_damaged_file_of_a_library_is_named(cube_library: Path, name: str) -> None:
    (cube_library / name).with_suffix(".dat").write_text("0 Brick\n3 16 0 0\n")
    with pytest.raises(UserError, match=rf"{name}\.dat, line 2"):
        next(render_samples(size=16, parts=["brick"], library=cube_library, workers=1))
