"""Features of a data set: trained once, cached, and described by origin and accuracy."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from gantrain.common.errors import UserError
from gantrain.common.rng import PositionalRNG
from gantrain.config import Config, quality
from gantrain.config.quality import OF_ONE_CLASS, interval_names
from gantrain.data.loading.datasets import ImageDataset
from gantrain.data.loading.opening import open_dataset
from gantrain.data.shards.writer import write_shards
from gantrain.metrics import lite0
from gantrain.metrics.classifier_store import prepare_classifier
from gantrain.metrics.evaluator import Evaluator
from gantrain.metrics.features import Features, open_features
from gantrain.metrics.measure import measure, measure_held_out
from gantrain.metrics.reference import open_reference
from gantrain.models.networks import Generator, build_networks
from tests.conftest import draw_squares, small_config, small_tree
from tests.curves import curve
from tests.launching import Train, launch, write_config

CPU = torch.device("cpu")


pytestmark = pytest.mark.usefixtures("short_classifier_training")


def open_both(config: Config) -> tuple[ImageDataset, Features]:
    dataset = open_dataset(config.data)
    return dataset, open_features(config.metrics.features, config.data, dataset.decoded, CPU)


def test_a_classifier_is_trained_once_and_reports_its_accuracy(
    shards: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = small_config(shards, tmp_path / "run", metrics={"features": "classifier"})
    caplog.set_level(logging.INFO, "gantrain")
    first = prepare_classifier(config.data)
    assert first.classes == ("part0", "part1", "part2", "part3", "part4")
    assert any(
        "training a classifier of the data set's 5 classes" in line for line in caplog.messages
    )
    caplog.clear()
    again = prepare_classifier(config.data)
    assert caplog.messages == []
    for name, tensor in first.network.state_dict().items():
        assert torch.equal(tensor, again.network.state_dict()[name])
    _, features = open_both(config)
    assert features.name == "classifier"
    assert "a classifier of the data set's 5 classes" in features.description


def test_a_damaged_classifier_is_trained_again(
    shards: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = small_config(shards, tmp_path / "run")
    prepare_classifier(config.data)
    (path,) = (tmp_path / "scratch" / "features").rglob("classifier.safetensors")
    path.write_bytes(path.read_bytes()[:-100])
    caplog.set_level(logging.INFO, "gantrain")
    prepare_classifier(config.data)
    assert caplog.messages


def test_a_data_set_without_labels_has_no_classes(tmp_path: Path) -> None:
    samples = (sample.__class__(sample.key, sample.image, {}) for sample in draw_squares(60))
    folder = tmp_path / "plain"
    write_shards(folder, samples, size=32, channels=1, source="squares")
    for kind in ("lite0", "random"):
        config = small_config(folder, tmp_path / "run", metrics={"features": kind})
        _, features = open_both(config)
        assert (features.name, features.classes) == (kind, ())
    labelled = small_config(folder, tmp_path / "run", metrics={"features": "classifier"})
    with pytest.raises(UserError, match=r"metrics\.features: classifier needs"):
        open_both(labelled)
    with pytest.raises(UserError, match="at least two"):
        prepare_classifier(config.data)


def test_streamed_images_have_no_classes(shards: Path, tmp_path: Path) -> None:
    data = {"mode": "stream", "workers": 0}
    config = small_config(shards, tmp_path / "run", data=data, metrics={"features": "lite0"})
    dataset, features = open_both(config)
    assert (features.name, features.classes) == ("lite0", ())
    reference = open_reference(dataset, features, config.data, 32)
    assert len(reference.class_frequencies) == 0
    labelled = small_config(shards, tmp_path / "run", data=data, metrics={"features": "classifier"})
    with pytest.raises(UserError, match="gantrain data features"):
        open_both(labelled)
    prepare_classifier(config.data)
    assert open_both(labelled)[1].name == "classifier"


def test_the_old_name_of_the_classifiers_features_is_read(shards: Path, tmp_path: Path) -> None:
    config = small_config(shards, tmp_path / "run", metrics={"features": "brick"})
    assert config.metrics.features == "classifier"


def test_features_that_are_not_installed_are_a_clear_error(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (lite0, quality):
        monkeypatch.setattr(module, "LITE0_PACKAGE", "a_package_that_nobody_has")
    config = small_config(shards, tmp_path / "run", metrics={"features": "lite0"})
    with pytest.raises(UserError, match="which is not installed: pip install "):
        open_both(config)
    assert open_both(small_config(shards, tmp_path / "run"))[1].name == "artefacts"
    streamed = small_config(shards, tmp_path / "run", data={"mode": "stream", "workers": 0})
    assert open_both(streamed)[1].name == "random"


def test_inception_without_its_package_is_a_clear_error(shards: Path, tmp_path: Path) -> None:
    config = small_config(shards, tmp_path / "run", metrics={"features": "inception"})
    with pytest.raises(UserError, match="inception needs torch-fidelity"):
        open_both(config)


def test_real_images_score_better_than_noise(shards: Path, tmp_path: Path) -> None:
    config = small_config(shards, tmp_path / "run", data={"held_out": 0.25})
    dataset, features = open_both(config)
    reference = open_reference(dataset, features, config.data, 100)
    again = open_reference(dataset, features, config.data, 100)
    assert torch.equal(reference.thumbnails, again.thumbnails)
    assert reference.class_frequencies.tolist() == pytest.approx([0.2] * 5)
    assert len(reference.held_out) == 50

    def scores(images: torch.Tensor) -> dict[str, float]:
        return measure(images, *features.describe(images), features, reference).scores

    copies = scores(dataset.images(PositionalRNG(3, 0, 100)))
    noise = scores(torch.randint(0, 256, (100, 1, 32, 32), dtype=torch.uint8))
    held_out = measure_held_out(features, reference).scores
    assert copies["quality/kid_lite0"] < noise["quality/kid_lite0"] / 20
    assert copies["quality/swd"] < noise["quality/swd"] / 3
    assert copies["quality/precision_lite0"] > 0.9 > noise["quality/precision_lite0"]
    assert copies["quality/memorisation"] == 1
    assert held_out["quality/memorisation"] < 0.2
    assert noise["quality/memorisation"] == 0
    assert copies["quality/nearest_ratio"] < 0.01
    assert held_out["quality/nearest_ratio"] == 1
    assert noise["quality/nearest_ratio"] > 2


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"data": {"held_out": 0.25}},
        {"data": {"held_out": 0.25}, "metrics": {"samples": 16}},  # too few held-out images
        {"data": {"limit": 9}},
        {"data": {"limit": 1}},
        {"data": {"mode": "stream", "workers": 0}},
        {"metrics": {"features": "random"}},
        {"metrics": {"features": "classifier"}},
        {"conditioning": {"kind": "concat"}},
        {"conditioning": {"kind": "concat"}, "metrics": {"samples": 19}},  # too few of a class
        {"conditioning": {"kind": "concat"}, "data": {"mode": "stream", "workers": 0}},
    ],
)
def test_the_names_of_the_metrics_are_known_before_they_are_measured(
    sections: dict[str, dict[str, Any]], shards: Path, tmp_path: Path
) -> None:
    sections = {
        **sections,
        "metrics": {"samples": 24, "every_kimg": 1, **sections.get("metrics", {})},
    }
    config = small_config(shards, tmp_path / "run", **sections)
    dataset = open_dataset(config.data, config.conditioning)
    evaluator = Evaluator(config, dataset, Accelerator(cpu=True))
    generator = build_networks(config, dataset.class_counts())[0].eval()
    possible = evaluator.names()  # if the classifier, which is not trained yet, is good enough
    evaluator.prepare(generator)
    names = evaluator.names()
    assert set(names) <= set(possible)
    intervals = {end for name in names for end in interval_names(name)}
    measured = evaluator.measure(generator)
    of_classes = {name for name in measured if name.startswith(OF_ONE_CLASS)}
    assert {*names, *intervals} == measured.keys() - of_classes
    # Nobody can tell the classes of the squares, so that only their diversity is measured, of
    # classes with enough images.
    assert of_classes <= {f"class/diversity/part{i}" for i in range(5)}
    assert bool(of_classes) == ("quality/class_diversity" in names)
    enough = sections["metrics"]["samples"] >= 20
    assert ("quality/class_diversity" in names) == ("conditioning" in sections and enough)


def test_too_few_real_images_leave_out_the_metrics_of_features(
    shards: Path, tmp_path: Path, train: Train
) -> None:
    run = tmp_path / "run"
    metrics = {"every_kimg": 0.08, "samples": 24}
    tree = small_tree(shards, run, metrics=metrics, data={"limit": 1})
    assert train(write_config(tmp_path / "config.yaml", tree)).returncode == 0
    (first, _) = (line for line in curve(run) if "quality/swd" in line)
    assert not {"quality/kid_lite0", "quality/diversity"} & set(first)


def test_metrics_are_measured_at_log_lines_and_equal_after_a_resume(
    shards: Path, tmp_path: Path, train: Train
) -> None:
    metrics = {"every_kimg": 0.048, "samples": 24}
    for name in ("uninterrupted", "resumed"):
        tree = small_tree(shards, tmp_path / name, metrics=metrics)
        config = write_config(tmp_path / f"{name}.yaml", tree)
        if name == "resumed":
            assert train(config, "training.total_kimg=0.112").returncode == 0
        assert train(config).returncode == 0
    uninterrupted, resumed = curve(tmp_path / "uninterrupted"), curve(tmp_path / "resumed")
    assert uninterrupted == resumed
    measured = [line["images_seen"] for line in uninterrupted if "quality/kid_lite0" in line]
    assert measured == [64, 96, 160]


def test_two_ranks_measure_the_same_images_as_one(
    shards: Path, tmp_path: Path, train: Train
) -> None:
    ends = []
    for name, ranks in (("one", 1), ("two", 2)):
        tree = small_tree(
            shards,
            tmp_path / name,
            metrics={"every_kimg": 0.064, "samples": 31, "features": "random"},
            generator={"norm": "none"},
            discriminator={"norm": "none"},
            training={"total_kimg": 0.064},
        )
        config = write_config(tmp_path / f"{name}.yaml", tree)
        done = train(config) if ranks == 1 else launch(config, ranks=2)
        assert done.returncode == 0, done.stderr
        ends.append(curve(tmp_path / name)[-1])
    quality = [{k: v for k, v in line.items() if k.startswith("quality/")} for line in ends]
    assert "quality/kid_random" in quality[0]
    assert quality[0] == pytest.approx(quality[1], rel=2e-2, abs=1e-4)


def test_the_evaluator_is_deterministic(shards: Path, tmp_path: Path) -> None:
    config = small_config(shards, tmp_path / "run", metrics={"samples": 24})
    dataset = open_dataset(config.data)
    evaluator = Evaluator(config, dataset, Accelerator(cpu=True))
    generator = Generator(config.generator, 32, 1).eval()
    assert evaluator.measure(generator) == evaluator.measure(generator)
