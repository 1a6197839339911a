"""Features to compare images by; their kinds are the values of `metrics.features`."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gantrain.common.errors import UserError
from gantrain.common.rng import Stream, derive_seed
from gantrain.config import DataConfig
from gantrain.config.quality import default_features
from gantrain.data.loading.cache import Cache
from gantrain.data.loading.scratch import open_store
from gantrain.data.shards.manifest import Manifest
from gantrain.metrics.artefact_store import load_or_train_artefacts
from gantrain.metrics.artefacts import WIDTH, ArtefactNetwork
from gantrain.metrics.classifier import Classifier, HeldOutTest, TrainedClassifier
from gantrain.metrics.classifier_store import (
    classifier_path,
    features_folder,
    load_or_train_classifier,
)
from gantrain.metrics.lite0 import DIMENSION, describe_images, load_lite0
from gantrain.metrics.small_networks import in_batches

_BATCH_SIZE = 256


@dataclass(frozen=True)
class Features:
    """A function from images to features, in which distances between images are meaningful.

    name: a value of `metrics.features` other than auto.
    describe: returns features float32 (N, D), D at most 256, and logits (N, K) of uint8 images
        (N, C, S, S), on the device that the features were opened on. K is 0 without classes.
    classes: the class of each logit, those of the data set's classifier; may be empty.
    description: origin of the features and accuracy of the classifier, for display.
    test: how the classifier does on held-out images; None without one.
    """

    name: str
    describe: Callable[[Tensor], tuple[Tensor, Tensor]]
    classes: tuple[str, ...]
    description: str
    test: HeldOutTest | None = None


@dataclass(frozen=True)
class Choice:
    """Which features a run uses.

    name: as `Features.name`. reason: why, if they are random. with_classes: whether the data set's
    classifier gives classes as well.
    """

    name: str
    reason: str = ""
    with_classes: bool = False


def open_features(
    kind: str, config: DataConfig, cache: Cache | None, device: torch.device
) -> Features:
    """Open the features of a data set; train its classifier if that has not been done yet.

    kind: a value of `metrics.features`.
    cache: the decoded images of the set. Without it, the classifier must have been trained before.

    Raises UserError if the features are not available.
    """
    store = open_store(config)
    manifest = store.manifest()
    choice = choose_features(kind, config, has_cache=cache is not None)
    if choice.name == "inception":
        return _inception_features(device)
    if choice.name == "random":
        return _random_features(manifest, device, choice.reason)
    features: Features | None = None
    if choice.name == "lite0":
        features = _lite0_features(device)
    elif choice.name == "artefacts":
        assert cache is not None
        folder = features_folder(store, manifest)
        features = _artefact_features(load_or_train_artefacts(folder, manifest, cache), device)
    if choice.with_classes:
        path = classifier_path(store, manifest)
        trained = load_or_train_classifier(path, manifest, cache)
        return _with_classes(features, trained, device)
    assert features is not None
    return features


def choose_features(kind: str, config: DataConfig, *, has_cache: bool) -> Choice:
    """Return the features that `open_features` opens.

    Raises UserError if the data set does not have what `kind` needs.
    """
    if kind == "auto":
        kind = default_features(streamed=not has_cache)
    store = open_store(config)
    manifest = store.manifest()
    labelled = len(manifest.classes) > 1
    if kind == "inception":
        return Choice("inception")
    if kind == "random":
        return Choice("random", "by metrics.features")
    if kind == "lite0":
        return Choice("lite0", with_classes=labelled and has_cache)
    if kind == "artefacts":
        if not has_cache:
            raise UserError(
                "metrics.features: artefacts needs images that are decoded before the training, "
                "and these are streamed (data.mode); use lite0 or random."
            )
        return Choice("artefacts", with_classes=labelled)
    if not labelled:
        raise UserError(
            f"metrics.features: classifier needs a classifier of at least two classes, but "
            f"{config.shards} has {len(manifest.classes)}; use auto."
        )
    path = classifier_path(store, manifest)
    if not has_cache and not path.exists():
        raise UserError(
            f"metrics.features: classifier needs {path} if images are streamed; "
            "`gantrain data features` trains the data set's classifier."
        )
    return Choice("classifier", with_classes=True)


def _with_classes(
    features: Features | None, trained: TrainedClassifier, device: torch.device
) -> Features:
    """Return features with the classifier's classes; by default the classifier's own features."""
    network = trained.network.to(device)

    def describe(images: Tensor) -> tuple[Tensor, Tensor]:
        hidden = in_batches(images.to(device), network.features)
        described = hidden if features is None else features.describe(images)[0]
        return described, network.head(hidden)

    if features is None:
        description = f"features of {trained.description}"
        return Features("classifier", describe, trained.classes, description, trained.test)
    description = f"{features.description}; classes of {trained.description}"
    return replace(
        features,
        describe=describe,
        classes=trained.classes,
        description=description,
        test=trained.test,
    )


def _lite0_features(device: torch.device) -> Features:
    network = load_lite0().to(device)

    def describe(images: Tensor) -> tuple[Tensor, Tensor]:
        return describe_images(network, images.to(device)), images.new_zeros((len(images), 0))

    return Features("lite0", describe, (), f"{DIMENSION} features of EfficientNet-Lite0 (ImageNet)")


def _artefact_features(network: ArtefactNetwork, device: torch.device) -> Features:
    network.to(device)

    def describe(images: Tensor) -> tuple[Tensor, Tensor]:
        return in_batches(images.to(device), network), images.new_zeros((len(images), 0))

    description = f"{WIDTH} features of a network that sees damage to the data set's images"
    return Features("artefacts", describe, (), description)


def _random_features(manifest: Manifest, device: torch.device, reason: str) -> Features:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(0, Stream.CLASSIFIER))
        network = Classifier(manifest.size, manifest.channels, 1).eval().requires_grad_(False)
    network.to(device)

    def describe(images: Tensor) -> tuple[Tensor, Tensor]:
        return in_batches(images.to(device), network.features), images.new_zeros((len(images), 0))

    description = f"features of an untrained network ({reason}); they do not distinguish classes"
    return Features("random", describe, (), description)


def _inception_features(device: torch.device) -> Features:
    # Untested: neither the package nor its weights are available to the tests.
    try:
        # Imported by name, since this optional package has no types.
        module = importlib.import_module("torch_fidelity.feature_extractor_inceptionv3")

        network: Any = module.FeatureExtractorInceptionV3("inception", ["192"]).to(device)
    except Exception as error:
        raise UserError(
            "metrics.features: inception needs torch-fidelity (pip install torch-fidelity) and its "
            f"weights ({error}); or use auto."
        ) from None

    def describe(images: Tensor) -> tuple[Tensor, Tensor]:
        colour = images.to(device).expand(-1, 3, -1, -1)
        batches = [network(x)[0].flatten(1).float() for x in torch.split(colour, _BATCH_SIZE)]
        return torch.cat(batches), images.new_zeros((len(images), 0))

    return Features("inception", describe, (), "192 features of Inception")
