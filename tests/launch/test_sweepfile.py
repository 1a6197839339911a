"""Sweep files: the points they expand to, and messages about mistakes in them."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gantrain.common.errors import UserError
from gantrain.common.records import flatten
from gantrain.config import parse_config
from launch.plan import (
    differences,
    differing_keys,
    plan_runs,
    plan_sweep,
    run_id,
    run_name,
    short_names,
)
from launch.sweepfile import SweepFile, expand, load_sweep
from tests.launch.conftest import base_tree


def make_sweep(**content: Any) -> SweepFile:
    return SweepFile.model_validate({"name": "s", "base": "base.yaml", **content})


def write(folder: Path, **content: Any) -> Path:
    (folder / "base.yaml").write_text(yaml.safe_dump(base_tree(Path("squares"))))
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump({"name": "s", "base": "base.yaml", **content}))
    return path


def test_axes_multiply_and_exclude_drops() -> None:
    sweep = make_sweep(
        grid={"seed": [0, 1], "data.channels": [1, 3]},
        zip={"generator.width": [8, 16], "discriminator.width": [8, 32]},
        exclude=[{"data.channels": 3, "generator.width": [16]}],
        include=[{"generator.width": 64}],
    )
    points = list(expand(sweep))
    assert len(points) == 2 * 2 * 2 - 2 + 1
    assert {(p.get("generator.width"), p.get("discriminator.width")) for p in points} == {
        (8, 8),
        (16, 32),
        (64, None),
    }


def test_include_alone_lists_points() -> None:
    sweep = make_sweep(include=[{"generator.width": 4}, {"generator.width": 8}], seeds=[3, 5])
    assert [(p["generator.width"], p["seed"]) for p in expand(sweep)] == [
        (4, 3),
        (4, 5),
        (8, 3),
        (8, 5),
    ]


@given(seed=st.integers(0, 10**6), count=st.integers(1, 30))
def test_random_points_are_reproducible_and_in_range(seed: int, count: int) -> None:
    draws = {
        "generator.learning_rate": {"log_uniform": [1e-5, 1e-3]},
        "discriminator.dropout": {"uniform": [0.0, 0.5]},
        "generator.latent_size": {"integer": [10, 20]},
        "generator.norm": {"choice": ["batch", "none"]},
    }
    sweep = make_sweep(random={"count": count, "seed": seed, "draws": draws})
    points = list(expand(sweep))
    assert points == list(expand(sweep))
    assert len(points) == count
    for point in points:
        assert 1e-5 <= point["generator.learning_rate"] <= 1e-3
        assert 0 <= point["discriminator.dropout"] <= 0.5
        assert 10 <= point["generator.latent_size"] <= 20


def test_id_depends_only_on_what_affects_the_weights(tmp_path: Path) -> None:
    path = write(tmp_path, grid={"seed": [0, 1]})
    first = plan_runs(load_sweep(path), path, 1)
    (tmp_path / "base.yaml").write_text(
        yaml.safe_dump(
            {
                **base_tree(Path("squares")),
                "wandb": {"project": "other", "mode": "offline"},
                # A default that is written out makes no difference.
                "ema": {"half_life_kimg": 10},
            }
        )
    )
    # Neither does the number of ranks.
    again = plan_runs(load_sweep(path), path, 2)
    assert [run.id for run in again] == [run.id for run in first]
    changed = write(tmp_path, set={"ema.half_life_kimg": 5}, grid={"seed": [0, 1]})
    other = plan_runs(load_sweep(changed), changed, 1)
    assert not {run.id for run in first} & {run.id for run in other}


def test_equal_points_are_one_run_and_joined_keys_set_both(tmp_path: Path) -> None:
    path = write(tmp_path, grid={"generator.slope, discriminator.slope": [0.1, 0.2, 0.2]})
    runs = plan_runs(load_sweep(path), path, 1)
    assert len(runs) == 2
    keys = differing_keys([run.flat for run in runs])
    assert keys == ["generator.slope", "discriminator.slope"]
    assert differences(runs[0].flat, keys) == dict.fromkeys(keys, 0.1)
    assert run_name(runs[0].flat, keys) == "generator.slope=0.1 discriminator.slope=0.1"
    assert runs[0].tree["generator"]["slope"] == 0.1


def test_values_may_be_sections(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        zip={
            "objective": [{"kind": "dcgan"}, {"kind": "wgan-gp", "n_critic": 3}, {"kind": "hinge"}],
            "discriminator.norm": ["batch", "layer", "batch"],
        },
    )
    runs = plan_runs(load_sweep(path), path, 1)
    assert [run.flat["objective.kind"] for run in runs] == ["dcgan", "wgan-gp", "hinge"]
    keys = differing_keys([run.flat for run in runs])
    assert "objective.kind" in keys
    assert (
        differences(runs[0].flat, ["objective.penalty_weight"])["objective.penalty_weight"] == "—"
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            {"grid": {"generator.learnin_rate": [1]}},
            "nearest known one is 'generator.learning_rate'",
        ),
        ({"grid": {"lr": [1]}}, "write generator.learning_rate or discriminator.learning_rate"),
        ({"set": {"batch_size": 1}}, "write training.batch_size"),
        ({"gird": {"seed": [1]}}, "nearest known one is 'grid'"),
        ({"zip": {"seed": [1, 2], "generator.width": [4]}}, "different lengths"),
        ({"set": {"output.run_dir": "x"}}, "use `dir:`"),
        ({"random": {"count": 2, "draws": {"seed": {"uniform": [0, 1], "choice": [1]}}}}, "one of"),
        ({"grid": {"seed": []}}, "grid.seed"),
        ({"seeds": 0}, "seeds"),
        ({"name": "a b"}, "name"),
        ({"random": {"count": 2, "draws": {"seed": {"integer": [16, 4]}}}}, "write [4, 16]"),
        ({"random": {"count": 2, "draws": {"seed": {"uniform": [0.5, 0.1]}}}}, "reversed"),
        ({"random": {"count": 2, "draws": {"seed": {"log_uniform": [1.0, 0.1]}}}}, "reversed"),
        ({"grid": {"seed": [1]}, "zip": {"seed": [2]}}, "zip: seed: grid sets it as well"),
        ({"zip": [{"seed": [1]}, {"seed": [2]}]}, "zip: seed: zip sets it as well"),
        (
            {
                "grid": {"generator.slope, discriminator.slope": [0.1]},
                "random": {"count": 1, "draws": {"generator.slope": {"choice": [0.2]}}},
            },
            "random.draws: generator.slope: grid sets it as well",
        ),
        ({"grid": {"seed": [1, 2]}, "seeds": 2}, "seeds: seed: grid sets it as well"),
        (
            {"grid": {"objective.n_critic": [1]}, "zip": {"objective": [{"kind": "dcgan"}]}},
            "zip: objective: grid sets objective.n_critic, which it replaces",
        ),
        (
            {"include": [{"generator.slope, generator.slope": 0.1}]},
            "generator.slope is there twice",
        ),
        ({"seeds": 2, "exclude": [{"generator.width": 4}]}, "no point of grid, zip, random and"),
        ({"include": [{"seed": 1}], "exclude": [{"seed": 1}]}, "exclude: seed: no point"),
        (
            {"seeds": 2, "early_stop": {"metric": "loss/generator", "min_kimg": 1}},
            "lucky seeds",
        ),
    ],
)
def test_error_names_file_and_key(tmp_path: Path, content: dict[str, Any], words: str) -> None:
    path = write(tmp_path, **content)
    with pytest.raises(UserError) as caught:
        load_sweep(path)
    assert str(path) in str(caught.value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_error_names_the_invalid_point(tmp_path: Path) -> None:
    path = write(tmp_path, grid={"discriminator.dropout": [0.1, 1.5]})
    with pytest.raises(UserError, match=r"discriminator\.dropout=1\.5"):
        plan_runs(load_sweep(path), path, 1)
    path = write(tmp_path, grid={"training.batch_size": [15]})
    with pytest.raises(UserError, match=r"training\.batch_size"):
        plan_runs(load_sweep(path), path, 2)
    path = write(tmp_path, grid={"seed": [1]}, exclude=[{"seed": 1}])
    with pytest.raises(UserError, match="no run"):
        plan_runs(load_sweep(path), path, 1)


def test_exclude_compares_numbers_as_numbers_and_sees_into_sections(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        grid={
            "generator.learning_rate": [0.0001, 0.0002],
            "generator.slope, discriminator.slope": [0, 0.2],
            "discriminator.norm": ["none"],
        },
        zip={"objective": [{"kind": "dcgan"}, {"kind": "wgan-gp", "n_critic": 3}]},
        exclude=[
            {"generator.learning_rate": "1e-4", "objective.kind": "wgan-gp"},
            {"discriminator.slope": [0.0], "objective": {"n_critic": 3.0, "kind": "wgan-gp"}},
            {"generator.slope": False},
        ],
    )
    plan = plan_sweep(load_sweep(path), path, 1)
    assert [
        [run.flat[k] for k in ("generator.learning_rate", "generator.slope", "objective.kind")]
        for run in plan.runs
    ] == [
        [0.0001, 0.0, "dcgan"],
        [0.0001, 0.2, "dcgan"],
        [0.0002, 0.0, "dcgan"],
        [0.0002, 0.2, "dcgan"],
        [0.0002, 0.2, "wgan-gp"],
    ]
    assert plan.notices == ["exclude: generator.slope=False drops no point"]


def test_equal_points_are_counted(tmp_path: Path) -> None:
    path = write(
        tmp_path, grid={"generator.width": [4, 8], "data.workers": [0, 1], "metrics.samples": [16]}
    )
    plan = plan_sweep(load_sweep(path), path, 1)
    assert (plan.points, len(plan.runs)) == (4, 2)
    assert plan.notices == ["4 points, 2 runs: 2 equal (data.workers: not part of a run's id)"]
    draws = {"generator.norm": {"choice": ["batch", "none"]}}
    path = write(tmp_path, random={"count": 50, "draws": draws})
    plan = plan_sweep(load_sweep(path), path, 1)
    assert plan.notices == ["50 points, 2 runs: 48 equal"]
    collapsing: list[dict[str, Any]] = [{"grid": {"data.workers": [0, 1]}}, {"include": [{}, {}]}]
    for content in collapsing:
        path = write(tmp_path, **content)
        with pytest.raises(UserError, match="the 2 points are one and the same run"):
            plan_sweep(load_sweep(path), path, 1)


def test_empty_sections_have_defaults_and_values_are_no_sections(tmp_path: Path) -> None:
    path = write(tmp_path, set={"generator.width": 4}, grid={"discriminator": [None]})
    tree = {**base_tree(Path("squares")), "generator": None, "ema": None}
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(tree))
    (run,) = plan_runs(load_sweep(path), path, 1)
    names = ("generator.width", "generator.latent_size", "discriminator.width")
    assert [run.flat[name] for name in names] == [4, 100, 64]
    path = write(tmp_path, set={"objective": "dcgan", "objective.n_critic": 2})
    with pytest.raises(UserError, match=r"set: objective\.n_critic: objective is 'dcgan'"):
        plan_sweep(load_sweep(path), path, 1)


@pytest.mark.parametrize("name", ["missing.yaml", "list.yaml", "broken.yaml"])
def test_error_names_the_unreadable_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "list.yaml").write_text("- 1\n")
    (tmp_path / "broken.yaml").write_text("a: [1\n")
    with pytest.raises(UserError, match=name):
        load_sweep(tmp_path / name)


def test_shipped_sweeps_are_valid() -> None:
    root = Path(__file__).parents[2] / "configs" / "sweeps"
    files = sorted(root.glob("*.yaml"))
    assert len(files) >= 4
    for path in files:
        assert plan_runs(load_sweep(path), path, 1)


RATE = "generator.learning_rate"


def test_a_sweep_varies_schedules_whole_or_by_key(tmp_path: Path) -> None:
    cosine = {"from": 2e-4, "to": 0, "kind": "cosine"}
    path = write(
        tmp_path,
        grid={RATE: [2e-4, cosine, {**cosine, "warmup_kimg": 0.01}], "ema.half_life_kimg": [1]},
    )
    runs = plan_runs(load_sweep(path), path, 1)
    assert len({run.id for run in runs}) == 3
    keys = differing_keys([run.flat for run in runs])
    assert keys == [RATE]  # a number here and a schedule there is one difference
    assert [run_name(run.flat, keys) for run in runs] == [
        "learning_rate=0.0002",
        "learning_rate=0.0002→0 cosine",
        "learning_rate=0.0002→0 cosine warm-up 0.01 kimg",
    ]
    for run in runs[1:]:
        assert parse_config(run.tree, "x").generator.learning_rate.end == 0  # type: ignore[union-attr]
    path = write(tmp_path, set={f"{RATE}.kind": "cosine"}, grid={f"{RATE}.to": [0, 1e-5]})
    runs = plan_runs(load_sweep(path), path, 1)
    keys = differing_keys([run.flat for run in runs])
    assert [run_name(run.flat, keys) for run in runs] == [
        "learning_rate.to=0.0",
        "learning_rate.to=1e-05",
    ]
    assert {run.flat[f"{RATE}.from"] for run in runs} == {2e-4}  # the default


def test_a_key_of_a_schedule_starts_from_the_number_of_the_base_config(tmp_path: Path) -> None:
    path = write(tmp_path, grid={f"{RATE}.to, discriminator.learning_rate.to": [0, 1e-5]})
    base = base_tree(Path("squares"))
    base["generator"] = {**base.get("generator", {}), "learning_rate": 5e-4}
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base))
    runs = plan_runs(load_sweep(path), path, 1)
    assert {run.flat[f"{RATE}.from"] for run in runs} == {5e-4}
    assert {run.flat["discriminator.learning_rate.from"] for run in runs} == {2e-4}
    keys = differing_keys([{**runs[0].flat, RATE: 1}, runs[1].flat])
    assert set(short_names(keys).values()) == {
        "generator.learning_rate",
        "discriminator.learning_rate.to",
    }
    for wrong, message in (
        ({f"{RATE}.too": [0, 1]}, r"no key 'generator\.learning_rate\.too'; the nearest .*\.to'"),
        ({f"{RATE}.start_kimg": [5, 6]}, "kind constant has no beginning or end"),
        ({"generator.width.to": [5, 6]}, r"no key 'generator\.width\.to'"),
    ):
        path = write(tmp_path, grid=wrong)
        with pytest.raises(UserError, match=message):
            plan_runs(load_sweep(path), path, 1)


def test_ids_of_runs_without_schedules_are_those_of_before(tmp_path: Path) -> None:
    """The id is what the version before schedules gave."""
    tree = base_tree(Path("squares"))
    tree["generator"] = {"width": 4, "learning_rate": 5e-4, "betas": [0.0, 0.9]}
    tree["ema"] = {"half_life_kimg": 2, "rampup": None}
    tree["augment"] = {"flip": 0.5, "diffaugment": ["cutout"]}
    tree["objective"] = {"kind": "wgan-gp", "penalty_weight": 5}
    tree["discriminator"] = {"norm": "none"}
    config = parse_config({**tree, "output": {"run_dir": "RUN"}}, "x")
    assert run_id(flatten(config.model_dump(mode="json", exclude_defaults=True))) == "fd276f5455ad"
