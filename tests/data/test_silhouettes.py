"""The fifty solids, compared with an LDraw library: numbers, names, and silhouettes."""

from functools import cache

import pytest

from experiments.silhouettes import overlaps
from gantrain.data.bricks import geometry
from gantrain.data.bricks.kaggle import INFERRED, KAGGLE
from gantrain.data.bricks.parts import MOVED, PARTS, Part
from gantrain.data.ldraw.library import Library
from tests.ldraw import library_folder

VIEWS = 12


@cache
def _library() -> Library:
    return Library(library_folder())


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.number)
def test_a_part_is_numbered_and_named_as_in_the_library(part: Part) -> None:
    file = _library().part(part.number)
    assert (file.path.stem, file.title) == (part.number, part.name)


def test_moved_numbers_are_those_of_the_library() -> None:
    for old, new in MOVED.items():
        assert _library().part(old).path.stem == new


def test_the_library_has_the_parts_of_the_kaggle_set() -> None:
    assert len(set(KAGGLE)) == 49
    assert len({_library().part(number).path.stem for number in KAGGLE}) == 49
    assert _library().part(INFERRED[-1]).title == "Technic Axle Pin with Friction"


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.number)
def test_a_solid_has_the_silhouettes_of_the_library(part: Part) -> None:
    ious = overlaps(part, _library(), VIEWS)
    assert ious.mean() >= 0.97
    assert ious.min() >= 0.95


@pytest.mark.parametrize("number", ["4150", "3062b", "4032a", "4589", "3942b", "32316", "3713"])
def test_round_parts_differ_only_by_the_sides_of_circles(
    number: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(geometry, "SEGMENTS", 16)  # as the library has them
    part = next(part for part in PARTS if part.number == number)
    assert overlaps(part, _library(), VIEWS).min() >= 0.99
