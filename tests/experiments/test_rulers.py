"""The damage and the verdicts of the battery of rulers, and what the default ruler must pass."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from experiments.rulers import damage
from experiments.rulers.battery import (
    GRADED,
    graded_verdict,
    neighbour_accuracy,
    run_battery,
)
from experiments.rulers.grounds import Ground
from experiments.rulers.two_sample import run_two_sample_battery
from gantrain.metrics.lite0 import describe_images, load_lite0
from gantrain.metrics.two_sample import two_sample_test

EXPECTED = {"fid": "rises", "kid": "rises"}
NO_CLASSES = torch.zeros(0)


def draw_shapes(count: int, seed: int, size: int = 32) -> tuple[Tensor, Tensor]:
    """Soft discs, squares, rings and bars of random places, sizes and shades, and their classes."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    images, classes = [], random.integers(0, 4, count)
    for kind in classes:
        centre, radius, shade = random.uniform(0.35, 0.65, 2), random.uniform(0.1, 0.25), 0.0
        shade = random.uniform(0.0, 0.6)
        dx, dy = x - centre[0], y - centre[1]
        distance = [
            np.hypot(dx, dy),
            np.maximum(abs(dx), abs(dy)),
            abs(np.hypot(dx, dy) - radius) + radius * 0.7,
            np.maximum(abs(dx) * 3, abs(dy)),
        ][kind]
        inside = 1 / (1 + np.exp((distance - radius) * size * 2))
        images.append(255 * (0.9 - (0.9 - shade) * inside))
    return torch.from_numpy(np.stack(images)).round().byte()[:, None], torch.from_numpy(classes)


def ground(samples: int) -> Ground:
    reference, classes = draw_shapes(2 * samples, 1)
    others, other_classes = draw_shapes(samples, 2)
    unseen, unseen_classes = draw_shapes(samples, 3)
    varied = torch.ones(samples, dtype=torch.bool)
    return Ground(
        *("shapes", reference, classes, others, other_classes, unseen, unseen_classes, varied)
    )


def test_blur_is_that_of_scipy() -> None:
    image = draw_shapes(1, 0)[0]
    expected = gaussian_filter(image[0, 0].double().numpy(), 1.5, mode="nearest", radius=5)
    blurred = damage.blur(image, NO_CLASSES, 1.5)[0, 0].double().numpy()
    assert np.abs(blurred - expected).max() <= 0.51


@pytest.mark.parametrize("kind", GRADED, ids=lambda kind: kind.name)
def test_damage_keeps_the_number_of_images_and_grows_with_the_level(kind: damage.Damage) -> None:
    images, classes = draw_shapes(40, 0)
    differences = []
    for level in kind.levels:
        damaged = kind.apply(images, classes, level)
        assert (damaged.shape, damaged.dtype) == (images.shape, torch.uint8)
        differences.append(float((damaged.double() - images).square().mean()))
    if kind.name not in ("dropped classes", "copied images"):
        assert all(0 < a < b for a, b in itertools.pairwise(differences))


def test_dropped_classes_and_copies_are_as_many_as_asked_for() -> None:
    _, classes = draw_shapes(80, 0)
    index = torch.arange(80).byte()[:, None, None, None].expand(-1, 1, 32, 32)
    kept = damage.drop_classes(index, classes, 0.5)[:, 0, 0, 0].long()
    assert set(classes[kept].tolist()) == {0, 1}
    assert len(set(damage.duplicate(index, classes, 0.9)[:, 0, 0, 0].tolist())) == 8


def test_verdicts_ask_for_each_step() -> None:
    kind = GRADED[0]

    def passed(name: str, *values: float) -> bool:
        return graded_verdict(kind, name, [{name: v} for v in values]).passed

    assert passed("fid", 1, 2, 3)
    assert not passed("fid", 1, 3, 2)
    assert passed("precision", 0.9, 0.5, 0.0, 0.01)
    assert not passed("precision", 0.9, 0.5, 0.7)
    assert not passed("precision", 0.9, 0.89, 0.885)


def test_neighbours_vote() -> None:
    rows = torch.tensor([[0.0], [0.1], [0.2], [5.0], [5.1], [5.2], [5.3], [9.0]])
    labels = torch.tensor([0, 0, 0, 1, 1, 1, 1, 0])
    assert neighbour_accuracy(rows, labels, torch.tensor([[0.0], [5.0]]), labels[[0, 3]]) == 1


def test_lite0_passes_the_battery_on_drawn_shapes() -> None:
    network = load_lite0()
    # The highest levels only, since so few images cannot tell the lowest from none.
    graded = [replace(kind, levels=kind.levels[-1:], expected=EXPECTED) for kind in GRADED]
    verdicts, scores = run_battery(lambda x: describe_images(network, x), ground(120), graded)
    failed = [verdict for verdict in verdicts if not verdict.passed]
    assert failed == []
    assert scores["held-out", 0.0]["accuracy"] > 0.9
    assert scores["held-out", 0.0]["coverage_of_ideal"] > 0.9


def test_a_two_sample_test_sees_damage_and_no_difference_where_there_is_none() -> None:
    real, _ = draw_shapes(300, 1)
    others, classes = draw_shapes(300, 2)
    assert two_sample_test(real, others, steps=30)[0] == pytest.approx(0.5, abs=0.12)
    assert two_sample_test(real, damage.blur(others, classes, 2), steps=30)[0] > 0.9


def test_the_two_sample_test_passes_its_battery_where_differences_are_plain() -> None:
    blur = [replace(kind, levels=kind.levels[-1:]) for kind in GRADED if "blur" in kind.name]
    verdicts, scores = run_two_sample_battery(ground(150), blur)
    by_test = {verdict.test: verdict.passed for verdict in verdicts}
    assert by_test["real against real"]
    assert by_test["blur, σ in pixels"]
    assert scores["blur, σ in pixels", 4]["c2st"] > 0.9
