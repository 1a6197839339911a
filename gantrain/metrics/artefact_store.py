"""The artefact network of a data set, trained once on each machine."""

import logging
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from gantrain.common.files import replacing
from gantrain.common.tensors import save_tensors
from gantrain.data.loading.cache import Cache
from gantrain.data.loading.image_table import TRAIN
from gantrain.data.shards.manifest import Manifest
from gantrain.metrics.artefacts import ArtefactNetwork, train_artefact_network
from gantrain.metrics.once import load_or_make

logger = logging.getLogger(__name__)

_STEPS = 300
_MAX_IMAGES = 20_000  # more than the network sees


def load_or_train_artefacts(folder: Path, manifest: Manifest, cache: Cache) -> ArtefactNetwork:
    """Load the network from a folder; if it is missing there, train it on the training images."""
    path = folder / "artefacts.safetensors"

    def load() -> ArtefactNetwork | None:
        network = ArtefactNetwork(manifest.size, manifest.channels)
        try:
            network.load_state_dict(load_file(path))
        except (OSError, SafetensorError, RuntimeError):
            return None
        return network.eval().requires_grad_(False)

    def train() -> ArtefactNetwork:
        logger.info("training a network to see damage to the data set's images, once")
        rows = torch.from_numpy(cache.table.state == TRAIN).nonzero().flatten()
        chosen = rows[torch.linspace(0, len(rows) - 1, min(len(rows), _MAX_IMAGES)).long()]
        network = train_artefact_network(cache.images[chosen], _STEPS)
        # A full disk only means that the next run trains it again.
        with suppress(OSError), replacing(path) as temporary:
            save_tensors(network.state_dict(), temporary)
        return network

    return load_or_make(path, load, train, "train a network to see damage")
