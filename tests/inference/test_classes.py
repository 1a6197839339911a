"""Generators with conditioning: samples of a class, mixtures, projection, ONNX."""

import itertools
import json
from pathlib import Path
from typing import Literal

import pytest
import torch

from gantrain.common.errors import UserError
from gantrain.inference.classes import (
    row_classes,
    sample_rows,
    select_classes,
    split_class_names,
)
from gantrain.inference.onnx import export_onnx, verify_onnx
from gantrain.inference.projection import project
from gantrain.inference.sampling import (
    generate_images,
    sample_classes,
    sample_images,
    sample_latents,
    select_drawn_classes,
)
from gantrain.models.networks import Generator
from tests.inference.conditional import COUNTS, conditional_generator


def test_each_row_has_its_class_and_each_column_its_latent() -> None:
    generator = conditional_generator()
    images = sample_rows(generator, ["part3", "part0"], 5, 7, truncation=0.5)
    latents = sample_latents(generator, 5, 7) * 0.5
    for row, one_hot in enumerate(([0, 0, 0, 1], [1, 0, 0, 0])):
        # As the book's CGAN: the class is beside the latents.
        joined = torch.cat([latents, torch.tensor([one_hot] * 5).float()], 1)
        expected = generator.layers(joined[:, :, None, None])
        assert torch.allclose(images[5 * row : 5 * row + 5], expected, atol=1e-6)
    assert (images[:5] - images[5:]).abs().mean() > 1e-3


def test_samples_have_the_given_classes_or_those_of_the_data() -> None:
    generator = conditional_generator()
    drawn = sample_classes(generator, 2000, 0)
    assert drawn is not None
    # Ten of 130 images are of the third class.
    assert (drawn == 2).float().mean() == pytest.approx(10 / 130, abs=0.02)
    latents = sample_latents(generator, 300, 0)
    images = sample_images(generator, 300, 0)
    assert torch.allclose(images, generate_images(generator, latents, drawn[:300]), atol=1e-6)
    numbers = [0, 270]
    assert torch.equal(select_drawn_classes(generator, numbers, 0), drawn[numbers])  # type: ignore[arg-type]
    one = select_classes(generator, ["part3"])
    all_of_one = generate_images(generator, latents, torch.full((300,), 3))
    assert torch.allclose(sample_images(generator, 300, 0, classes=one), all_of_one, atol=1e-6)
    each = torch.arange(300) % 4
    expected = generate_images(generator, latents, torch.eye(4)[each])
    assert torch.allclose(sample_images(generator, 300, 0, classes=each), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (None, "expected classes, an index or 4 weights for each image"),
        (torch.tensor([0, 1]), r"shape \(2,\): expected \(3,\) or \(3, 4\)"),
        (torch.zeros(3, 5), r"shape \(3, 5\)"),
        (torch.tensor([0, 1, 4]), "indices from 0 to 3"),
        (torch.tensor([-1]), "indices from 0 to 3"),
    ],
)
def test_classes_that_do_not_fit_are_rejected(classes: torch.Tensor | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        generate_images(conditional_generator(), torch.zeros(3, 8), classes)


def test_a_generator_without_classes_takes_none(generator: Generator) -> None:
    with pytest.raises(UserError, match="without classes"):
        generate_images(generator, torch.zeros(3, 8), torch.tensor([0]))
    with pytest.raises(UserError, match="without classes"):
        select_classes(generator, ["part0"])
    assert row_classes(generator) == []


def test_keys_may_have_commas_and_unknown_ones_are_listed() -> None:
    generator = conditional_generator()
    words = ["part3, part0", "with, comma", "part1"]
    assert split_class_names(generator, words) == ["part3", "part0", "with, comma", "part1"]
    with pytest.raises(UserError, match=r"class 'part2': unknown; expected one of: part0, part1"):
        select_classes(generator, ["part0", "part2"])
    many = conditional_generator(counts={f"{i:03d}": 1 for i in range(100)})
    with pytest.raises(UserError, match=r"did you mean 077\? .* 019 and 80 more\."):
        select_classes(many, ["77"])


def test_many_classes_are_spread_over_the_rows() -> None:
    assert row_classes(conditional_generator()) == list(COUNTS)
    rows = row_classes(conditional_generator(counts={f"{i}": 1 for i in range(100)}))
    assert len(rows) == 32
    steps = [int(b) - int(a) for a, b in itertools.pairwise(rows)]
    assert rows[0] == "0"
    assert set(steps) == {3, 4}


def test_projection_finds_the_class_of_generated_images() -> None:
    generator = conditional_generator()
    # Another seed, so that no starting point is the solution.
    targets = generate_images(generator, sample_latents(generator, 2, 77), torch.tensor([0, 3]))
    found = project(generator, targets, steps=30)
    assert found.classes is not None
    assert found.classes.tolist() == [0, 3]
    images = generate_images(generator, found.latents, found.classes)
    assert torch.allclose(images, found.images, atol=1e-5)
    taken: list[tuple[int, int]] = []
    fixed = project(
        generator,
        targets[:1],
        classes=torch.tensor([2]),
        steps=2,
        advance=lambda done, total: taken.append((done, total)),
    )
    assert taken == [(1, 2), (2, 2)]
    assert fixed.classes is not None
    assert fixed.classes.tolist() == [2]


@pytest.mark.parametrize("kind", ["concat", "projection"])
def test_onnx_takes_weights_of_classes(
    kind: Literal["concat", "projection"], tmp_path: Path
) -> None:
    runtime = pytest.importorskip("onnxruntime")
    # Enough text that the length of the metadata takes several bytes.
    generator = conditional_generator(kind, {f"class {i}: \u9774": 1 for i in range(20)})
    path = export_onnx(generator, tmp_path / "g.onnx")
    difference = verify_onnx(generator, path)
    assert difference is not None
    assert difference < 1e-4
    session = runtime.InferenceSession(str(path))
    names = json.loads(session.get_modelmeta().custom_metadata_map["classes"])
    assert names == list(generator.conditioning.class_names)
    for count in (1, 5):  # neither is the batch size of the export
        latents, classes = sample_latents(generator, count, 3), torch.arange(count) * 4
        inputs = {"latents": latents.numpy(), "classes": torch.eye(20)[classes].numpy()}
        (images,) = session.run(None, inputs)
        expected = generate_images(generator, latents, classes)
        assert torch.allclose(torch.from_numpy(images), expected, atol=1e-4)
