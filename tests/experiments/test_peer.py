"""The planned runs of the comparison with the peer, one of each code, and the table."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from experiments.baselines import mimicry, peer, peer_plan
from experiments.baselines.fashion_rgb import fashion_shards
from experiments.baselines.peer_plan import ARMS, CODES, Arm, PeerRun, all_runs, trainer_config
from experiments.baselines.peer_results import WEIGHTS, peer_table, permutation_p
from experiments.training import has_ended
from gantrain.common.errors import UserError
from gantrain.common.rng import PositionalRNG
from gantrain.config import parse_config
from gantrain.runs.metrics_file import read_metrics


def test_both_codes_train_every_arm_with_every_seed_on_as_many_images(tmp_path: Path) -> None:
    runs = all_runs()
    assert len({run.name for run in runs}) == len(runs) == len(ARMS) * len(CODES) * peer_plan.SEEDS
    for arm in ARMS:
        tree = trainer_config(arm, tmp_path, tmp_path)
        config = parse_config({**tree, "output": {**tree["output"], "run_dir": "run"}}, arm.kind)
        assert config.total_images == arm.images
        assert config.objective.n_critic == arm.n_critic
        assert config.ema.half_life_kimg == 0


def write_idx(path: Path, values: NDArray[np.uint8]) -> None:
    shape = np.array(values.shape, ">u4").tobytes()
    path.write_bytes(gzip.compress(bytes([0, 0, 8, values.ndim]) + shape + values.tobytes()))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Four IDX files with 48 images to train on and 2 held out."""
    folder = tmp_path / "idx"
    folder.mkdir()
    random = np.random.default_rng(0)
    for prefix, count in (("train", 48), ("t10k", 2)):
        pixels = random.integers(1, 255, (count, 28, 28), np.uint8)
        write_idx(folder / f"{prefix}-images-idx3-ubyte.gz", pixels)
        write_idx(folder / f"{prefix}-labels-idx1-ubyte.gz", np.arange(count, dtype=np.uint8) % 10)
    return folder


def test_images_get_a_black_margin_and_three_equal_channels(source: Path, tmp_path: Path) -> None:
    shards = fashion_shards(tmp_path / "shards", source)
    images = peer.training_set(tmp_path, shards).images(PositionalRNG(0, 0, 48))
    assert images.shape == (48, 3, 32, 32)
    assert torch.equal(images[:, 0], images[:, 2])
    assert images[:, :, 2:-2, 2:-2].min() > 0
    margins = torch.ones(32, 32, dtype=torch.bool)
    margins[2:-2, 2:-2] = False
    assert images[:, :, margins].max() == 0
    written = (shards / "manifest.json").stat().st_mtime_ns
    fashion_shards(tmp_path / "shards", source)
    assert (shards / "manifest.json").stat().st_mtime_ns == written


def test_a_missing_data_set_is_an_error_that_names_its_package(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="apt-get install dataset-fashion-mnist"):
        fashion_shards(tmp_path / "shards", tmp_path / "none")
    assert not (tmp_path / "shards").exists()


@pytest.mark.skipif(not mimicry.is_installed(), reason="torch-mimicry is not installed")
@pytest.mark.parametrize("code", CODES)
def test_a_run_of_either_code_trains_the_peers_networks(
    code: str, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer, "WIDTH", 4)
    shards = fashion_shards(tmp_path / "shards", source)
    run = PeerRun(Arm("hinge", "SNGAN", 2, 2, batch_size=16, learning_rate=2e-4), code, seed=3)
    torch.manual_seed(run.seed)
    before = mimicry.peer_networks("hinge", 4)[0].state_dict()
    peer.train(run, tmp_path, shards)
    after = load_file(tmp_path / run.name / WEIGHTS)
    assert set(after) == set(before)
    moved = [(after[name] - before[name]).abs().max() for name in before if "c1.weight" in name]
    # Two steps of Adam with a rate of 2e-4 and β₁ 0.
    assert all(1e-4 < step < 8e-4 for step in moved)
    assert has_ended(tmp_path / run.name)
    if code == "gantrain":
        assert read_metrics(tmp_path / run.name)[-1]["images_seen"] == run.arm.n_critic * 2 * 16


@pytest.mark.parametrize("shift", [0.0, 1.0, 5.0])
def test_the_p_value_is_that_of_scipys_permutation_test(shift: float) -> None:
    one, other = np.random.default_rng(1).normal(size=(2, 5))
    other = other + shift

    def difference(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
        return float(x.mean() - y.mean())

    expected = scipy.stats.permutation_test((one, other), difference).pvalue
    assert permutation_p(list(one), list(other)) == pytest.approx(expected)


def test_the_table_says_where_a_median_leaves_the_peers_range() -> None:
    dcgan, wgan = ARMS[:2]
    scores = {}
    for seed in range(5):
        scores[PeerRun(dcgan, "peer", seed)] = {"fid": 10.0 + seed, "kid": 0.1 * seed}
        scores[PeerRun(dcgan, "gantrain", seed)] = {"fid": 11.0 + seed, "kid": 1.0 + seed}
    scores[PeerRun(wgan, "peer", 0)] = {"fid": 1.0, "kid": 1.0}  # ours is missing
    lines = peer_table(scores).splitlines()[2:]
    assert len(lines) == 2
    assert "DCGAN | 0.0002 | FID (lite0) | 5 + 5 | 12 (10 to 14) | 13 (11 to 15) | yes" in lines[0]
    assert "0.2 (0 to 0.4) | 3 (1 to 5) | **no** | 0.01" in lines[1]
