"""Diagnoses of generators that are asked for images of a class."""

import pytest

from gantrain.health.problems import Name
from tests.health.signals import HEALTHY, Signals, diagnosed, measured

CONDITIONAL = HEALTHY | {
    "health/real_class_spread": 0.1,
    "health/fake_class_spread": 0.08,
    "health/real_class_twins": 0.01,
    "health/fake_class_twins": 0.02,
}


@pytest.mark.parametrize(
    ("changes", "name", "evidence"),
    [
        ({}, "no fault seen", ""),
        ({"fake_class_spread": 0.02}, "mode collapse", "of a class differ at most 20% as much"),
        ({"fake_class_spread": 0.03}, "no fault seen", ""),
        # The data have one image of each class, in effect.
        ({"fake_class_spread": 1e-6, "real_class_spread": 1e-4}, "no fault seen", ""),
        # All images are alike, as those of a young generator.
        ({"fake_class_spread": 0.024, "fake_spread": 0.045}, "no fault seen", ""),
        ({"fake_class_twins": 0.5}, "mode collapse", "about 2 different ones of each"),
        ({"fake_class_twins": 0.5, "real_class_twins": 0.2}, "no fault seen", ""),
    ],
)
def test_images_of_a_class_that_are_alike_are_a_collapse(
    changes: Signals, name: Name, evidence: str
) -> None:
    found = diagnosed(CONDITIONAL | {f"health/{key}": value for key, value in changes.items()})
    assert found.name == name
    assert evidence in found.evidence


def last(**others: float) -> tuple[str, str]:
    """Return the diagnosis and the evidence of a run with these measurements all the time."""
    each = {name.replace("__", "/"): [value] * 6 for name, value in others.items()}
    quality = {name: value for name, value in each.items() if "/" not in name}
    line = CONDITIONAL | {name: values[0] for name, values in each.items() if "/" in name}
    _, changes = measured([50.0] * 6, "quality/fid_lite0", line, others=quality)
    return changes[-1].name, changes[-1].evidence


def test_classes_that_collapsed_are_named() -> None:
    few = {"class_diversity": 0.6, "class__diversity__3001": 0.05, "class__diversity__a b": 0.9}
    name, evidence = last(**few, class__diversity__3003=0.2)
    assert name == "mode collapse"
    assert "hardly differ in 2 of 3 classes" in evidence
    assert "3001: 5% as much as real ones, 3003: 20% as much as real ones" in evidence
    many = {f"class__diversity__{i}": 0.9 for i in range(30)}
    assert last(class_diversity=0.9, **many, class__diversity__one=0.1)[0] == "no fault seen"
    assert last(class_diversity=0.1)[0] == "mode collapse"  # of very many classes
    assert last(class_diversity=0.6)[0] == "no fault seen"


def test_a_generator_that_ignores_the_class_is_named_if_its_images_show_classes() -> None:
    def name(accuracy: float, each: tuple[float, ...], **others: float) -> tuple[str, str]:
        classes = {f"class__accuracy__{i}": value for i, value in enumerate(each)}
        shown = {"classes_covered": 1.0, "classes_divergence": 0.05, "classes_accuracy": 0.95}
        return last(class_accuracy=accuracy, **{**shown, **others}, **classes)

    found, evidence = name(0.12, (0.1, 0.15, 0.2, 0.05, 0.5))
    assert found == "classes ignored"
    assert "12% of the generated images show the class" in evidence
    assert "by chance 20%" in evidence
    assert name(0.9, (0.9,) * 5)[0] == "no fault seen"
    assert name(0.5, (0.5,) * 5)[0] == "no fault seen"  # poor, but far more than chance
    # Of two classes, half is what chance hits, however unequal they are.
    assert name(0.8, (0.95, 0.06))[0] == "classes ignored"
    assert name(0.01, ())[0] == "classes ignored"  # of very many classes
    assert name(0.12, (0.1, 0.1), classes_divergence=2.0)[0] == "no fault seen"
