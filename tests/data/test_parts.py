"""Geometry of the parts, compared with closed forms and with trimesh."""

import itertools
from math import pi

import numpy as np
import pytest
import trimesh

from gantrain.common.errors import UserError
from gantrain.data.bricks.geometry import Solid, shaded_mesh
from gantrain.data.bricks.parts import MOVED, PARTS, Part, find_part

STUD = pi * 2.4**2 * 1.6
TUBE = pi * (3.2**2 - 2.4**2)


def _solid(number: str) -> Solid:
    return find_part(number).build()


def test_there_are_fifty_parts_with_unique_numbers_and_names() -> None:
    assert len({part.number for part in PARTS}) == len({part.name for part in PARTS}) == 50


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.number)
def test_a_part_is_one_watertight_body_resting_on_the_ground(part: Part) -> None:
    solid = part.build()
    raw = solid.to_mesh()
    mesh = trimesh.Trimesh(raw.vert_properties[:, :3], raw.tri_verts)
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert mesh.body_count == 1
    assert mesh.volume == pytest.approx(solid.volume(), rel=1e-3)
    assert mesh.volume > 50
    assert mesh.bounds[0][2] == pytest.approx(0.0, abs=1e-4)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.number)
def test_shading_normals_are_outward_unit_vectors(part: Part) -> None:
    mesh = shaded_mesh(part.build())
    a, b, c = (mesh.vertices[mesh.faces[:, corner]].astype(float) for corner in range(3))
    across = np.cross(b - a, c - a)
    large = (across**2).sum(axis=1) > 1e-4  # the direction of a sliver is not meaningful
    for corner in range(3):
        normals = mesh.normals[mesh.faces[:, corner]].astype(float)
        assert (normals**2).sum(axis=1) == pytest.approx(1.0, abs=1e-3)
        assert ((normals * across).sum(axis=1)[large] > 0).all()


def test_no_two_parts_have_the_same_shape() -> None:
    def shape(part: Part) -> tuple[float, ...]:
        solid = part.build()
        measures = (solid.volume(), solid.surface_area(), *solid.bounding_box())
        return tuple(round(value, 1) for value in measures)

    shapes = {part.number: shape(part) for part in PARTS}
    equal = [
        pair for pair in itertools.combinations(shapes, 2) if shapes[pair[0]] == shapes[pair[1]]
    ]
    assert equal == [("41769", "41770")]  # mirror images


def test_the_left_wing_is_the_mirror_image_of_the_right() -> None:
    right, left = _solid("41769"), _solid("41770")
    assert (right.mirror((1, 0, 0)) - left).volume() == pytest.approx(0.0, abs=0.01)
    assert (right - left).volume() > 100


@pytest.mark.parametrize(
    ("number", "size"),
    [
        ("3001", (32, 16, 11.2)),
        ("3024", (8, 8, 4.8)),
        ("3069b", (16, 8, 3.2)),
        ("3298", (16, 24, 11.2)),
        ("54200", (8, 8, 6.24)),
        ("3942b", (16, 16, 20.8)),
        ("3659", (32, 8, 11.2)),
        ("32316", (7.2, 39.2, 8)),
        ("32140", (15.2, 31.2, 8)),
        ("3705", (32, 4.8, 4.8)),
        ("87087", (8, 8 + 1.6, 11.2)),
    ],
)
def test_bounding_box(number: str, size: tuple[float, float, float]) -> None:
    box = _solid(number).bounding_box()
    # Circles are polygons of 48 sides, with corners on the circle.
    assert [b - a for a, b in zip(box[:3], box[3:], strict=True)] == pytest.approx(size, abs=0.01)


@pytest.mark.parametrize(
    ("number", "volume"),
    [
        # outer box - cavity + studs + tubes (or posts) under a roof of 1.6 mm
        ("3001", 32 * 16 * 9.6 - 28.8 * 12.8 * 8 + 8 * STUD + 3 * TUBE * 8),
        ("3003", 16 * 16 * 9.6 - 12.8 * 12.8 * 8 + 4 * STUD + TUBE * 8),
        ("3005", 8 * 8 * 9.6 - 4.8 * 4.8 * 8 + STUD),
        ("3010", 32 * 8 * 9.6 - 28.8 * 4.8 * 8 + 4 * STUD + 3 * pi * 1.6**2 * 8),
        ("3022", 16 * 16 * 3.2 - 12.8 * 12.8 * 1.6 + 4 * STUD + TUBE * 1.6),
        ("3794a", 16 * 8 * 3.2 - 12.8 * 4.8 * 1.6 + STUD + pi * 1.6**2 * 1.6),
        ("3070a", 8 * 8 * 3.2 - 4.8 * 4.8 * 1.6),
        # the foot of a tile is 0.4 mm narrower on each side and 0.4 mm high
        (
            "3069b",
            16 * 8 * 3.2 - 12.8 * 4.8 * 1.6 + pi * 1.6**2 * 1.6 - (16 * 8 - 15.2 * 7.2) * 0.4,
        ),
        # a corner has three cells: two bars that overlap in one
        (
            "2420",
            (16 * 8 + 8 * 8) * 3.2
            - (12.8 * 4.8 + 4.8 * 8) * 1.6
            + 3 * STUD
            + 2 * pi * 1.6**2 * 1.6,
        ),
        # a bar with round ends, minus three bores with two wider rims of 0.8 mm each
        ("32523", (16 * 7.2 + pi * 3.6**2) * 8 - 3 * pi * (2.4**2 * 6.4 + 3.2**2 * 1.6)),
        # a cylinder on a neck, hollow below, with a bore through the roof and the stud
        ("3062b", pi * (4**2 * 7.6 + 3.2**2 * 2 - 2.4**2 * 8 + 2.4**2 * 1.6 - 1.6**2 * 3.2)),
    ],
)
def test_volume_matches_its_closed_form(number: str, volume: float) -> None:
    # A polygon of 48 sides has 0.3% less area than its circle.
    assert _solid(number).volume() == pytest.approx(volume, rel=3e-3)


@pytest.mark.parametrize(
    ("number", "height", "count"),
    [
        *(("3001", 9.6, 8), ("3002", 9.6, 6), ("2357", 9.6, 3), ("3794", 3.2, 1)),
        *(("3038", 9.6, 3), ("3298", 9.6, 2), ("3045", 9.6, 1), ("3660", 9.6, 4)),
        *(("3941", 9.6, 4), ("3659", 9.6, 4), ("41769", 3.2, 4), ("3020", 3.2, 8)),
    ],
)
def test_number_of_studs_in_a_cross_section(number: str, height: float, count: int) -> None:
    cut = _solid(number).slice(height + 0.9)
    assert len(cut.decompose()) == count
    # A polygon of 48 sides has 0.3% less area than its circle; round parts cut a little off.
    assert cut.area() == pytest.approx(count * pi * 2.4**2, rel=7e-3)


@pytest.mark.parametrize("number", ["3068b", "3069b", "3070a", "2431", "4150"])
def test_tiles_have_no_studs(number: str) -> None:
    assert _solid(number).slice(3.3).is_empty()


@pytest.mark.parametrize(
    ("number", "holes"),
    [
        *(("3001", 0), ("3700", 1), ("3701", 3), ("32523", 3), ("32316", 5), ("32140", 5)),
        *(("41677", 2), ("3941", 1), ("3713", 3), ("3040b", 0), ("3298", 0), ("3062b", 1)),
    ],
)
def test_number_of_through_holes(number: str, holes: int) -> None:
    raw = _solid(number).to_mesh()
    mesh = trimesh.Trimesh(raw.vert_properties[:, :3], raw.tri_verts)
    assert (2 - mesh.euler_number) // 2 == holes  # the genus of a closed surface


def test_slopes_end_in_a_thin_lip() -> None:
    for number in ("3040b", "3039", "3038", "3298", "54200"):
        solid = _solid(number)
        low = solid.bounding_box()
        front = solid.trim_by_plane((0.0, -1.0, 0.0), -low[1] - 0.01)
        assert front.bounding_box()[5] == pytest.approx(1.6, abs=0.02)


def test_a_number_that_the_library_moved_stands_for_its_new_one() -> None:
    assert find_part("3062").number == find_part("3062b").number == "3062b"
    assert set(MOVED.values()) <= {part.number for part in PARTS}
    assert not set(MOVED) & {part.number for part in PARTS}


def test_an_unknown_part_is_reported_with_the_closest_one() -> None:
    with pytest.raises(UserError, match=r"'30001'.*closest is 3001 \(Brick 2 x 4\)"):
        find_part("30001")
