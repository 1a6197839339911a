"""Accuracy and diversity of classes, against loops over the definitions and closed forms."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gantrain.config import parse_config
from gantrain.metrics.by_class import (
    Labels,
    accuracies,
    accuracy_interval,
    class_diversity,
    class_hits,
    halves_of_classes,
    spread_within,
)
from gantrain.metrics.evaluator import generate_images
from gantrain.models.networks import build_networks
from tests.conftest import small_tree


def test_the_spread_within_classes_is_the_mean_over_all_their_pairs() -> None:
    random = torch.Generator().manual_seed(0)
    vectors, index = torch.randn(40, 7, generator=random), torch.arange(40) % 5
    index[index == 4] = 3
    index[0] = 5
    found = spread_within(vectors, index, 6)
    for label in range(6):
        rows = vectors[index == label].double().numpy()
        pairs = [((a - b) ** 2).mean() for a, b in itertools.combinations(rows, 2)]
        expected = np.mean(pairs) if pairs else math.nan
        assert float(found[label]) == pytest.approx(expected, nan_ok=True)


@given(st.lists(st.integers(0, 6), min_size=1, max_size=60), st.integers(0, 100))
def test_halves_have_half_of_each_class(classes: list[int], seed: int) -> None:
    index = torch.tensor(classes)
    rows = halves_of_classes(index, np.random.default_rng(seed))
    assert len(set(rows)) == len(rows)
    for label in set(classes):
        assert (
            classes.count(label)
            <= 2 * int((index[rows] == label).sum())
            <= (classes.count(label) + 1)
        )


@settings(max_examples=30)
@given(st.permutations(["a", "b", "c", "d"]), st.integers(0, 1000))
def test_hits_are_those_of_a_loop_whatever_the_order_of_the_classes(
    classes: list[str], seed: int
) -> None:
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(30, 4, generator=random)
    labels = Labels(("a", "c", "d"), torch.randint(0, 2, (30,), generator=random))
    hits = class_hits(logits, classes, labels)
    for i, row in enumerate(logits.tolist()):
        known = [name for name in classes if name != "b"]  # the generator was never asked for it
        seen = max(known, key=lambda name: row[classes.index(name)])
        assert bool(hits[i]) == (seen == labels.names[labels.index[i]])
    each = accuracies(hits, labels)
    assert math.isnan(each[2])
    value, (low, high) = accuracy_interval(hits)
    counts = torch.bincount(labels.index)
    assert value == pytest.approx(float((each[:2] * counts).sum() / 30))
    assert low <= value <= high


def test_classes_that_the_classifier_does_not_know_are_never_hit() -> None:
    hits = class_hits(torch.zeros(4, 1), ["a"], Labels(("a", "new"), torch.tensor([0, 0, 1, 1])))
    assert hits.tolist() == [True, True, False, False]


def drawn(scales: list[float], count: int, random: torch.Generator) -> tuple[torch.Tensor, Labels]:
    """Return normal vectors of 12 numbers, `count` of each class, about means far apart."""
    index = torch.arange(len(scales) * count) % len(scales)
    noise = torch.randn(len(index), 12, generator=random)
    vectors = 5 * index[:, None] + torch.tensor(scales)[index][:, None] * noise
    return vectors, Labels(tuple("abcdefgh"[: len(scales)]), index)


def test_diversity_is_the_ratio_of_deviations_of_which_none_makes_up_for_another() -> None:
    random = torch.Generator().manual_seed(0)
    real, of_real = drawn([1.0, 2.0, 1.0, 1.0], 1000, random)
    fake, labels = drawn([0.5, 0.5, 3.0, 0.0], 1000, random)
    found = class_diversity(real, of_real.index, fake, labels)
    assert found.of_class.tolist() == pytest.approx([0.5, 0.25, 3.0, 0.0], rel=0.02)
    assert found.mean == pytest.approx((0.5 + 0.25 + 1 + 0) / 4, rel=0.01)
    assert found.interval[0] < found.mean < found.interval[1]


def test_classes_with_few_images_or_a_single_real_one_do_not_count() -> None:
    random = torch.Generator().manual_seed(0)
    real, of_real = drawn([1.0, 1e-3, 1.0], 100, random)
    fake, labels = drawn([0.5, 0.5, 0.0], 100, random)
    rows = (labels.index < 2) | (torch.arange(300) < 9)  # three of the last class
    found = class_diversity(
        real, of_real.index, fake[rows], Labels(labels.names, labels.index[rows])
    )
    assert torch.isnan(found.of_class).tolist() == [False, True, True]
    assert found.mean == pytest.approx(0.5, rel=0.05)


def test_the_interval_of_diversity_contains_the_truth_in_most_cases() -> None:
    random = torch.Generator().manual_seed(0)
    contained = 0
    for _ in range(60):
        real, of_real = drawn([1.0, 2.0, 1.0], 100, random)
        fake, labels = drawn([0.6, 1.2, 0.3], 16, random)
        low, high = class_diversity(real, of_real.index, fake, labels).interval
        contained += low <= 0.5 <= high
    assert contained >= 53  # 95% of 60 is 57, with a deviation of 1.7


def test_the_classes_asked_for_are_those_that_are_generated() -> None:
    config = parse_config(
        small_tree(Path("x"), Path("runs/run"), conditioning={"kind": "concat"}), "test"
    )
    generator = build_networks(config, {"a": 3, "b": 1})[0].eval()
    labels = Labels.asked_for(generator, 5, 50)
    assert labels is not None
    assert labels.names == ("a", "b")
    assert 5 < int(labels.index.sum()) < 22
    images = torch.cat([generate_images(generator, 5, 50, rank, 2) for rank in range(2)])
    seen: list[torch.Tensor] = []
    generator.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1]))
    assert torch.equal(generate_images(generator, 5, 50), images)
    assert torch.equal(torch.cat(seen), labels.index)
    plain = build_networks(parse_config(small_tree(Path("x"), Path("r")), "test"))[0]
    assert Labels.asked_for(plain, 5, 50) is None
