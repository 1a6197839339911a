"""The devices that these tests run on: a CPU always, and a GPU if there is one (make gpu)."""

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import small_tree
from tests.launching import write_config
from tests.training.cases import Sections

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
NO_BATCH_STATISTICS: Sections = {"generator": {"norm": "none"}, "discriminator": {"norm": "none"}}


def config_on(
    device: str,
    shards: Path,
    folder: Path,
    *trees: dict[str, dict[str, Any]],
    name: str = "run",
    **sections: dict[str, Any],
) -> Path:
    """Write a config of a short run on a device; later trees and sections win over earlier ones."""
    merged: dict[str, dict[str, Any]] = {}
    for tree in (*trees, sections, {"training": {"device": device}}):
        for section, keys in tree.items():
            merged[section] = {**merged.get(section, {}), **keys}
    return write_config(folder / f"{name}.yaml", small_tree(shards, folder / name, **merged))
