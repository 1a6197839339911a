"""torch.compile on a GPU, which takes long: a file of its own."""

from pathlib import Path

import pytest

from tests.curves import assert_similar_curves
from tests.gpu.devices import NO_BATCH_STATISTICS, config_on
from tests.launching import Train


@pytest.mark.gpu
def test_compiled_networks_train_like_others(shards: Path, tmp_path: Path, train: Train) -> None:
    plain = config_on("cuda", shards, tmp_path, NO_BATCH_STATISTICS, name="plain")
    compiled = config_on(
        "cuda", shards, tmp_path, NO_BATCH_STATISTICS, name="compiled", training={"compile": "on"}
    )
    assert train(plain).returncode == 0
    assert train(compiled).returncode == 0
    assert_similar_curves(tmp_path / "plain", tmp_path / "compiled", lines=5)
