"""The classifier of a data set, trained once on each machine and kept in the scratch folder."""

import json
import logging
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from safetensors import SafetensorError, safe_open

from gantrain.common.errors import UserError
from gantrain.common.files import replacing
from gantrain.common.pools import usable_cores
from gantrain.common.tensors import save_tensors
from gantrain.config import DataConfig
from gantrain.data.loading.cache import Cache, open_cache
from gantrain.data.loading.scratch import open_store
from gantrain.data.shards.faults import FaultLog
from gantrain.data.shards.manifest import Manifest
from gantrain.data.shards.store import ShardStore
from gantrain.metrics.classifier import (
    Classifier,
    HeldOutTest,
    TrainedClassifier,
    train_classifier,
)
from gantrain.metrics.once import load_or_make

logger = logging.getLogger(__name__)

_VERSION = 2  # of the classifier and its file
_FILE_NAME = "classifier.safetensors"


def features_folder(store: ShardStore, manifest: Manifest) -> Path:
    """Return the scratch folder of a data set's classifier and of its reference images."""
    return store.scratch / "features" / f"{manifest.identity[:32]}-v{_VERSION}"


def classifier_path(store: ShardStore, manifest: Manifest) -> Path:
    """Return the file of a data set's classifier, which need not exist."""
    return features_folder(store, manifest) / _FILE_NAME


def prepare_classifier(config: DataConfig) -> TrainedClassifier:
    """Load the classifier of a data set, or train it; decode the set if necessary.

    Raises UserError if the set has fewer than two classes.
    """
    store = open_store(config)
    manifest = store.manifest()
    if len(manifest.classes) < 2:
        raise UserError(
            f"{config.shards}: its labels have {len(manifest.classes)} class(es); a classifier "
            "needs at least two."
        )
    workers = usable_cores() if config.workers is None else config.workers
    cache = open_cache(store, manifest, workers, FaultLog(config.on_error, manifest.repair))
    return load_or_train_classifier(classifier_path(store, manifest), manifest, cache)


def load_or_train_classifier(
    path: Path, manifest: Manifest, cache: Cache | None
) -> TrainedClassifier:
    """Load the classifier; if there is none, one process of this machine trains it."""

    def train() -> TrainedClassifier:
        if cache is None:
            raise UserError(f"{path}: unreadable; remove it and run `gantrain data features`.")
        logger.info(
            f"training a classifier of the data set's {len(manifest.classes)} classes for the "
            "metrics, once"
        )
        trained = train_classifier(cache.images, cache.table)
        _save(path, trained)
        return trained

    return load_or_make(
        path, lambda: _load(path, manifest), train, "train the data set's classifier"
    )


def _save(path: Path, trained: TrainedClassifier) -> None:
    header = {"classes": json.dumps(trained.classes), "test": json.dumps(asdict(trained.test))}
    # A full disk only means that the next run trains it again.
    with suppress(OSError), replacing(path) as temporary:
        save_tensors(trained.network.state_dict(), temporary, metadata=header)


def _load(path: Path, manifest: Manifest) -> TrainedClassifier | None:
    """Return the classifier in a file; None if it is missing or damaged."""
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no dict
        classes = tuple(json.loads(header["classes"]))
        network = Classifier(manifest.size, manifest.channels, len(classes))
        network.load_state_dict(tensors)
        test = json.loads(header["test"])
        test = HeldOutTest(**{**test, "recalls": tuple(test["recalls"])})
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError):
        return None
    return TrainedClassifier(network.eval().requires_grad_(False), classes, test)
