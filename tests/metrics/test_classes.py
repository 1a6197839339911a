"""What hangs on a data set's classifier, on images whose classes can be told apart."""

import io
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from PIL import Image, ImageDraw
from torch import Tensor

from gantrain.common.rng import PositionalRNG
from gantrain.config import ConditioningConfig, Config
from gantrain.config.quality import BY_TWO_SAMPLES
from gantrain.data.loading.datasets import ImageDataset
from gantrain.data.loading.image_table import BROKEN, TRAIN, VALIDATION
from gantrain.data.loading.opening import open_dataset
from gantrain.data.shards.samples import Sample
from gantrain.data.shards.writer import write_shards
from gantrain.metrics import classifier, evaluate
from gantrain.metrics import measure as measure_module
from gantrain.metrics.by_class import Labels
from gantrain.metrics.by_pixels import unique_fraction
from gantrain.metrics.classifier import HeldOutTest, split_rows
from gantrain.metrics.classifier_store import prepare_classifier
from gantrain.metrics.evaluator import Evaluator
from gantrain.metrics.features import Features, open_features
from gantrain.metrics.floor import measure_floor
from gantrain.metrics.measure import Measurement, measure, measure_held_out
from gantrain.metrics.reference import Reference, open_reference
from gantrain.metrics.support import Sizes, measured_names, notices, unsupported
from gantrain.models.networks import Generator
from tests.conftest import small_config

CLASSES = 5
IMAGES = 800


def draw_shapes(count: int) -> Iterator[Sample]:
    """Yield one to five dark dots, in classes by their number."""
    random = np.random.default_rng(0)
    for i in range(count):
        image = Image.new("L", (32, 32), int(random.integers(180, 250)))
        draw = ImageDraw.Draw(image)
        for dot in range(i % CLASSES + 1):
            x, y = (int(n) for n in random.integers(-2, 3, 2))
            x, y = x + 5 + 11 * (dot % 3), y + 8 + 15 * (dot // 3)
            draw.ellipse([x - 3, y - 3, x + 3, y + 3], fill=int(random.integers(0, 90)))
        file = io.BytesIO()
        image.save(file, "PNG")
        yield Sample(f"dots-{i:04d}", file.getvalue(), {"part": f"dots{i % CLASSES + 1}"})


@pytest.fixture(scope="module")
def dots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "dots"
    write_shards(folder, draw_shapes(IMAGES), size=32, channels=1, source="dots")
    return folder


@pytest.fixture(scope="module")
def config(dots: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Config]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classifier, "_MIN_IMAGES_SEEN", 10_000)
        patch.setattr(classifier, "_MAX_IMAGES_SEEN", 10_000)
        config = small_config(
            dots, tmp_path_factory.mktemp("runs") / "run", data={"held_out": 0.25}
        )
        prepare_classifier(config.data)
        yield config


@pytest.fixture(scope="module")
def opened(config: Config) -> tuple[ImageDataset, Features, Reference]:
    dataset = open_dataset(config.data)
    features = open_features("classifier", config.data, dataset.decoded, torch.device("cpu"))
    return dataset, features, open_reference(dataset, features, config.data, 260)


@pytest.fixture(scope="module")
def conditional(config: Config) -> tuple[ImageDataset, Features, Reference]:
    """The same, opened for generators that are asked for classes."""
    dataset = open_dataset(config.data, ConditioningConfig(kind="concat"))
    features = open_features("classifier", config.data, dataset.decoded, torch.device("cpu"))
    return dataset, features, open_reference(dataset, features, config.data, 260)


def scores_of(images: Tensor, features: Features, reference: Reference) -> Measurement:
    return measure(images, *features.describe(images), features, reference)


def test_classifiers_are_tested_on_a_random_tenth_of_each_class() -> None:
    labels = np.repeat([0, 1, 2, 3, -1], [50, 31, 5, 4, 10])
    state = np.full(len(labels), TRAIN)
    state[0] = BROKEN
    training, held_out = split_rows(labels, state)
    assert not set(training) & set(held_out)
    assert sorted([*training, *held_out]) == [*range(1, 90)]
    assert np.bincount(labels[held_out]).tolist() == [4, 3, 1]
    assert held_out[:4].tolist() != [1, 2, 3, 4]
    again = split_rows(labels, state)
    assert (training.tolist(), held_out.tolist()) == tuple(rows.tolist() for rows in again)


def test_classifiers_are_tested_on_the_split_validation_if_there_is_one() -> None:
    labels = np.array([0, 1, 0, 1, -1])
    state = np.array([TRAIN, TRAIN, VALIDATION, VALIDATION, VALIDATION])
    training, held_out = split_rows(labels, state)
    assert (training.tolist(), held_out.tolist()) == ([0, 1], [2, 3])


def test_the_test_of_a_classifier_is_kept_with_it(config: Config) -> None:
    trained = prepare_classifier(config.data)
    test = trained.test
    assert test.images == IMAGES // 10
    assert test.accuracy > 0.9
    assert len(test.recalls) == CLASSES
    assert np.mean(test.recalls) == pytest.approx(test.accuracy)
    assert 0.2 < test.confidence < 1
    assert 0 < test.unknown < 0.3
    assert f"{test.accuracy:.1%} accurate on 80 held-out images" in trained.description


def test_real_images_show_all_classes_and_others_fewer(
    opened: tuple[ImageDataset, Features, Reference],
) -> None:
    dataset, features, reference = opened
    real = dataset.images(PositionalRNG(3, 0, 260))
    classes = features.describe(real)[1].argmax(1)
    random = torch.Generator().manual_seed(0)
    real_scores = scores_of(real, features, reference)
    assert real_scores.scores["quality/classes_made"] == CLASSES
    assert real_scores.scores["quality/classes_divergence"] < 0.05

    one, other = real[classes == 0][:60], real[classes == 4][:60]
    mixed = ((one.float() + other.float()[: len(one)]) / 2).to(torch.uint8).repeat(6, 1, 1, 1)
    noise = (128 + 20 * torch.randn(260, 1, 32, 32, generator=random)).clamp(0, 255).byte()
    dropped = real[classes < 3]
    for images, most in ((mixed, 2), (noise, 2), (dropped, 3)):
        measured = scores_of(images, features, reference)
        assert measured.scores["quality/classes_made"] <= most
        assert measured.scores["quality/classes_covered"] <= most / CLASSES
        low = measured.intervals["quality/classes_divergence"][0]
        assert low > real_scores.intervals["quality/classes_divergence"][1]


def test_real_images_score_better_than_noise(
    opened: tuple[ImageDataset, Features, Reference], config: Config
) -> None:
    dataset, features, reference = opened
    again = open_reference(dataset, features, config.data, 260)
    assert torch.equal(reference.thumbnails, again.thumbnails)
    assert reference.class_frequencies.tolist() == pytest.approx([0.2] * CLASSES)
    assert len(reference.held_out) == IMAGES // 4
    copies = scores_of(dataset.images(PositionalRNG(3, 0, 260)), features, reference).scores
    noise_images = torch.randint(0, 256, (260, 1, 32, 32), dtype=torch.uint8)
    noise = scores_of(noise_images, features, reference).scores
    held_out = measure_held_out(features, reference).scores
    assert copies["quality/fid_classifier"] < noise["quality/fid_classifier"] / 20
    assert copies["quality/swd"] < noise["quality/swd"] / 3
    assert copies["quality/memorisation"] == 1
    assert held_out["quality/memorisation"] < 0.3
    assert noise["quality/memorisation"] == 0
    assert copies["quality/nearest_ratio"] < 0.01
    assert held_out["quality/nearest_ratio"] == 1
    assert noise["quality/nearest_ratio"] > 2


def test_real_images_are_of_their_class_and_as_diverse_and_others_are_not(
    conditional: tuple[ImageDataset, Features, Reference], monkeypatch: pytest.MonkeyPatch
) -> None:
    for test in ("two_sample_test", "critic_distance"):  # take seconds, and have their own tests
        monkeypatch.setattr(measure_module, test, lambda *_: (0.5, (0.4, 0.6)))
    dataset, features, reference = conditional
    names = tuple(dataset.class_counts())
    images, index = dataset.labelled_images(PositionalRNG(3, 0, 260))
    assert index is not None

    def measured(images: Tensor, index: Tensor) -> Measurement:
        labels = Labels(names, index)
        return measure(images, *features.describe(images), features, reference, labels)

    real = measured(images, index)
    assert real.scores["quality/class_accuracy"] > 0.9
    assert real.scores["quality/class_diversity"] > 0.9
    assert set(real.by_class) == set(names)
    assert sum(score.images for score in real.by_class.values()) == 260
    logged = real.logged()
    worst = min(names, key=lambda name: real.by_class[name].diversity)
    assert logged[f"class/diversity/{worst}"] == real.by_class[worst].diversity
    # The class of the next image: images are as good as before, but not of their class.
    ignored = measured(images, index.roll(1))
    assert ignored.scores["quality/class_accuracy"] < 0.4
    assert ignored.intervals["quality/class_accuracy"][1] < 0.5
    # One image of each class.
    first = torch.stack([images[index == label][0] for label in range(CLASSES)])
    copies = measured(first[index], index)
    assert copies.scores["quality/class_diversity"] == 0
    assert copies.scores["quality/diversity"] > 0.5
    held_out = measure_held_out(features, reference, names)
    assert held_out.scores["quality/class_accuracy"] > 0.9
    assert held_out.scores["quality/class_diversity"] > 0.9
    unlike = measure_held_out(features, reference)
    assert unlike.scores.keys() == held_out.scores.keys() - {
        "quality/class_accuracy",
        "quality/class_diversity",
    }
    floor, _ = measure_floor(dataset, features, reference, 260)
    assert floor.scores["quality/class_diversity"] > 0.9
    assert floor.scores["quality/class_accuracy"] > 0.9


def test_repeated_images_are_not_unique(opened: tuple[ImageDataset, Features, Reference]) -> None:
    dataset, features, reference = opened
    real = dataset.images(PositionalRNG(3, 0, 260))
    few = real[:26].repeat(10, 1, 1, 1)
    nearly = (few.int() + torch.randint(-1, 2, few.shape)).clamp(0, 255).byte()
    assert unique_fraction(real, reference.images) > 0.8
    assert unique_fraction(nearly, reference.images) <= 0.1
    measured = scores_of(few, features, reference)
    assert measured.scores["quality/unique"] <= 0.1
    assert measured.intervals["quality/unique"][1] < 0.15


def test_a_generator_that_repeats_few_real_images_is_not_perfect(
    opened: tuple[ImageDataset, Features, Reference],
    config: Config,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = opened[0].images(PositionalRNG(3, 0, 26))
    generator = Generator(config.generator, 32, 1).eval()
    monkeypatch.setattr(evaluate, "generate_images", lambda *_: real.repeat(10, 1, 1, 1))
    against = evaluate.open_real_images(config.data, samples=260, features_kind="random")
    stages: list[tuple[int, int]] = []
    result = evaluate.evaluate_generator(
        generator, against, seed=0, advance=lambda done, total: stages.append((done, total))
    )
    assert stages == [(1, 3), (2, 3), (3, 3)]
    assert result.generated.scores["quality/unique"] <= 0.1
    assert any(line.startswith("unique: only 10% of 260 images") for line in result.notices)
    assert result.floor.scores["quality/unique"] > 0.8


@pytest.mark.usefixtures("short_classifier_training")
def test_a_classifier_that_is_often_wrong_counts_no_classes_and_says_so_once(
    shards: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The classes of the squares are numbered without regard to what they show."""
    metrics = {"samples": 24, "every_kimg": 1, "features": "classifier"}
    config = small_config(shards, tmp_path / "run", metrics=metrics)
    caplog.set_level(logging.INFO, "gantrain")
    evaluator = Evaluator(config, open_dataset(config.data), Accelerator(cpu=True))
    generator = Generator(config.generator, 32, 1).eval()
    evaluator.prepare(generator)
    for _ in range(2):
        assert not [name for name in evaluator.measure(generator) if "classes" in name]
    (line,) = (line for line in caplog.messages if "classes_made" in line)
    assert "not measured: classes_made, classes_covered, classes_divergence" in line
    assert "of 20 held-out images, and 80% is needed" in line


def test_metrics_need_enough_images_and_features_that_suit_unseen_ones() -> None:
    def left_out(samples: int, real: int, test: HeldOutTest | None = None) -> set[str]:
        sizes = Sizes(samples, real, 100, 64, labels=True, test=test)
        names = unsupported("classifier", sizes)
        return {name.removeprefix("quality/").replace("classifier", "x") for name in names}

    def tested(accuracy: float, coverage: float) -> HeldOutTest:
        return HeldOutTest(100, accuracy, (1.0,), 0.8, 0.1, coverage)

    neighbours = {"precision_x", "recall_x", "density_x", "coverage_x"}
    classes = {"classes_made", "classes_covered", "classes_divergence", "classes_accuracy"}
    assert left_out(128, 128) == left_out(5000, 5000, tested(0.8, 0.9)) == set()
    assert left_out(127, 5000) == left_out(5000, 127) == {"fid_x"}
    assert left_out(16, 11) == {"fid_x", *BY_TWO_SAMPLES, *neighbours}
    assert left_out(128, 128, tested(0.9, 0.89)) == neighbours
    assert left_out(128, 128, tested(0.79, 1)) == classes
    sizes = Sizes(128, 128, 100, 64, labels=True, test=tested(0.9, 0.1))
    assert unsupported("lite0", sizes) == {}
    unknown = HeldOutTest(0, np.nan, (np.nan,), np.nan, np.nan, np.nan)
    assert left_out(128, 128, unknown) == {*neighbours, *classes}
    sizes = Sizes(100, 100, 0, 64, labels=True, test=tested(0.5, 1))
    assert notices("x", sizes) == [
        "not measured: fid_x: 128 generated and as many training images are needed, twice the 64 "
        "features, and there are 100 and 100.",
        "not measured: classes_made, classes_covered, classes_divergence, classes_accuracy: the "
        "classifier is right on 50% of 100 held-out images, and 80% is needed.",
    ]
    assert set(measured_names("x", sizes)).isdisjoint(unsupported("x", sizes))
