"""What images are compared by: a classifier of the set's parts, a random network, Inception."""

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
from safetensors.torch import save_file
from torch import Tensor

from gantrain.common.errors import UserError
from gantrain.common.files import replacing
from gantrain.common.locks import exclusive_task, size_and_mtime
from gantrain.common.pools import usable_cores
from gantrain.common.rng import Stream, derive_seed
from gantrain.config import DataConfig
from gantrain.data.loading.cache import Cache, open_cache
from gantrain.data.loading.datasets import scaled
from gantrain.data.loading.scratch import open_store
from gantrain.data.shards.faults import FaultLog
from gantrain.data.shards.manifest import Manifest
from gantrain.data.shards.store import ShardStore
from gantrain.metrics.classifier import Classifier, Trained, train_classifier

logger = logging.getLogger(__name__)

_VERSION = 1  # of the classifier and its file
_AT_ONCE = 256
_PATIENCE = 1800.0  # seconds in which another process must have learnt the parts


@dataclass(frozen=True)
class Features:
    """A way to see images.

    name: brick, random or inception.
    describe: uint8 (N, C, S, S) to features float32 (N, D), D at most 256, and logits (N, P) of
    `parts`; (N, 0) where there are none. On the CPU or the images' device.
    parts: what the logits stand for; empty unless the features are a classifier's.
    notice: for the user: where the features come from and how good they are.
    """

    name: str
    describe: Callable[[Tensor], tuple[Tensor, Tensor]]
    parts: tuple[str, ...]
    notice: str


def features_folder(store: ShardStore, manifest: Manifest) -> Path:
    """Where what was learnt of a set is kept."""
    return store.scratch / "features" / f"{manifest.identity[:32]}-v{_VERSION}"


def open_features(
    wanted: str, config: DataConfig, cache: Cache | None, device: torch.device
) -> Features:
    """The features that `metrics.features` names.

    cache: the decoded images of the set; without it a classifier must have been learnt before.
    Raises UserError if they cannot be had.
    """
    store = open_store(config)
    manifest = store.manifest()
    if wanted == "inception":
        return _inception(device)
    if wanted == "random":
        return _random(manifest, device, "metrics.features asks for them")
    if len(manifest.classes) < 2:
        if wanted == "brick":
            raise UserError(
                f"metrics.features: brick found, but {config.shards} names {len(manifest.classes)} "
                "part(s), and a classifier needs two; use random."
            )
        return _random(manifest, device, "the set names fewer than two parts")
    path = features_folder(store, manifest) / "brick.safetensors"
    if cache is None and not path.exists():
        how = "`gantrain data features` learns the set's parts"
        if wanted == "brick":
            raise UserError(f"metrics.features: brick needs {path} where images stream; {how}.")
        return _random(manifest, device, f"the images stream; {how}")
    return _brick(trained_classifier(path, manifest, cache), device)


def learn_features(config: DataConfig) -> Trained:
    """Train the classifier of a set, or take the one that is there. Decodes the set if needed."""
    store = open_store(config)
    manifest = store.manifest()
    if len(manifest.classes) < 2:
        raise UserError(
            f"{config.shards}: labels name {len(manifest.classes)} part(s); a classifier needs at "
            "least two. Metrics use random features then."
        )
    workers = usable_cores() if config.workers is None else config.workers
    cache = open_cache(store, manifest, workers, FaultLog(config.on_error))
    path = features_folder(store, manifest) / "brick.safetensors"
    return trained_classifier(path, manifest, cache)


def trained_classifier(path: Path, manifest: Manifest, cache: Cache | None) -> Trained:
    """The classifier in a file; if there is none, one process of this machine trains it."""
    found = _load(path, manifest)
    if found is None and cache is not None:
        with exclusive_task(
            path.with_suffix(".lock"),
            "learn the set's parts",
            progress=lambda: size_and_mtime(path),
            timeout=_PATIENCE,
        ):
            found = _load(path, manifest)
            if found is None:
                logger.info(
                    f"learning the set's {len(manifest.classes)} parts for the metrics, once"
                )
                found = train_classifier(cache.images, cache.table)
                _save(path, found)
    if found is None:
        raise UserError(f"{path}: cannot be read; remove it, and run `gantrain data features`.")
    return found


def _save(path: Path, trained: Trained) -> None:
    header = {
        "parts": json.dumps(trained.parts),
        "accuracy": repr(trained.accuracy),
        "held_out": str(trained.held_out),
    }
    # What cannot be kept is learnt again next time; no training ends for that.
    with suppress(OSError), replacing(path) as temporary:
        save_file(trained.network.state_dict(), temporary, metadata=header)


def _load(path: Path, manifest: Manifest) -> Trained | None:
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - it is no dict
        parts = tuple(json.loads(header["parts"]))
        network = Classifier(manifest.size, manifest.channels, len(parts))
        network.load_state_dict(tensors)
        accuracy, held_out = float(header["accuracy"]), int(header["held_out"])
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError):
        return None
    return Trained(network.eval().requires_grad_(False), parts, accuracy, held_out)


def _brick(trained: Trained, device: torch.device) -> Features:
    network = trained.network.to(device)

    def describe(images: Tensor) -> tuple[Tensor, Tensor]:
        features = _in_parts(images.to(device), network.features)
        return features, network.head(features)

    return Features("brick", describe, trained.parts, f"features of {trained.description}")


def _random(manifest: Manifest, device: torch.device, reason: str) -> Features:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(0, Stream.CLASSIFIER))
        network = Classifier(manifest.size, manifest.channels, 1).eval().requires_grad_(False)
    network.to(device)

    def describe(images: Tensor) -> tuple[Tensor, Tensor]:
        return _in_parts(images.to(device), network.features), images.new_zeros((len(images), 0))

    notice = f"features of an untrained network ({reason}); they know nothing of parts"
    return Features("random", describe, (), notice)


def _inception(device: torch.device) -> Features:
    # Untested where neither package nor weights can be had.
    try:
        # An optional package that nobody here has types of.
        module = importlib.import_module("torch_fidelity.feature_extractor_inceptionv3")

        network: Any = module.FeatureExtractorInceptionV3("inception", ["192"]).to(device)
    except Exception as error:
        raise UserError(
            f"metrics.features: inception needs torch-fidelity and its weights ({error}); use auto."
        ) from None

    def describe(images: Tensor) -> tuple[Tensor, Tensor]:
        colour = images.to(device).expand(-1, 3, -1, -1)
        parts = [network(x)[0].flatten(1).float() for x in torch.split(colour, _AT_ONCE)]
        return torch.cat(parts), images.new_zeros((len(images), 0))

    return Features("inception", describe, (), "192 features of Inception")


@torch.no_grad()
def _in_parts(images: Tensor, network: Callable[[Tensor], Tensor]) -> Tensor:
    return torch.cat([network(scaled(part)) for part in torch.split(images, _AT_ONCE)])
