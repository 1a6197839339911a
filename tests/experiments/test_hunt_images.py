"""The judge of the hunt's images: real images are well, images of one kind are not."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from experiments.hunt.images import (
    Look,
    compare,
    confirms,
    is_always_well,
    looks_near,
    looks_of,
    vendi_score,
)
from experiments.hunt.judged import alarm_table, shares
from experiments.hunt.plan import HuntedRun
from experiments.hunt.verdicts import Verdict
from experiments.training import mark_as_ended
from gantrain.common.grids import save_png, tile, untile
from gantrain.common.rng import PositionalRNG
from gantrain.config import DataConfig
from gantrain.data.loading.opening import open_dataset
from gantrain.health.problems import NO_FAULT
from gantrain.metrics.lite0 import describe_images, load_lite0
from gantrain.runs.paths import SAMPLES, grid_file


def test_the_vendi_score_counts_kinds_that_are_far_apart() -> None:
    kinds = 10 * torch.eye(5).double()
    assert vendi_score(kinds, 1.0) == pytest.approx(5)
    assert vendi_score(kinds[[0] * 5], 1.0) == pytest.approx(1)
    # Of n shares, the exponential of their entropy.
    entropy = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25))
    assert vendi_score(kinds[[0, 0, 0, 1]], 1.0) == pytest.approx(np.exp(entropy))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_grid_is_read_back_as_its_images(channels: int) -> None:
    images = torch.randint(0, 256, (6, channels, 8, 8), dtype=torch.uint8)
    grid = np.asarray(tile(images / 127.5 - 1, 2, 3))
    assert torch.equal(untile(grid, 8), images)


def test_images_of_a_collapsed_run_confirm_its_alarm(shards: Path, tmp_path: Path) -> None:
    real = _real_images(shards)
    few = real[:2].repeat(32, 1, 1, 1)
    for images_seen, fake in ((0, few), (100, real.flip(3)), (200, few), (300, real.flip(3))):
        path = grid_file(tmp_path, "fake", images_seen)
        path.parent.mkdir(exist_ok=True)
        save_png(tile(fake, 8, 8), path)
    save_png(tile(real, 8, 8), tmp_path / SAMPLES / "real.png")
    mark_as_ended(tmp_path)
    looks = looks_of(tmp_path, real.shape[-1])
    assert [look.images_seen for look in looks] == [100, 200, 300]
    assert [look.diversity < 0.4 for look in looks] == [False, True, False]
    assert looks_of(tmp_path, real.shape[-1]) == looks  # as they were kept
    assert not is_always_well(looks)
    assert is_always_well([looks[0], looks[2]])
    assert confirms(looks, "mode collapse", 150)
    assert confirms(looks, "mode collapse", 250)
    assert not confirms(looks, "dead player", 150)
    assert not confirms(looks[:1], "mode collapse", 150)


def test_images_that_were_much_nearer_confirm_an_alarm_and_young_ones_do_not() -> None:
    looks = [Look(100, 0.9, 4.0), Look(200, 0.9, 2.0), Look(300, 0.9, 3.5), Look(400, 0.9, 2.0)]
    assert looks_near(looks, 50) == looks[:1]
    assert looks_near(looks, 200) == looks[:2]
    assert looks_near(looks, 900) == looks[3:]
    assert not confirms(looks, "quality falling", 150)
    assert confirms(looks, "quality falling", 350)
    assert not confirms(looks, "quality falling", 900)


def test_the_report_counts_alarms_that_the_images_do_not_confirm() -> None:
    def verdict(name: str, alarm: str, delay: float) -> Verdict:
        return Verdict(HuntedRun(name, "stacks", "dcgan", NO_FAULT), alarm, delay)

    verdicts = [verdict("a", "mode collapse", 0.5), verdict("b", "stalled", 0.5)]
    verdicts.append(verdict("c", "", 0.0))
    total = verdicts[0].run.total_kimg * 1000
    well = [Look(round(total * part), 0.9, 1.0) for part in (0.2, 0.4, 0.6)]
    looks = {"a": [*well[:2], Look(round(total * 0.6), 0.1, 1.0)], "b": well, "c": well}
    table = alarm_table(verdicts, looks)
    assert "| a | mode collapse | 50% | 0.10 | no |" in table
    assert "| b | stalled | 50% | 0.90 | yes |" in table
    assert "| c |" not in table
    text = shares(verdicts, looks)
    assert "1 of 3 runs without a fault" in text
    assert "1 of 2 runs whose images are well throughout" in text


def test_real_images_are_as_diverse_as_others(shards: Path) -> None:
    network = load_lite0()
    real = ((_real_images(shards) + 1) * 127.5).round().to(torch.uint8)
    features = describe_images(network, real).double()
    look = compare(features[::2], features[1::2], 1)
    assert 0.7 < look.diversity < 1.4
    assert look.distance < 0.3


def _real_images(shards: Path) -> Tensor:
    dataset = open_dataset(DataConfig(shards=str(shards), size=32, channels=1))
    return dataset.images(PositionalRNG(0, 0, 64)).float() / 127.5 - 1
