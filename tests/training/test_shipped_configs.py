"""The objectives' own config files: trained small, on one and on two ranks, and resumed."""

from pathlib import Path
from typing import Any

import pytest

from gantrain.config import read_yaml
from tests.conftest import small_tree
from tests.curves import assert_same_end, curve
from tests.launching import ROOT, Train, launch_several, write_config

NAMES = ["rpgan", "sngan", "cgan_book", "rpgan_conditional"]
_KEPT = (
    *("objective", "conditioning", "generator", "discriminator"),
    *("augment", "ema", "training"),
)


def small_version(name: str, shards: Path, run_dir: Path) -> dict[str, Any]:
    """The settings of a config file with the data, the sizes and the lengths of a test."""
    shipped = read_yaml(ROOT / "configs" / f"{name}.yaml")
    small = small_tree(shards, run_dir)
    kept = {key: {**shipped.get(key, {}), **small.get(key, {})} for key in _KEPT}
    kept["objective"] = shipped["objective"]
    for network in ("generator", "discriminator"):
        if isinstance(slopes := kept[network].get("slope"), list):
            kept[network]["slope"] = slopes[:3]  # the images are half as large
    kept["training"]["mixed_precision"] = "no"  # bit for bit, on any machine
    return {**small, **kept}


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_config_trains_and_resumes_exactly(
    name: str, ranks: int, shards: Path, tmp_path: Path, train: Train
) -> None:
    def arguments(run: str) -> list[str]:
        tree = small_version(name, shards, tmp_path / run)
        return ["--config", str(write_config(tmp_path / f"{run}.yaml", tree))]

    whole, stopped = arguments("whole"), arguments("stopped")
    starts = [whole, [*stopped, "training.total_kimg=0.08"], stopped]
    if ranks == 1:
        assert all(train(Path(words[1]), *words[2:]).returncode == 0 for words in starts)
    else:
        done = launch_several(*starts, ranks=ranks)
        assert done.returncode == 0, done.stderr
        assert "2 rank(s)" in done.stderr
    assert_same_end(tmp_path / "whole", tmp_path / "stopped")
    assert len(curve(tmp_path / "whole")) >= 2
