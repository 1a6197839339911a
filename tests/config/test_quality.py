"""The ruler that output.keep_best selects: its direction follows from its name."""

from pathlib import Path

import pytest

from gantrain.common.errors import UserError
from gantrain.config import OutputConfig
from gantrain.config.quality import Ruler, choose_ruler, doubts

QUALITY = [
    *(f"quality/{name}_random" for name in ("fid", "kid", "precision", "recall", "coverage")),
    *("quality/swd", "quality/diversity", "quality/ms_ssim", "quality/classes_covered"),
]
LOGGED = [*QUALITY, "loss/generator", "loss/wasserstein"]


def output(**settings: object) -> OutputConfig:
    return OutputConfig.model_validate({"run_dir": Path("run"), **settings})


@pytest.mark.parametrize(
    ("keep_best", "metric", "goal"),
    [
        ("quality/fid_random", "quality/fid_random", "lowest"),
        ("quality/fid", "quality/fid_random", "lowest"),
        ("quality/precision", "quality/precision_random", "highest"),
        ("quality/swd", "quality/swd", "lowest"),
        ("quality/classes_covered", "quality/classes_covered", "highest"),
        ("quality/diversity", "quality/diversity", "near 1"),
    ],
)
def test_the_direction_follows_from_the_name(keep_best: str, metric: str, goal: str) -> None:
    ruler = choose_ruler(output(keep_best=keep_best), LOGGED)
    assert ruler is not None
    assert (ruler.metric, ruler.goal) == (metric, goal)


def test_the_default_is_the_fid_of_whatever_features_the_run_measures_with() -> None:
    assert choose_ruler(output(), LOGGED) == Ruler("quality/fid_random", "lowest")
    assert choose_ruler(output(), ["loss/generator"]) is None
    for nothing in (None, "off", "none"):
        assert choose_ruler(output(keep_best=nothing), LOGGED) is None


def test_the_default_is_the_kid_of_a_run_that_measures_no_fid_and_says_so() -> None:
    ruler = choose_ruler(output(), ["loss/generator", "quality/kid_random"])
    assert ruler == Ruler("quality/kid_random", "lowest")
    (line,) = doubts(ruler, output())
    assert "measures no FID" in line
    assert "the lowest quality/kid_random is kept" in line
    wanted = output(keep_best="quality/kid")
    assert doubts(choose_ruler(wanted, LOGGED), wanted) == []


def test_old_names_of_class_metrics_stand_for_todays() -> None:
    old, new = "quality/parts_covered", "quality/classes_covered"
    assert choose_ruler(output(keep_best=old), [new]) == Ruler(new, "highest")
    assert choose_ruler(output(keep_best=old), [old]) == Ruler(old, "highest")
    assert choose_ruler(output(keep_best=new), [old]) == Ruler(old, "highest")
    assert choose_ruler(output(keep_best=new), [old, new]) == Ruler(new, "highest")


def test_other_metrics_say_which_value_is_the_best() -> None:
    settings = {"keep_best": "loss/wasserstein", "keep_best_is": "highest"}
    assert choose_ruler(output(**settings), LOGGED) == Ruler("loss/wasserstein", "highest")
    for name in ("loss/wasserstein", "quality/ms_ssim"):
        with pytest.raises(UserError, match=rf"{name} does not follow .* set output\.keep_best_is"):
            choose_ruler(output(keep_best=name), LOGGED)


@pytest.mark.parametrize(
    ("settings", "logged", "message"),
    [
        ({"keep_best": "quality/fdi_random"}, LOGGED, "nearest .* 'quality/fid_random'"),
        ({"keep_best": "quality/fid_classifier"}, LOGGED, "never logs it.*quality/fid_random"),
        ({"keep_best": "qualty/fid"}, LOGGED, "never logs it"),
        ({"keep_best": "fid"}, LOGGED, "'quality/fid'"),
        ({"keep_best": "quality/swd"}, ["loss/generator"], r"metrics\.every_kimg is 0"),
        ({"keep_best": "loss/penalty"}, ["loss/generator"], "Choose one of loss/generator"),
    ],
)
def test_a_metric_that_the_run_never_logs_is_an_error_that_names_those_it_logs(
    settings: dict[str, str], logged: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        choose_ruler(output(**settings), logged)


@pytest.mark.parametrize(
    ("metric", "wanted", "usual"),
    [("fid_random", "highest", "lowest"), ("diversity", "lowest", "near 1")],
)
def test_a_direction_that_contradicts_the_name_is_honoured_and_said(
    metric: str, wanted: str, usual: str
) -> None:
    settings = {"keep_best": f"quality/{metric}", "keep_best_is": wanted}
    ruler = choose_ruler(output(**settings), LOGGED)
    assert ruler is not None
    assert ruler.goal == wanted
    (line,) = doubts(ruler, output(**settings))
    assert f"the {wanted} quality/{metric} is kept" in line
    assert line.endswith(usual)
    usual_way = output(keep_best=f"quality/{metric}")
    assert doubts(choose_ruler(usual_way, LOGGED), usual_way) == []


def test_a_better_value_ranks_lower() -> None:
    assert Ruler("m", "lowest").rank(1) < Ruler("m", "lowest").rank(2)
    assert Ruler("m", "highest").rank(2) < Ruler("m", "highest").rank(1)
    near = Ruler("m", "near 1")
    assert near.rank(1.1) < near.rank(0.8) < near.rank(float("nan"))
