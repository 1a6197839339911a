"""The metrics that a sweep file names: known before the runs log them."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gantrain.common.errors import UserError
from gantrain.common.records import flatten
from gantrain.config import parse_config, quality
from gantrain.config.quality import DIMENSIONS, full_name
from gantrain.metrics.support import Sizes, measured_names
from gantrain.training.objectives import make_objective, metric_names
from launch.metric_checks import first_measurement
from launch.metric_names import direction_of, is_due, names_of
from launch.plan import plan_sweep
from launch.sweepfile import load_sweep
from tests.launch.conftest import base_tree

WGAN = {"kind": "wgan-gp"}


def flat_of(**changes: Any) -> dict[str, Any]:
    flat: dict[str, Any] = {"objective.kind": "dcgan", "health.remedy": "advise"}
    flat |= {"metrics.every_kimg": 50, "metrics.features": "random", "data.mode": "auto"}
    flat |= {"metrics.samples": 1000}
    return {**flat, **changes}


def plan(folder: Path, base: dict[str, Any] | None = None, **content: Any) -> list[str]:
    tree = {**base_tree(Path("squares"), kimg=10), **(base or {})}
    (folder / "base.yaml").write_text(yaml.safe_dump(tree))
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump({"name": "s", "base": "base.yaml", **content}))
    return plan_sweep(load_sweep(path), path, 1).notices


@pytest.mark.parametrize("kind", ["dcgan", "wgan-gp", "hinge", "rpgan"])
@pytest.mark.parametrize("features", ["lite0", "artefacts", "classifier", "random", "inception"])
@pytest.mark.parametrize("samples", [16, 255, 256, 1000])
@pytest.mark.parametrize("conditioning", ["none", "concat"])
def test_names_are_those_of_the_trainer(
    kind: str, features: str, samples: int, conditioning: str
) -> None:
    tree = {**base_tree(Path("x")), "objective": {"kind": kind}}
    tree["conditioning"] = {"kind": conditioning}
    tree["discriminator"] = {"norm": "none"}
    parsed = parse_config(tree, "test")
    logged = metric_names(make_objective(parsed), conditioned=conditioning != "none")
    logged += ["loss/critic_held_out"] * (kind == "wgan-gp")
    classes = features in ("lite0", "artefacts", "classifier")
    conditioned = 0 if conditioning == "none" else 4
    sizes = Sizes(
        samples, 1000, 1000, DIMENSIONS[features], labels=classes, conditioned=conditioned
    )
    logged += measured_names(features, sizes)
    config = {"metrics.features": features, "metrics.samples": samples}
    config["conditioning.kind"] = conditioning
    names = names_of(flat_of(**flatten({"objective": parsed.objective.model_dump()}), **config))
    beside = {"health/diagnosis", "speed/images_per_second", "speed/seconds_of_metrics"}
    assert set(names) == {*logged, *beside}
    assert len(names) == len(set(names))


@pytest.mark.parametrize("gamma", ["auto", 0.1, {"from": 0.1, "to": 0}])
def test_penalties_are_among_the_names_where_they_have_a_weight(gamma: object) -> None:
    objective = {"kind": "hinge", "r1_gamma": gamma, "r2_gamma": 0}
    tree = {**base_tree(Path("x")), "objective": objective, "discriminator": {"norm": "none"}}
    config = parse_config(tree, "test")
    logged = metric_names(make_objective(config))
    names = names_of(flatten(config.model_dump(mode="json")))
    for some in (logged, names):
        assert [name for name in some if name.startswith("loss/r")] == ["loss/r1"]


def test_names_follow_the_settings() -> None:
    assert not [n for n in names_of(flat_of(**{"metrics.every_kimg": 0})) if "quality" in n]
    labelled = names_of(flat_of(**{"metrics.features": "classifier"}))
    assert {"quality/fid_classifier", "quality/classes_made"} <= set(labelled)
    streamed = flat_of(**{"metrics.features": "lite0", "data.mode": "stream"})
    assert "quality/classes_made" not in names_of(streamed)
    assert "remedy/d_rate" in names_of(flat_of(**{"health.remedy": "auto"}))


def test_short_names_directions_and_lines() -> None:
    logged = [
        "loss/generator",
        "quality/kid_classifier",
        "quality/fid_classifier",
        "quality/parts_made",
    ]
    assert full_name("quality/fid", logged) == "quality/fid_classifier"
    assert full_name("quality/parts_made", logged) == "quality/parts_made"
    assert full_name("quality/classes_made", logged) == "quality/parts_made"
    assert full_name("quality/parts", logged) is None
    assert full_name("quality/fid_random", logged) is None
    assert [direction_of(m) for m in ("quality/fid", "quality/recall_classifier", None)] == [
        *("min", "max", "min")
    ]
    assert direction_of("loss/generator") is None
    line = {"images_seen": 1, "loss/generator": 0.1, "speed/images_per_second": 9.0}
    assert is_due(line, "loss/discriminator")
    assert not is_due(line, "quality/fid_classifier")
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
        (
            {
                "metric": "quality/fid_random",
                "set": {"metrics.every_kimg": 1, "metrics.features": "random"},
            },
            "",
        ),
        ({"metric": "quality/fid", "set": {"metrics.every_kimg": 1}}, ""),
        ({"metric": "quality/swd", "set": {"metrics.every_kimg": 1}}, ""),
        (
            {
                "metric": "quality/fid",
                "set": {
                    "metrics.every_kimg": 1,
                    "metrics.samples": 100,
                    "metrics.features": "random",
                },
            },
            "metrics.samples: 100: FID needs 256 images",
        ),
        (
            {
                "metric": "quality/fid_random",
                "set": {"metrics.every_kimg": 1, "metrics.features": "classifier"},
            },
            "the nearest is 'quality/fid_classifier'",
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


@pytest.mark.parametrize("installed", [True, False])
def test_auto_is_lite0_where_it_is_installed(
    installed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not installed:
        monkeypatch.setattr(quality, "LITE0_PACKAGE", "a_package_that_nobody_has")
    known, unknown = ("lite0", "artefacts") if installed else ("artefacts", "lite0")
    base = {"metrics": {"every_kimg": 1}}
    assert plan(tmp_path, base, metric=f"quality/fid_{known}", seeds=1) == []
    with pytest.raises(UserError, match="these runs do not measure it"):
        plan(tmp_path, base, metric=f"quality/fid_{unknown}", seeds=1)


@pytest.mark.parametrize(
    ("classes", "mode", "known"),
    [(2, "auto", True), (2, "cache", True), (1, "auto", False), (2, "stream", False)],
)
def test_class_metrics_need_labels_and_decoded_images(
    tmp_path: Path, classes: int, mode: str, known: bool
) -> None:
    (tmp_path / "set").mkdir()
    manifest = {"classes": {f"c{i}": {} for i in range(classes)}, "count": 40}
    (tmp_path / "set" / "manifest.json").write_text(json.dumps(manifest))
    base = base_tree(tmp_path / "set", kimg=10)
    base["data"] |= {"mode": mode}
    base["metrics"] = {"every_kimg": 1, "features": "lite0"}
    content = {"metric": "quality/parts_made", "seeds": 1}
    if known:
        assert plan(tmp_path, base, **content) == []
    else:
        with pytest.raises(UserError, match="these runs do not measure it"):
            plan(tmp_path, base, **content)
