"""The signals of a run: from pixels and weights, and the diagnoses that real trainings get."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from PIL import Image

from gantrain.common.rng import PositionalRNG
from gantrain.data.loading.datasets import Images
from gantrain.data.shards.samples import Sample
from gantrain.data.shards.writer import write_shards
from gantrain.health import diagnosis as diagnosis_module
from gantrain.health import state as state_module
from gantrain.training.batch import Batch, Moment
from gantrain.training.gan import Gan
from gantrain.training.image_signals import class_signals, image_signals
from gantrain.training.loop import d_step, g_step
from gantrain.training.meter import Meter
from gantrain.training.objectives import make_objective
from tests.conftest import WGAN_GP, small_config, small_tree
from tests.curves import curve, events
from tests.launching import Train, write_config


def images_of(seed: int) -> torch.Tensor:
    """Eight images of which the first two are the same, and some pixels are beyond the range."""
    x = 0.5 * torch.randn(8, 3, 6, 6, generator=torch.Generator().manual_seed(seed))
    x[1] = x[0] + 0.01
    return x.clamp(-1, 1)


def test_signals_of_pixels_agree_with_a_loop_over_images_and_pairs() -> None:
    real, fake = images_of(0), images_of(1)[:7]
    metrics = image_signals(real, fake)
    for kind, images in (("real", real.numpy()), ("fake", fake.numpy())):
        pairs = [(images[i], images[i + 1]) for i in range(0, len(images) - 1, 2)]
        twins = [((a - b) ** 2).mean() < 0.05 * (a.var() + b.var()) for a, b in pairs]
        expected = {
            "spread": np.mean([((a - b) ** 2).mean() for a, b in pairs]),
            "twins": np.mean(twins),
            "range": np.mean([(x.max() - x.min()) / 2 for x in images]),
            "saturated": np.mean(np.abs(images) > 0.98),
        }
        assert 0 < expected["twins"] < 1
        for name, value in expected.items():
            assert float(metrics[f"health/{kind}_{name}"]) == pytest.approx(value, rel=1e-5)


def test_signals_of_pixels_do_not_depend_on_the_split_of_a_batch() -> None:
    real, fake = images_of(0), images_of(1)
    whole = image_signals(real, fake)
    halves = [image_signals(real[i : i + 4], fake[i : i + 4]) for i in (0, 4)]
    for name, value in whole.items():
        mean = (halves[0][name] + halves[1][name]) / 2
        assert float(mean) == pytest.approx(float(value), rel=1e-5), name


def test_images_without_contrast_and_single_images_are_no_twins() -> None:
    for grey in (0.0, 0.1, -1 / 3, -1.0):  # whose mean differs from it by rounding
        flat = torch.full((4, 1, 64, 64), grey)
        assert float(image_signals(flat, flat)["health/fake_twins"]) == 0
    assert "health/fake_twins" not in image_signals(flat[:1], flat[:1])


def test_twins_are_found_among_images_of_little_contrast() -> None:
    faint = -1 + 1e-4 * torch.rand(4, 1, 64, 64)
    faint[1] = faint[0]
    metrics = image_signals(faint, faint[::2])
    assert float(metrics["health/real_twins"]) == 0.5
    assert float(metrics["health/fake_twins"]) == 0


def test_signals_within_classes_agree_with_a_loop_over_the_pairs_of_each_class() -> None:
    classes = torch.tensor([0, 0, 2, 1, 2, 2, 5, 1])
    real, fake = images_of(0), images_of(1)
    metrics = class_signals(Images(real, classes), Images(fake, classes))
    for kind, images in (("real", real.numpy()), ("fake", fake.numpy())):
        pairs = [
            (images[i], images[j]) for j in range(8) for i in range(j) if classes[i] == classes[j]
        ]
        assert len(pairs) == 5
        twins = [((a - b) ** 2).mean() < 0.05 * (a.var() + b.var()) for a, b in pairs]
        spread = np.mean([((a - b) ** 2).mean() for a, b in pairs])
        assert float(metrics[f"health/{kind}_class_spread"]) == pytest.approx(spread, rel=1e-4)
        assert float(metrics[f"health/{kind}_class_twins"]) == pytest.approx(np.mean(twins))
        assert np.mean(twins) > 0


def test_batches_without_two_images_of_a_class_have_no_signal_and_do_not_count() -> None:
    images, meter = images_of(0), Meter(Accelerator(cpu=True))
    alone, pairs = torch.arange(8), torch.arange(8) // 2
    single = class_signals(Images(images, alone), Images(images, alone))
    assert all(value.isnan() for value in single.values())
    some = class_signals(Images(images, pairs), Images(images, pairs))
    for metrics in (single, some, single):
        meter.add(metrics)
    assert meter.read() == pytest.approx({name: float(value) for name, value in some.items()})
    assert class_signals(Images(images, None), Images(images, None)) == {}


def test_batches_of_many_classes_measure_the_spread_within_them() -> None:
    """50 classes and batches of 64, whose classes differ far more than the images of one."""
    random = torch.Generator().manual_seed(0)
    means = 0.5 * torch.randn(50, 1, 8, 8, generator=random)
    found = []
    for _ in range(20):
        classes = torch.randint(0, 50, (64,), generator=random)
        images = means[classes] + 0.1 * torch.randn(64, 1, 8, 8, generator=random)
        alike = Images(means[classes], classes)
        found.append(class_signals(Images(images, classes), alike))
    spread = np.mean([float(metrics["health/real_class_spread"]) for metrics in found])
    assert spread == pytest.approx(2 * 0.1**2, rel=0.03)
    assert max(float(metrics["health/fake_class_spread"]) for metrics in found) < 1e-6
    assert all(metrics["health/fake_class_twins"] == 1 for metrics in found)


def test_a_generator_that_ignores_its_latents_has_collapsed_within_classes(
    shards: Path, tmp_path: Path, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagnosis_module, "QUIET_STEPS", 30)
    monkeypatch.setattr(diagnosis_module, "WINDOW_STEPS", 12)
    monkeypatch.setattr(diagnosis_module, "COURSE_STEPS", 30)
    monkeypatch.setattr(state_module, "COURSE_STEPS", 30)
    monkeypatch.setattr(state_module, "COURSE_INTERVAL", 2)
    sections: dict[str, dict[str, Any]] = {
        "conditioning": {"kind": "concat"},
        "training": {"total_kimg": 0.8},
    }
    done = train(write_config(tmp_path / "c.yaml", small_tree(shards, tmp_path / "a", **sections)))
    assert done.returncode == 0, done.stderr
    latents = Gan.latents
    monkeypatch.setattr(Gan, "latents", lambda *arguments: 0 * latents(*arguments))
    done = train(write_config(tmp_path / "c.yaml", small_tree(shards, tmp_path / "b", **sections)))
    assert done.returncode == 0, done.stderr
    for line, alike in zip(curve(tmp_path / "a"), curve(tmp_path / "b"), strict=True):
        assert line["health/fake_class_spread"] > 2 * alike["health/fake_class_spread"]
    said = [x["evidence"] for x in events(tmp_path / "b", "diagnosis")]
    assert any("of a class" in evidence for evidence in said), (said, curve(tmp_path / "b")[-1])


@pytest.mark.parametrize("sections", [{}, WGAN_GP])
def test_the_change_of_weights_is_that_of_the_last_step(sections: dict[str, Any]) -> None:
    config = small_config(Path("shards"), Path("run"), **sections)
    gan, objective = Gan(config, Accelerator(cpu=True)), make_objective(config)
    assert gan.weight_changes() == {}
    images = torch.rand(16, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    for step in range(3):
        before = {
            name: torch.cat([p.detach().clone().flatten() for p in network.parameters()])
            for name, network in (("d", gan.discriminator), ("g", gan.generator))
        }
        batch = Batch(images, PositionalRNG(0, 16 * step, 16), Moment(d_step=step))
        d_step(gan, objective, batch)
        g_step(gan, objective, batch)
        changes = gan.weight_changes()
        for name, network in (("d", gan.discriminator), ("g", gan.generator)):
            after = torch.cat([p.detach().flatten() for p in network.parameters()])
            expected = float((after - before[name]).norm() / after.norm())
            assert changes[f"health/{name}_weight_change"] == pytest.approx(expected, rel=1e-3)


def same_image(count: int) -> Iterator[Sample]:
    file = io.BytesIO()
    Image.linear_gradient("L").resize((32, 32)).save(file, "PNG")
    for i in range(count):
        yield Sample(f"{i:03d}", file.getvalue(), {"part": "one", "name": "one"})


@pytest.mark.parametrize(
    ("sections", "name", "evidence", "doubt"),
    [
        (
            {"generator": {"learning_rate": 1e-12}},
            "dead player",
            "the generator stands still",
            "generator.learning_rate: 1e-12 hardly changes the weights",
        ),
        (
            {"objective": {"label_flips": 0.499}, "discriminator": {"learning_rate": 1e-3}},
            "uninformative labels",
            "that of guessing",
            "objective.label_flips: at 0.499 labels say next to nothing",
        ),
        (
            {"data": {"shards": "constant"}},
            "unsuitable data",
            "the real images are all the same",
            "all of the 4 real images looked at are the same",
        ),
    ],
)
def test_a_training_that_cannot_work_says_so_at_the_start_and_soon_after(
    sections: dict[str, dict[str, Any]],
    name: str,
    evidence: str,
    doubt: str,
    shards: Path,
    tmp_path: Path,
    train: Train,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(diagnosis_module, "QUIET_STEPS", 30)
    monkeypatch.setattr(diagnosis_module, "WINDOW_STEPS", 12)
    if "data" in sections:
        folder = tmp_path / "constant"
        write_shards(folder, same_image(32), size=32, channels=1, source="one image")
        sections = {"data": {"shards": str(folder)}}
    run = tmp_path / "run"
    tree = small_tree(shards, run, training={"total_kimg": 0.8})
    for section, values in sections.items():
        tree[section] = {**tree[section], **values}
    done = train(write_config(tmp_path / "config.yaml", tree))
    assert done.returncode == 0, done.stderr
    assert doubt in done.stderr
    (start,) = events(run, "starts")
    assert doubt in "".join(start["notices"])
    assert curve(run)[-1]["health/diagnosis"] > 0, events(run, "diagnosis")
    (event,) = events(run, "diagnosis")
    assert event["diagnosis"] == name
    assert evidence in event["evidence"]


def test_a_training_that_works_has_no_doubts(shards: Path, tmp_path: Path, train: Train) -> None:
    done = train(write_config(tmp_path / "c.yaml", small_tree(shards, tmp_path / "run")))
    assert done.returncode == 0
    assert events(tmp_path / "run", "starts")[0]["notices"] == []
