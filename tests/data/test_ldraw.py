"""The reader of LDraw libraries, compared with closed forms and with trimesh."""

import math
import os
from pathlib import Path

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gantrain.common.errors import UserError
from gantrain.data.ldraw.colours import COLOURS, choose_colours, read_colours
from gantrain.data.ldraw.library import MAX_DEPTH, Library, Triangles
from gantrain.data.ldraw.lines import MAX_LINES, read_file
from gantrain.data.ldraw.meshes import part_mesh
from tests.ldraw import CUBE, library_folder, write_library

IDENTITY = "0 0 0 1 0 0 0 1 0 0 0 1"


def _volume(triangles: Triangles) -> float:
    """Return the signed volume of a closed surface: positive if it is wound counter-clockwise."""
    a, b, c = (triangles.corners[:, corner] for corner in range(3))
    return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6)


def _area(triangles: Triangles) -> float:
    a, b, c = (triangles.corners[:, corner] for corner in range(3))
    return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)


def _matrix(values: NDArray[np.float64]) -> str:
    return " ".join(repr(float(value)) for value in values.ravel())


def test_a_cube_has_its_surface_and_volume(tmp_path: Path) -> None:
    cube = Library(write_library(tmp_path, parts__cube=CUBE)).triangles("cube")
    assert cube.corners.shape == (12, 3, 3)
    assert _volume(cube) == pytest.approx(8)
    assert _area(cube) == pytest.approx(24)
    assert cube.oriented.all()
    assert cube.edges.tolist() == [[[-1, -1, -1], [1, -1, -1]]]  # and no conditional line
    mesh = trimesh.Trimesh(cube.corners.reshape(-1, 3), np.arange(36).reshape(-1, 3))
    assert mesh.is_watertight
    assert mesh.is_winding_consistent


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.integers(-3, 3), min_size=18, max_size=18),
    inverted=st.tuples(st.booleans(), st.booleans()),
    clockwise=st.booleans(),
)
def test_nested_references_keep_the_outside(
    tmp_path_factory: pytest.TempPathFactory,
    values: list[int],
    inverted: tuple[bool, bool],
    clockwise: bool,
) -> None:
    """Whatever matrices place a cube, its outside is outside; INVERTNEXT turns it."""
    outer, inner = np.array(values, float).reshape(2, 3, 3)
    turned = CUBE.replace("CCW", "CW") if clockwise else CUBE
    invert = ["0 BFC INVERTNEXT\n" if each else "" for each in inverted]
    root = write_library(
        tmp_path_factory.mktemp("library"),
        p__cube=turned,
        p__middle=f"0 Middle\n0 BFC CERTIFY CW\n{invert[0]}1 16 1 2 3 {_matrix(inner)} CUBE.DAT\n",
        parts__a=f"0 A\n0 BFC CERTIFY CCW\n{invert[1]}1 16 4 0 1 {_matrix(outer)} Middle.dat\n",
    )
    triangles = Library(root).triangles("a")
    expected = abs(float(np.linalg.det(outer @ inner))) * 8
    inside_out = inverted[0] ^ inverted[1] ^ clockwise
    assert _volume(triangles) == pytest.approx(-expected if inside_out else expected, abs=1e-9)
    regular = np.linalg.det(outer) != 0 and np.linalg.det(inner) != 0
    assert triangles.oriented.all() == regular


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(-1e3, 1e3, width=32), min_size=9, max_size=9),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([" ", "\t", "   "]),
)
def test_coordinates_are_read_as_written(
    tmp_path_factory: pytest.TempPathFactory, values: list[float], newline: str, space: str
) -> None:
    path = tmp_path_factory.mktemp("file") / "a.dat"
    line = space.join(["", "3", "0x2FF8800", *(repr(value) for value in values)])
    path.write_bytes(f"\ufeff0  A   part{newline}{newline}{line} {newline}".encode())
    file = read_file(path)
    assert file.title == "A part"
    assert file.triangles.ravel().tolist() == values
    assert file.colours.tolist() == [0x2FF8800]
    assert not file.oriented.any()  # nothing certifies it


def test_a_concave_quadrilateral_is_cut_along_the_diagonal_inside(tmp_path: Path) -> None:
    text = (
        "0 Dart\n0 BFC CERTIFY CCW\n4 16 0 0 0 1 0 1 0 0 4 -1 0 1\n4 16 0 0 0 4 0 4 0 0 1 -4 0 4\n"
    )
    dart = Library(write_library(tmp_path, parts__a=text)).triangles("a")
    areas = np.linalg.norm(
        np.cross(dart.corners[:, 1] - dart.corners[:, 0], dart.corners[:, 2] - dart.corners[:, 0]),
        axis=1,
    )
    assert areas.sum() / 2 == pytest.approx(4 + 4)  # each has half the product of its diagonals


def test_files_are_found_in_the_order_of_the_folders_without_regard_to_case(tmp_path: Path) -> None:
    def triangle(height: int) -> str:
        return f"0 T\n3 16 0 {height} 0 1 {height} 0 0 {height} 1\n"

    names = ("both.dat", "S\\Sub.DAT", "sub.dat", "48\\fine.dat", "fine.dat", "P.dat")
    text = "0 A\n" + "".join(f"1 16 {IDENTITY} {name}\n" for name in names)
    root = write_library(
        tmp_path,
        parts__A=text,
        parts__Both=triangle(1),
        p__both=triangle(9),
        parts__s__sub=triangle(2),
        p__48__FINE=triangle(3),
        p__p=triangle(4),
    )
    (root / "parts").rename(root / "PARTS")
    heights = Library(root).triangles("a").corners[:, 0, 1]
    assert heights.tolist() == [1, 2, 2, 3, 3, 4]


def test_colours_and_culling_are_inherited(tmp_path: Path) -> None:
    root = write_library(
        tmp_path,
        p__t="0 T\n0 BFC CERTIFY CCW\n3 16 0 0 0 1 0 0 0 0 1\n3 4 0 0 0 1 0 0 0 0 1\n",
        parts__a=f"0 A\n0 BFC CERTIFY CCW\n1 1 {IDENTITY} t.dat\n0 BFC NOCLIP\n"
        f"1 16 {IDENTITY} t.dat\n0 BFC CLIP\n1 16 {IDENTITY} t.dat\n",
        parts__b=f"0 B\n0 BFC NOCERTIFY\n1 16 {IDENTITY} t.dat\n",
    )
    library = Library(root)
    assert library.triangles("a").colours.tolist() == [1, 4, 16, 4, 16, 4]
    assert library.triangles("a").oriented.tolist() == [True] * 2 + [False] * 2 + [True] * 2
    assert not library.triangles("b").oriented.any()


def test_a_number_that_moved_stands_for_the_new_one(tmp_path: Path) -> None:
    root = write_library(
        tmp_path,
        parts__1=f"0 ~Moved to 2\n1 16 {IDENTITY} 2.dat\n",
        parts__2=f"0 ~Moved to 3a\n1 16 {IDENTITY} 3a.dat\n",
        parts__3a=CUBE,
        parts__7=f"0 ~Moved to 8\n1 16 {IDENTITY} 8.dat\n",
        parts__8=f"0 ~Moved to 7\n1 16 {IDENTITY} 7.dat\n",
    )
    library = Library(root)
    assert (library.part("1").path.stem, library.part("1").title) == ("3a", "Cube")
    with pytest.raises(UserError, match=r"8\.dat, line 1: moved to 7, which moved in turn"):
        library.part("7")


def test_a_mesh_is_in_millimetres_with_z_up(tmp_path: Path) -> None:
    text = (
        "0 A\n0 BFC CERTIFY CCW\n1 16 0 -24 0 10 0 0 0 24 0 0 0 5 cube.dat\n"
        "3 16 0 0 0 1 1 1 2 2 2\n"
    )
    root = write_library(tmp_path, p__cube=CUBE, parts__a=text)
    mesh = part_mesh(Library(root), "a")
    assert mesh.corners.reshape(-1, 3).min(axis=0) == pytest.approx([-4, -2, 0])
    assert mesh.corners.reshape(-1, 3).max(axis=0) == pytest.approx([4, 2, 19.2])
    assert len(mesh.corners) == 12  # a triangle without area is left out
    centres = mesh.corners.mean(axis=1) - (0, 0, 9.6)
    assert ((mesh.normals * centres).sum(axis=1) > 0).all()  # outward


def _deep(root: Path) -> Path:
    names = {f"p__d{i}": f"0 D\n1 16 {IDENTITY} d{i + 1}.dat\n" for i in range(MAX_DEPTH + 2)}
    return write_library(root, parts__a=f"0 A\n1 16 {IDENTITY} d0.dat\n", **names)


def _many(root: Path) -> Path:
    """Write a part of 10^9 triangles in 3,000 lines."""
    fan = "0 F\n" + "3 16 0 0 0 1 0 0 0 1 0\n" * 1000
    texts = [f"0 F\n{f'1 16 {IDENTITY} {name}.dat{chr(10)}' * 1000}" for name in ("f0", "f1")]
    return write_library(root, p__f0=fan, p__f1=texts[0], parts__a=texts[1])


def _linked(root: Path) -> Path:
    secret = root / "secret.dat"
    write_library(root, parts__a=f"0 A\n1 16 {IDENTITY} link.dat\n")
    secret.write_text(CUBE)
    (root / "p" / "link.dat").symlink_to(secret)
    return root


def _special(root: Path) -> Path:
    write_library(root, parts__a=f"0 A\n1 16 {IDENTITY} pipe.dat\n")
    os.mkfifo(root / "p" / "pipe.dat")
    return root


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 A\n3 16 0 0 0 1 0 nan 0 0 1\n", "a.dat, line 2: 'nan' is no coordinate"),
        ("0 A\n\n2 24 0 0 0 1 0 1e30\n", "a.dat, line 3: '1e30' is no coordinate"),
        ("0 A\n2 24 0 0 0 1 0 x\n", "a.dat, line 2: 'x' is not a number"),
        ("0 A\n3 16 0 0 0 1 0\n", "a.dat, line 2: 6 words follow the 3; expected 10"),
        (
            "0 A\n1 16 0 0 0 1 0 0 0 1 0 0 0 1\n",
            "a.dat, line 2: 13 words follow the 1; expected 14",
        ),
        ("0 A\n6 16\n", "a.dat, line 2: the line type is '6'; expected 0 to 5"),
        ("PK\x03\x04\x00\x1b", r"a.dat, line 1: the line type is 'PK.*; expected 0 to 5"),
        ("0 A\n3 red 0 0 0 1 0 0 0 0 1\n", "a.dat, line 2: 'red' is not a colour code"),
        (f"0 A\n1 16 {IDENTITY} a.dat\n", r"a.dat, line 2: 'a.dat' contains itself"),
        (
            f"0 A\n1 16 {IDENTITY} none.dat\n",
            r"a.dat, line 2: there is no 'none.dat' in .*searched",
        ),
        (f"0 A\n1 16 {IDENTITY} ..\\..\\b.dat\n", r"a.dat, line 2: .* leaves the library"),
        (f"0 A\n1 16 {IDENTITY} /etc/passwd\n", r"a.dat, line 2: .* leaves the library"),
        (f"0 A\n1 16 {IDENTITY} C:\\b.dat\n", r"a.dat, line 2: .* leaves the library"),
        ("0 \n" * (MAX_LINES + 5), f"a.dat, line {MAX_LINES + 1}: more lines than any part has"),
        ("0 A" + "a" * 5000, r"a.dat, line 1: 5003 bytes; expected at most"),
        ("0 A\n2 24 0 0 0 1 1 1\n", "a.dat: the part has no surface"),
        ("", "a.dat: the part has no surface"),
    ],
)
def test_a_hostile_file_is_one_error_that_names_the_line(
    tmp_path: Path, text: str, message: str
) -> None:
    library = Library(write_library(tmp_path, parts__a=text))
    with pytest.raises(UserError, match=message) as caught:
        part_mesh(library, "a")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (_deep, rf"d{MAX_DEPTH - 2}.dat, line 2: {MAX_DEPTH + 1} files within each other"),
        (_many, "a.dat, line 4: more than 2000000 triangles and lines up to here"),
        (_linked, "a.dat, line 2: there is no 'link.dat'"),
        (_special, "a.dat, line 2: there is no 'pipe.dat'"),
    ],
)
def test_a_hostile_library_is_one_error(tmp_path: Path, write: object, message: str) -> None:
    assert callable(write)
    with pytest.raises(UserError, match=message):
        Library(write(tmp_path)).triangles("a")


def test_a_cycle_of_several_files_is_named(tmp_path: Path) -> None:
    root = write_library(
        tmp_path,
        parts__a=f"0 A\n1 16 {IDENTITY} b.dat\n",
        p__b=f"0 B\n1 16 {IDENTITY} c.dat\n",
        p__c=f"0 C\n\n1 16 {IDENTITY} B.dat\n",
    )
    with pytest.raises(UserError, match=r"c.dat, line 3: .*b.dat -> c.dat -> b.dat"):
        Library(root).triangles("a")


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    root = tmp_path_factory.mktemp("library")
    write_library(root, parts__a="")
    (root / "parts" / "a.dat").write_bytes(b"0 A\n" + content)
    error = None
    try:
        Library(root).triangles("a")
    except UserError as raised:
        error = raised
    assert error is None or "a.dat, line " in str(error)


def test_a_folder_that_is_no_library_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not an LDraw library: expected a folder with"):
        Library(tmp_path)
    write_library(tmp_path / "LDraw")
    with pytest.raises(UserError, match=r"Did you mean .*LDraw"):
        Library(tmp_path)
    with pytest.raises(UserError, match="absent: cannot be read"):
        Library(tmp_path / "absent")
    with pytest.raises(UserError, match=r"There is no part 'cub' .*; the closest is cube"):
        Library(write_library(tmp_path, parts__cube=CUBE)).part("cub")


def test_colours_come_from_the_library(tmp_path: Path) -> None:
    assert read_colours(tmp_path) == COLOURS
    (tmp_path / "LDConfig.ldr").write_text(
        "0 LDraw.org Configuration File\n"
        "0 !COLOUR Black CODE 0 VALUE #05131D EDGE #595959\n"
        "0 !COLOUR Trans_Red CODE 36 VALUE #C91A09 EDGE #880000 ALPHA 128\n"
        "0 !COLOUR Main_Colour CODE 16 VALUE #FFFF80 EDGE #333333\n"
    )
    (black,) = read_colours(tmp_path)  # transparent ones and those of the part are left out
    assert (black.code, black.name, black.rgb) == (0, "Black", (5, 19, 29))
    assert choose_colours("Light Bluish Gray, 4,red", COLOURS)[0].code == 71
    assert len(choose_colours("4,red", COLOURS)) == 1
    assert choose_colours("all", COLOURS) == COLOURS
    with pytest.raises(UserError, match="no plain colour 'reed'; the closest is Red"):
        choose_colours("reed", COLOURS)
    with pytest.raises(UserError, match="--colours is ','"):
        choose_colours(",", COLOURS)


@pytest.mark.parametrize(
    ("number", "volume"),
    [
        # A circle is a polygon of 16 sides.
        ("3005", 8 * 8 * 9.6 - 4.8 * 4.8 * 8 + 8 * math.sin(math.pi / 8) * 2.4**2 * 1.6),
        ("3024", 8 * 8 * 3.2 - 4.8 * 4.8 * 1.6 + 8 * math.sin(math.pi / 8) * 2.4**2 * 1.6),
        ("3070", 8 * 8 * 3.2 - 4.8 * 4.8 * 1.6),
        ("3705", (4 * (5.602 - 2) * 2 * 2 + 4 * 4 + 4 * 2 * (6 - 5.602)) * 80 * 0.4**3),
    ],
)
def test_closed_parts_have_the_volume_of_their_closed_form(number: str, volume: float) -> None:
    triangles = Library(library_folder()).triangles(number)
    assert triangles.oriented.all()
    assert _volume(triangles) * 0.4**3 == pytest.approx(volume, rel=2e-4)


@pytest.mark.parametrize(
    ("name", "area"),
    [
        ("4-4cyli", 32 * math.sin(math.pi / 16)),
        ("4-4disc", 8 * math.sin(math.pi / 8)),
        ("4-4ring3", 8 * math.sin(math.pi / 8) * (4**2 - 3**2)),
        ("box5", 12.0),
    ],
)
def test_primitives_have_the_area_of_their_closed_form(
    tmp_path: Path, name: str, area: float
) -> None:
    source = library_folder()
    root = write_library(tmp_path, parts__a=f"0 A\n1 16 {IDENTITY} {name}.dat\n")
    for path in (source / "p").glob("*.dat"):
        (root / "p" / path.name).write_bytes(path.read_bytes())
    assert _area(Library(root).triangles("a")) == pytest.approx(area, rel=1e-4)
