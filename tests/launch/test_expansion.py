"""The points of generated sweep files, compared with a direct expansion of what they say."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gantrain.common.errors import UserError
from launch.plan import plan_sweep
from launch.sweepfile import SweepFile, load_sweep
from tests.launch.conftest import base_tree

# Each key with its values, and how a user may spell them.
VALUES: dict[str, dict[Any, list[str]]] = {
    "generator.learning_rate": {1e-4: ["1e-4", "0.0001", "1.0E-4"], 0.02: ["0.02", "2e-2", ".02"]},
    "discriminator.dropout": {0.0: ["0", "0.0"], 0.5: ["0.5", "5e-1", "+0.50"], 0.25: ["0.25"]},
    "generator.width": {2: ["2"], 4: ["4", "0x4"], 8: ["8", "0o10"]},
    "discriminator.norm": {"none": ["none", '"none"'], "batch": ["batch", "'batch'"]},
    "data.channels": {1: ["1"], 3: ["3"]},
}
DEFAULTS = {
    "generator.learning_rate": 2e-4,
    "discriminator.dropout": 0.0,
    "generator.width": 4,
    "discriminator.norm": "batch",
    "data.channels": 1,
    "seed": 0,
}
Point = dict[str, Any]


@st.composite
def values(draw: st.DrawFn, key: str, most: int = 3) -> list[tuple[Any, str]]:
    chosen = draw(st.lists(st.sampled_from(list(VALUES[key])), min_size=1, max_size=most))
    return [(value, draw(st.sampled_from(VALUES[key][value]))) for value in chosen]


@st.composite
def sweeps(draw: st.DrawFn) -> tuple[str, list[Point]]:
    """A sweep file, and the points that it means, in order."""
    keys = draw(st.permutations(list(VALUES)))
    cut = draw(st.integers(0, 3))
    grid = {key: draw(values(key)) for key in keys[:cut]}
    rows = draw(st.integers(1, 3))
    block = {}
    for key in keys[cut : cut + draw(st.integers(0, 2))]:
        block[key] = [draw(values(key, 1))[0] for _ in range(rows)]
    varied = [*grid, *block]
    seeds = draw(
        st.none() | st.integers(1, 3) | st.lists(st.integers(0, 9), min_size=1, max_size=3)
    )
    rules = []
    for _ in range(draw(st.integers(0, 2)) if varied else 0):
        rule_keys = draw(st.lists(st.sampled_from(varied), min_size=1, max_size=2, unique=True))
        rules.append({key: draw(values(key, 2)) for key in rule_keys})
    extras = [
        {key: draw(values(key, 1))[0] for key in draw(st.sets(st.sampled_from(keys)))}
        for _ in range(draw(st.integers(0, 2)))
    ]
    return _text(grid, block, seeds, rules, extras), _expand(grid, block, seeds, rules, extras)


def _text(grid: Any, block: Any, seeds: Any, rules: Any, extras: Any) -> str:
    def lists(entries: Any) -> str:
        inner = (f"{key}: [{', '.join(text for _, text in v)}]" for key, v in entries.items())
        return f"{{{', '.join(inner)}}}"

    def point(entry: Any) -> str:
        return f"{{{', '.join(f'{key}: {text}' for key, (_, text) in entry.items())}}}"

    lines = ["name: s", "base: base.yaml"]
    lines += [f"grid: {lists(grid)}"] if grid else []
    lines += [f"zip: {lists(block)}"] if block else []
    lines += [f"seeds: {seeds}"] if seeds is not None else []
    lines += ["exclude:", *(f"  - {lists(rule)}" for rule in rules)] if rules else []
    lines += ["include:", *(f"  - {point(extra)}" for extra in extras)] if extras else []
    return "\n".join(lines)


def _expand(grid: Any, block: Any, seeds: Any, rules: Any, extras: Any) -> list[Point]:
    numbers: list[int | None] = [None]
    if seeds is not None:
        numbers = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    points: list[Point] = [{}]
    for key, found in grid.items():
        points = [{**point, key: value} for point in points for value, _ in found]
    if block:
        count = len(next(iter(block.values())))
        points = [
            {**point, **{key: found[row][0] for key, found in block.items()}}
            for point in points
            for row in range(count)
        ]
    if not grid and not block and extras:
        points = []
    kept = []
    for point in points:
        dropped = False
        for rule in rules:
            dropped |= all(point[key] in [value for value, _ in v] for key, v in rule.items())
        if not dropped:
            kept.append(point)
    result = [{**point, "seed": number} for point in kept for number in numbers]
    for extra in extras:
        settings_of_extra = {key: value for key, (value, _) in extra.items()}
        result += [{**settings_of_extra, "seed": number} for number in numbers]
    return [{**DEFAULTS, **point, "seed": point["seed"] or 0} for point in result]


def _distinct(points: Sequence[Point]) -> list[Point]:
    kept: list[Point] = []
    for point in points:
        if point not in kept:
            kept.append(point)
    return kept


@settings(max_examples=150, deadline=None)
@given(sweeps())
def test_runs_are_the_distinct_points_in_order(sweep: tuple[str, list[Point]]) -> None:
    text, points = sweep
    distinct = _distinct(points)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "base.yaml").write_text(yaml.safe_dump(base_tree(Path("squares"))))
        path = Path(folder) / "s.yaml"
        path.write_text(text)
        if not points or len(distinct) == 1 < len(points):
            expected = "no runs" if not points else "one and the same run"
            with pytest.raises(UserError, match=expected):
                plan_sweep(load_sweep(path), path, 1)
            return
        plan = plan_sweep(load_sweep(path), path, 1)
    assert plan.points == len(points)
    assert [{key: run.flat[key] for key in DEFAULTS} for run in plan.runs] == distinct
    equal = [notice for notice in plan.notices if "equal" in notice]
    assert bool(equal) == (len(distinct) < len(points))
    assert all(f"{len(points)} points, {len(distinct)} runs" in notice for notice in equal)


@settings(max_examples=200, deadline=None)
@given(
    tree=st.dictionaries(
        st.sampled_from(sorted(SweepFile.model_fields)),
        st.recursive(
            st.none() | st.booleans() | st.integers(-2, 4) | st.sampled_from(["", "a", "seed"]),
            lambda inner: (
                st.lists(inner, max_size=2)
                | st.dictionaries(
                    st.sampled_from(
                        ["seed", "generator", "generator.width", "draws", "count", "a, a"]
                    )
                    | st.integers(0, 1),
                    inner,
                    max_size=2,
                )
            ),
            max_leaves=6,
        ),
    )
)
def test_any_content_is_a_plan_or_one_error(tree: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "base.yaml").write_text(yaml.safe_dump(base_tree(Path("squares"))))
        path = Path(folder) / "s.yaml"
        path.write_text(yaml.safe_dump({"name": "s", "base": "base.yaml", **tree}))
        problem = ""
        try:
            plan_sweep(load_sweep(path), path, 1)
        except UserError as error:
            problem = str(error)
        assert not problem or problem.startswith(folder)
