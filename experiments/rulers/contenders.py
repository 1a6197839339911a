"""The rulers that the battery compares, each as a function from images to features."""

from collections.abc import Callable
from pathlib import Path

import torch

from experiments.rulers.battery import Describe
from gantrain.config import DataConfig
from gantrain.data.loading.opening import open_dataset
from gantrain.data.loading.scratch import open_store
from gantrain.metrics.artefact_store import load_or_train_artefacts
from gantrain.metrics.classifier_store import features_folder
from gantrain.metrics.features import open_features
from gantrain.metrics.lite0 import describe_images, load_lite0
from gantrain.metrics.reference import to_thumbnails
from gantrain.metrics.small_networks import in_batches


def lite0(config: DataConfig) -> Describe:
    """Return the features `lite0`, without the data set's classifier."""
    network = load_lite0()
    return lambda images: describe_images(network, images)


def artefacts(config: DataConfig) -> Describe:
    """Return the features `artefacts`, without the data set's classifier."""
    cache = open_dataset(config).decoded
    assert cache is not None
    store = open_store(config)
    manifest = store.manifest()
    network = load_or_train_artefacts(features_folder(store, manifest), manifest, cache)
    return lambda images: in_batches(images, network)


def of_kind(kind: str) -> Callable[[DataConfig], Describe]:
    """Return the features of a value of `metrics.features`."""

    def open_kind(config: DataConfig) -> Describe:
        decoded = open_dataset(config).decoded
        features = open_features(kind, config, decoded, torch.device("cpu"))
        return lambda images: features.describe(images)[0]

    return open_kind


def pixels(config: DataConfig) -> Describe:
    """Return images averaged down to 16x16 pixels."""
    return to_thumbnails


CONTENDERS: dict[str, Callable[[DataConfig], Describe]] = {
    "lite0": lite0,
    "artefacts": artefacts,
    "classifier": of_kind("classifier"),
    "random": of_kind("random"),
    "pixels": pixels,
}


def data_config(shards: Path, size: int, scratch: Path) -> DataConfig:
    """Return the config of a data set whose images are decoded into the scratch folder."""
    section = {"shards": shards, "size": size, "cache_dir": scratch, "mode": "cache"}
    return DataConfig.model_validate(section)
