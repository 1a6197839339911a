"""Values scheduled over the images seen, compared with closed forms and with torch's schedulers."""

import math
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import assume, example, given
from hypothesis import strategies as st
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    LambdaLR,
    LinearLR,
    LRScheduler,
    SequentialLR,
)

from gantrain.common.errors import UserError
from gantrain.common.yaml_core import load_yaml
from gantrain.config import Config, parse_config
from gantrain.config.schedules import Schedule, WeightSchedule, peak_of, schedules_in, value_at
from tests.conftest import small_tree
from tests.launching import ROOT

TOTAL = 8_000  # images
TREE = small_tree(Path("shards"), Path("run"), training={"total_kimg": TOTAL / 1000})


def schedule(start: float, **keys: Any) -> Schedule[float]:
    return WeightSchedule.model_validate({"from": start, **keys})


def config_of(value: object, key: str = "generator.learning_rate") -> Config:
    section, _, name = key.partition(".")
    return parse_config({**TREE, section: {**TREE.get(section, {}), name: value}}, "x.yaml")


def test_a_number_stays_what_it_is() -> None:
    assert {value_at(0.25, n, TOTAL) for n in (0, 1, TOTAL, 2 * TOTAL)} == {0.25}
    assert peak_of(0.25) == 0.25


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"to": 0}, [4, 4, 3, 2, 1, 0, 0]),
        ({"to": 0, "kind": "cosine"}, [4, 4, 2 + math.sqrt(2), 2, 2 - math.sqrt(2), 0, 0]),
        ({"to": 6, "start_kimg": 2, "end_kimg": 6}, [4, 4, 4, 5, 6, 6, 6]),
        ({"warmup_kimg": 4}, [0, 0, 2, 4, 4, 4, 4]),
        ({"to": 0, "warmup_kimg": 8}, [0, 0, 3 / 4, 1, 3 / 4, 0, 0]),
    ],
)
def test_values_by_hand(keys: dict[str, Any], expected: list[float]) -> None:
    images = [0, 0, 2000, 4000, 6000, 8000, 9000]
    assert [value_at(schedule(4, **keys), n, TOTAL) for n in images] == pytest.approx(expected)


values = st.floats(0, 1e3, allow_subnormal=False)
kimg = st.integers(0, 10_000).map(lambda images: images / 1000)


@st.composite
def schedules(draw: st.DrawFn) -> Schedule[float]:
    kind = draw(st.sampled_from(["constant", "linear", "cosine"]))
    keys: dict[str, Any] = {"kind": kind, "warmup_kimg": draw(kimg)}
    if kind != "constant":
        keys |= {"to": draw(values), "start_kimg": draw(kimg)}
        keys["end_kimg"] = draw(st.none() | kimg.filter(bool))
    end = keys.get("end_kimg")
    assume(end is None or (end > keys["start_kimg"] and end >= keys["warmup_kimg"]))
    made = schedule(draw(values), **keys)
    assume(made.cut_short(TOTAL / 1000) is None)
    return made


@given(schedules(), st.integers(0, 20_000))
def test_a_value_lies_between_the_ends_and_within_the_warm_up(
    made: Schedule[float], images: int
) -> None:
    ends = [made.start, made.start if made.end is None else made.end]
    warmup = 1000 * made.warmup_kimg
    factor = min(1.0, images / warmup) if warmup else 1.0
    value = value_at(made, images, TOTAL)
    assert min(ends) * factor <= value * (1 + 1e-12)
    assert value <= max(ends) * factor * (1 + 1e-12)
    assert value <= made.peak == peak_of(made)


@given(schedules())
@example(schedule(1, to=0, end_kimg=2.015))  # 1,000 times that is a bit more than 2,015
def test_a_schedule_begins_and_ends_exactly(made: Schedule[float]) -> None:
    end = TOTAL if made.end_kimg is None else round(1000 * made.end_kimg)
    last = made.start if made.end is None else made.end
    assert value_at(made, end, TOTAL) == value_at(made, end + 1000, TOTAL) == last
    first = 0 if made.warmup_kimg else made.start
    assert value_at(made, 0, TOTAL) == first


@given(schedules(), st.integers(0, 20_000))
def test_a_stored_schedule_has_the_same_values(made: Schedule[float], images: int) -> None:
    again = WeightSchedule.model_validate(made.model_dump(mode="json"))
    assert again == made
    assert value_at(again, images, TOTAL) == value_at(made, images, TOTAL)


def torch_rates(make: Callable[[torch.optim.Optimizer], LRScheduler], steps: int) -> list[float]:
    """The learning rates of a torch scheduler in each step, from a rate of 2e-4."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2e-4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of steps that are not made
        scheduler = make(optimizer)
        rates = []
        for _ in range(steps):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
    return rates


BATCH = 50  # images
STEPS = TOTAL // BATCH  # 160


@pytest.mark.parametrize(
    ("keys", "make"),
    [
        ({"to": 0}, lambda opt: LinearLR(opt, 1.0, 0.0, STEPS)),
        ({"to": 1e-5, "kind": "cosine"}, lambda opt: CosineAnnealingLR(opt, STEPS, 1e-5)),
        ({"warmup_kimg": 2}, lambda opt: LambdaLR(opt, lambda step: min(1.0, step / 40))),
        (
            {"to": 0, "kind": "cosine", "warmup_kimg": 2, "start_kimg": 2},
            lambda opt: SequentialLR(
                opt,
                # torch's LinearLR cannot begin at 0.
                [
                    LambdaLR(opt, lambda step: step / 40),
                    CosineAnnealingLR(opt, STEPS - 40, 0.0),
                ],
                [40],
            ),
        ),
        (
            {"to": 1e-4, "start_kimg": 3, "end_kimg": 5},
            lambda opt: SequentialLR(
                opt,
                [ConstantLR(opt, 1.0, 1), LinearLR(opt, 1.0, 0.5, 40)],
                [60],
            ),
        ),
    ],
)
def test_learning_rates_equal_those_of_torchs_schedulers(
    keys: dict[str, Any], make: Callable[[torch.optim.Optimizer], LRScheduler]
) -> None:
    made = schedule(2e-4, **keys)
    ours = [value_at(made, BATCH * step, TOTAL) for step in range(STEPS)]
    assert ours == pytest.approx(torch_rates(make, STEPS), rel=1e-9, abs=1e-15)


def test_a_run_that_ends_before_its_schedule_begins_keeps_to_the_first_value() -> None:
    """As in a first short try of a config: it is no error."""
    made = schedule(1, to=0, start_kimg=9)
    assert config_of({"from": 1, "to": 0, "start_kimg": 9}).generator.learning_rate == made
    assert {value_at(made, n, TOTAL) for n in (0, TOTAL - 1, TOTAL)} == {1}
    assert made.cut_short(8) == "before the change begins at 9 kimg"
    assert schedule(1, warmup_kimg=9).cut_short(8) == "within the warm-up of 9 kimg"
    assert value_at(schedule(1, warmup_kimg=10), TOTAL, TOTAL) == 0.8


def test_without_an_end_a_schedule_follows_the_length_of_the_run() -> None:
    made = schedule(1, to=0)
    assert value_at(made, 4000, 8000) == 0.5
    assert value_at(made, 4000, 16_000) == 0.75
    fixed = schedule(1, to=0, end_kimg=8)
    assert value_at(fixed, 4000, 16_000) == 0.5


@pytest.mark.parametrize(
    ("value", "fragment"),
    [
        ({"from": -1, "to": 0}, r"learning_rate\.from: -1 found; .* greater than or equal to 0"),
        ({"from": 1e-3, "to": 0, "kind": "cosin"}, "did you mean cosine?"),
        ({"from": 1e-3, "tp": 0}, r"unknown key '.*\.tp'; the nearest .*learning_rate\.to'"),
        ({"from": 1e-3, "to": 0, "warm_up_kimg": 1}, r"nearest .*learning_rate\.warmup_kimg'"),
        ({"from": 1e-3, "kind": "cosine"}, "kind cosine needs .*give it as `to`"),
        ({"from": 1e-3, "to": 0, "kind": "constant"}, "kind constant stays at `from`; remove `to`"),
        ({"from": 1e-3, "end_kimg": 1}, "kind constant has no beginning or end"),
        ({"to": 0}, r"learning_rate\.from: missing"),
        ({"from": "1e-3"}, r"learning_rate\.from: '1e-3' found; .*write 0\.001"),
        (
            {"from": 1e-3, "to": 0, "start_kimg": 4, "end_kimg": 2},
            "learning_rate: end_kimg 2 is not after start_kimg 4",
        ),
        (
            {"from": 1e-3, "to": 0, "end_kimg": 5, "warmup_kimg": 6},
            "warmup_kimg 6 is longer than the schedule, which ends at end_kimg 5",
        ),
        ({"from": 1e-3, "warmup_kimg": -1}, r"warmup_kimg: -1 found; .*from 0 to"),
        ([1e-3, 0], r"learning_rate: \[0\.001, 0\] found; expected a number greater than 0, or a"),
        (0, "learning_rate: 0 found; expected a number greater than 0, or a schedule"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_one_error(value: object, fragment: str) -> None:
    with pytest.raises(UserError, match=fragment) as caught:
        config_of(value)
    assert str(caught.value).startswith("x.yaml: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("generator.betas", [0, {"from": 0.9, "to": 1}]),
        ("augment.flip", {"from": 0, "to": 1.5}),
        ("ema.half_life_kimg", {"from": 1, "to": -2}),
    ],
)
def test_a_schedule_keeps_to_the_range_of_its_key(key: str, value: object) -> None:
    with pytest.raises(UserError, match=rf"{key}.*\.to: "):
        config_of(value, key)


def test_the_schedules_of_a_config_are_found_by_key() -> None:
    assert schedules_in(parse_config(TREE, "x")) == {}
    config = config_of([0, {"from": 0.9, "to": 0.99}], "generator.betas")
    assert schedules_in(config) == {"generator.betas.1": config.generator.betas[1]}
    config = config_of({"from": 1, "warmup_kimg": 1}, "ema.half_life_kimg")
    assert list(schedules_in(config)) == ["ema.half_life_kimg"]


def test_the_schedules_of_the_documentation_are_valid() -> None:
    text = (ROOT / "docs" / "config.md").read_text(encoding="utf-8")
    (example,) = (
        block for block in re.findall(r"```yaml\n(.*?)```", text, re.S) if "from:" in block
    )
    sections = load_yaml(example)
    config = parse_config({**TREE, **sections}, "docs")
    assert len(schedules_in(config)) == 5
    assert value_at(config.generator.learning_rate, 5000, 10_000) == pytest.approx(0.5e-4)
