"""The metrics that a sweep file names: known before the runs log them."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gantrain.common.errors import UserError
from gantrain.config import parse_config
from gantrain.config.quality import full_name
from gantrain.metrics.measure import measured_names
from gantrain.training.objectives import make_objective, metric_names
from launch.metric_checks import first_measurement
from launch.metric_names import direction_of, is_due, names_of
from launch.plan import plan_sweep
from launch.sweepfile import load_sweep
from tests.launch.conftest import base_tree

WGAN = {"kind": "wgan-gp"}


def flat_of(**changes: Any) -> dict[str, Any]:
    flat: dict[str, Any] = {"objective.kind": "dcgan", "health.remedy": "advise"}
    flat |= {"metrics.every_kimg": 50, "metrics.features": "random"}
    return {**flat, **changes}


def plan(folder: Path, base: dict[str, Any] | None = None, **content: Any) -> list[str]:
    tree = {**base_tree(Path("squares"), kimg=10), **(base or {})}
    (folder / "base.yaml").write_text(yaml.safe_dump(tree))
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump({"name": "s", "base": "base.yaml", **content}))
    return plan_sweep(load_sweep(path), path, 1).notices


@pytest.mark.parametrize("kind", ["dcgan", "wgan-gp", "hinge"])
@pytest.mark.parametrize("features", ["brick", "random", "inception"])
def test_names_are_those_of_the_trainer(kind: str, features: str) -> None:
    tree = {**base_tree(Path("x")), "objective": {"kind": kind}}
    tree["discriminator"] = {"norm": "none"}
    objective = make_objective(parse_config(tree, "test").objective)
    logged = metric_names(objective)
    logged += measured_names(features, real=1000, held_out=1000, classes=features == "brick")
    names = names_of(flat_of(**{"objective.kind": kind, "metrics.features": features}))
    beside = {"health/diagnosis", "speed/images_per_second", "speed/seconds_of_metrics"}
    assert set(names) == {*logged, *beside}
    assert len(names) == len(set(names))


def test_names_follow_the_settings() -> None:
    assert not [n for n in names_of(flat_of(**{"metrics.every_kimg": 0})) if "quality" in n]
    auto = names_of(flat_of(**{"metrics.features": "auto"}))
    assert {"quality/fid_brick", "quality/fid_random", "quality/parts_made"} <= set(auto)
    assert "remedy/d_rate" in names_of(flat_of(**{"health.remedy": "auto"}))


def test_short_names_directions_and_lines() -> None:
    logged = ["loss/generator", "quality/kid_brick", "quality/fid_brick", "quality/parts_made"]
    assert full_name("quality/fid", logged) == "quality/fid_brick"
    assert full_name("quality/parts_made", logged) == "quality/parts_made"
    assert full_name("quality/parts", logged) is None
    assert full_name("quality/fid_random", logged) is None
    assert [direction_of(m) for m in ("quality/fid", "quality/recall_brick", None)] == [
        *("min", "max", "min")
    ]
    assert direction_of("loss/generator") is None
    line = {"images_seen": 1, "loss/generator": 0.1, "speed/images_per_second": 9.0}
    assert is_due(line, "loss/discriminator")
    assert not is_due(line, "quality/fid_brick")
    assert not is_due(line, "speed/seconds_of_metrics")


@given(
    batch=st.integers(1, 64),
    n_critic=st.integers(1, 5),
    log=st.floats(0.001, 0.5),
    every=st.floats(0.001, 2),
    total=st.floats(0.1, 3),
)
def test_first_measurement_is_that_of_the_trainers_schedule(
    batch: int, n_critic: int, log: float, every: float, total: float
) -> None:
    flat: dict[str, Any] = {"training.batch_size": batch, "objective.n_critic": n_critic}
    flat |= {"training.total_kimg": total, "output.log_every_kimg": log}
    flat |= {"metrics.every_kimg": every}

    def passed(every_kimg: float, images: int, since: int) -> bool:
        return images // (every_kimg * 1000) > since // (every_kimg * 1000)

    images = since = logged_at = 0
    first: dict[str, int] = {}
    while images < round(total * 1000):
        images += batch * n_critic
        if passed(log, images, since):
            first.setdefault("loss/generator", images)
            if passed(every, images, logged_at):
                first.setdefault("quality/swd", images)
            logged_at = images
        since = images
    for metric in ("loss/generator", "quality/swd"):
        # At the end the trainer logs and measures in any case.
        assert first_measurement(flat, metric) == first.get(metric, images)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"metric": "loss/generater"}, "metric: 'loss/generater': these runs do not measure it"),
        ({"metric": "loss/generater"}, "the nearest is 'loss/generator'"),
        ({"metric": "loss/wasserstein"}, "these runs do not measure it"),
        ({"metric": "quality/fid"}, "metrics.every_kimg is 0"),
        ({"metric": "quality/fid_random", "set": {"metrics.every_kimg": 1}}, ""),
        ({"metric": "quality/fid", "set": {"metrics.every_kimg": 1}}, ""),
        (
            {
                "metric": "quality/fid_random",
                "set": {"metrics.every_kimg": 1, "metrics.features": "brick"},
            },
            "the nearest is 'quality/fid_brick'",
        ),
        (
            {"metric": "quality/diversity", "set": {"metrics.every_kimg": 1}},
            "its best value is 1",
        ),
        (
            {
                "metric": "loss/wasserstein",
                "zip": {"objective": [{"kind": "dcgan"}, WGAN], "discriminator.norm": ["none"] * 2},
            },
            "1 of 2 runs do not measure it, such as",
        ),
        (
            {
                "metric": "loss/wasserstein",
                "set": {"objective": WGAN, "discriminator.norm": "none"},
            },
            "",
        ),
        ({"early_stop": {"metric": "m", "min_kimg": 1}}, "early_stop.metric: 'm'"),
        (
            {"early_stop": {"metric": "loss/generator", "min_kimg": 0.02}},
            "first measured at 0.032 kimg (output.log_every_kimg: 0.032)",
        ),
        (
            {
                "early_stop": {"metric": "quality/swd", "min_kimg": 1},
                "set": {"metrics.every_kimg": 3},
            },
            "first measured at 3.008 kimg (metrics.every_kimg: 3)",
        ),
        (
            {
                "early_stop": {"metric": "quality/swd", "min_kimg": 3},
                "set": {"metrics.every_kimg": 3},
            },
            "",
        ),
        (
            {"early_stop": {"metric": "loss/generator", "min_kimg": 10}},
            "the runs end at 10 kimg, before the first comparison",
        ),
    ],
)
def test_plan_refuses_what_runs_do_not_measure(
    tmp_path: Path, content: dict[str, Any], words: str
) -> None:
    content = {"include": [{}], **content} if "zip" not in content else content
    if not words:
        assert plan(tmp_path, **content) == []
        return
    with pytest.raises(UserError) as caught:
        plan(tmp_path, **content)
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path / 'sweep.yaml'}: ")
    assert "\n" not in str(caught.value)


def test_runs_too_short_for_halving_are_named(tmp_path: Path) -> None:
    rule = {"metric": "loss/generator", "min_kimg": 5}
    notices = plan(tmp_path, grid={"training.total_kimg": [4, 8, 16]}, early_stop=rule)
    assert notices == ["early_stop: 1 runs end before the first comparison"]


@pytest.mark.parametrize(
    ("classes", "data", "known"),
    [
        (2, {}, ["brick"]),
        (2, {"mode": "cache"}, ["brick"]),
        (1, {}, ["random"]),
        (0, {"mode": "stream"}, ["random"]),
        (2, {"mode": "stream"}, ["brick", "random"]),  # it depends on an earlier classifier
    ],
)
def test_features_are_those_that_the_data_set_allows(
    tmp_path: Path, classes: int, data: dict[str, Any], known: list[str]
) -> None:
    (tmp_path / "set").mkdir()
    manifest = {"classes": {f"c{i}": {} for i in range(classes)}, "count": 40}
    (tmp_path / "set" / "manifest.json").write_text(json.dumps(manifest))
    base = base_tree(tmp_path / "set", kimg=10)
    base["data"] |= data
    base["metrics"] = {"every_kimg": 1}
    for features in ("brick", "random"):
        content = {"metric": f"quality/fid_{features}", "seeds": 1}
        if features in known:
            assert plan(tmp_path, base, **content) == []
        else:
            with pytest.raises(UserError, match="these runs do not measure it"):
                plan(tmp_path, base, **content)
