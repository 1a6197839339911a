"""Features to compare images by: of the data set's classifier, a random network or Inception."""

import importlib
import json
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from gantrain.common.errors import UserError
from gantrain.common.files import replacing
from gantrain.common.locks import exclusive_task, size_and_mtime
from gantrain.common.pools import usable_cores
from gantrain.common.rng import Stream, derive_seed
from gantrain.common.tensors import save_tensors
from gantrain.config import DataConfig
from gantrain.data.loading.cache import Cache, open_cache
from gantrain.data.loading.datasets import scaled
from gantrain.data.loading.scratch import open_store
from gantrain.data.shards.faults import FaultLog
from gantrain.data.shards.manifest import Manifest
from gantrain.data.shards.store import ShardStore
from gantrain.metrics.classifier import Classifier, TrainedClassifier, train_classifier

logger = logging.getLogger(__name__)

_VERSION = 1  # of the classifier and its file
_FILE_NAME = "brick.safetensors"
_BATCH_SIZE = 256
_TRAINING_TIMEOUT = 1800.0  # seconds to wait for another process that trains the classifier


@dataclass(frozen=True)
class Features:
    """A function from images to features, in which distances between images are meaningful.

    name: brick, random or inception.
    describe: returns features float32 (N, D), D at most 256, and logits (N, K) of uint8 images
        (N, C, S, S), on the device that the features were opened on. K is 0 without classes.
    classes: the class of each logit; empty unless the features are those of a classifier.
    description: origin and accuracy, for display.
    """

    name: str
    describe: Callable[[Tensor], tuple[Tensor, Tensor]]
    classes: tuple[str, ...]
    description: str


def features_folder(store: ShardStore, manifest: Manifest) -> Path:
    """Return the scratch folder of a data set's classifier and of its reference images."""
    return store.scratch / "features" / f"{manifest.identity[:32]}-v{_VERSION}"


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
    name, reason = choose_features(kind, config, has_cache=cache is not None)
    if name == "inception":
        return _inception_features(device)
    if name == "random":
        return _random_features(manifest, device, reason)
    path = features_folder(store, manifest) / _FILE_NAME
    return _classifier_features(_load_or_train(path, manifest, cache), device)


def choose_features(kind: str, config: DataConfig, *, has_cache: bool) -> tuple[str, str]:
    """Return the name of the features that `open_features` opens, and the reason if it is random.

    Raises UserError if the data set does not have what `kind` needs.
    """
    store = open_store(config)
    manifest = store.manifest()
    if kind == "inception":
        return "inception", ""
    if kind == "random":
        return "random", "as metrics.features requests"
    if len(manifest.classes) < 2:
        if kind == "brick":
            raise UserError(
                f"metrics.features: brick needs a classifier of at least two classes, but "
                f"{config.shards} has {len(manifest.classes)}; use random."
            )
        return "random", "the data set has fewer than two classes"
    path = features_folder(store, manifest) / _FILE_NAME
    if not has_cache and not path.exists():
        hint = "`gantrain data features` trains the data set's classifier"
        if kind == "brick":
            raise UserError(f"metrics.features: brick needs {path} if images are streamed; {hint}.")
        return "random", f"the images are streamed; {hint}"
    return "brick", ""


def prepare_classifier(config: DataConfig) -> TrainedClassifier:
    """Load the classifier of a data set, or train it; decode the set if necessary.

    Raises UserError if the set has fewer than two classes.
    """
    store = open_store(config)
    manifest = store.manifest()
    if len(manifest.classes) < 2:
        raise UserError(
            f"{config.shards}: its labels have {len(manifest.classes)} class(es); a classifier "
            "needs at least two. Metrics use random features instead."
        )
    workers = usable_cores() if config.workers is None else config.workers
    cache = open_cache(store, manifest, workers, FaultLog(config.on_error, manifest.repair))
    return _load_or_train(features_folder(store, manifest) / _FILE_NAME, manifest, cache)


def _load_or_train(path: Path, manifest: Manifest, cache: Cache | None) -> TrainedClassifier:
    """Load the classifier; if there is none, one process of this machine trains it."""
    trained = _load(path, manifest)
    if trained is None and cache is not None:
        with exclusive_task(
            path.with_suffix(".lock"),
            "train the data set's classifier",
            progress=lambda: size_and_mtime(path),
            timeout=_TRAINING_TIMEOUT,
        ):
            trained = _load(path, manifest)
            if trained is None:
                logger.info(
                    f"training a classifier of the data set's {len(manifest.classes)} classes for "
                    "the metrics, once"
                )
                trained = train_classifier(cache.images, cache.table)
                _save(path, trained)
    if trained is None:
        raise UserError(f"{path}: unreadable; remove it and run `gantrain data features`.")
    return trained


def _save(path: Path, trained: TrainedClassifier) -> None:
    header = {
        "parts": json.dumps(trained.classes),  # the key of version 0.1
        "accuracy": repr(trained.accuracy),
        "held_out": str(trained.held_out),
    }
    # A full disk only means that the next run trains it again.
    with suppress(OSError), replacing(path) as temporary:
        save_tensors(trained.network.state_dict(), temporary, metadata=header)


def _load(path: Path, manifest: Manifest) -> TrainedClassifier | None:
    """Return the classifier in a file; None if it is missing or damaged."""
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no dict
        classes = tuple(json.loads(header["parts"]))
        network = Classifier(manifest.size, manifest.channels, len(classes))
        network.load_state_dict(tensors)
        accuracy, held_out = float(header["accuracy"]), int(header["held_out"])
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError):
        return None
    return TrainedClassifier(network.eval().requires_grad_(False), classes, accuracy, held_out)


def _classifier_features(trained: TrainedClassifier, device: torch.device) -> Features:
    network = trained.network.to(device)

    def describe(images: Tensor) -> tuple[Tensor, Tensor]:
        features = _in_batches(images.to(device), network.features)
        return features, network.head(features)

    return Features("brick", describe, trained.classes, f"features of {trained.description}")


def _random_features(manifest: Manifest, device: torch.device, reason: str) -> Features:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(0, Stream.CLASSIFIER))
        network = Classifier(manifest.size, manifest.channels, 1).eval().requires_grad_(False)
    network.to(device)

    def describe(images: Tensor) -> tuple[Tensor, Tensor]:
        return _in_batches(images.to(device), network.features), images.new_zeros((len(images), 0))

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
            f"metrics.features: inception needs torch-fidelity and its weights ({error}); use auto."
        ) from None

    def describe(images: Tensor) -> tuple[Tensor, Tensor]:
        colour = images.to(device).expand(-1, 3, -1, -1)
        batches = [network(x)[0].flatten(1).float() for x in torch.split(colour, _BATCH_SIZE)]
        return torch.cat(batches), images.new_zeros((len(images), 0))

    return Features("inception", describe, (), "192 features of Inception")


@torch.no_grad()
def _in_batches(images: Tensor, network: Callable[[Tensor], Tensor]) -> Tensor:
    return torch.cat([network(scaled(batch)) for batch in torch.split(images, _BATCH_SIZE)])
