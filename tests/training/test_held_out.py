"""The critic's score of images that it is never trained on."""

from pathlib import Path
from typing import Any

import pytest
import torch

from gantrain.common.rng import PositionalRNG, Stream
from gantrain.config import Config
from gantrain.data.loading.datasets import scaled
from gantrain.data.loading.labelled import open_labelled_dataset
from gantrain.data.loading.opening import open_dataset
from gantrain.data.loading.selection import held_out_rows
from gantrain.models.networks import build_networks
from gantrain.runs.checkpoint import read_newest
from gantrain.training import held_out
from tests.conftest import WGAN_GP, small_config, small_tree
from tests.curves import assert_same_end, curve
from tests.launching import Train, launch, write_config
from tests.training.test_steps import gan_of

NAME = "loss/critic_held_out"
HELD_OUT: dict[str, dict[str, Any]] = {
    **WGAN_GP,
    "data": {"held_out": 0.2},
    "discriminator": {"norm": "layer", "dropout": 0.3},
}


def test_it_is_the_mean_score_of_held_out_images_minus_that_of_ema_samples(
    shards: Path, tmp_path: Path, train: Train
) -> None:
    run = tmp_path / "run"
    config = small_config(shards, run, **HELD_OUT)
    tree = small_tree(shards, run, **HELD_OUT)
    assert train(write_config(tmp_path / "c.yaml", tree)).returncode == 0
    lines = curve(run)
    assert all(NAME in line for line in lines)
    assert lines[-1][NAME] == pytest.approx(expected_at_the_end(config), abs=1e-6)
    assert len({line[NAME] for line in lines}) == len(lines)


def expected_at_the_end(config: Config) -> float:
    """The same from the last checkpoint, with networks, images and latents picked by hand."""
    snapshot, _ = read_newest(config.output.run_dir)
    assert snapshot is not None
    generator, critic = build_networks(config)
    generator.load_state_dict(snapshot.tensors["ema"])
    critic.load_state_dict(snapshot.tensors["discriminator"])
    labelled = open_labelled_dataset(config.data)
    allowed = labelled.images[torch.from_numpy(held_out_rows(labelled.cache.table, config.data))]
    rng = PositionalRNG(config.seed, snapshot.images_seen, config.training.batch_size)
    dataset = open_dataset(config.data).held_out(config.data)
    assert dataset is not None
    images = dataset.images(rng)
    assert all((image == allowed).flatten(1).all(1).any() for image in images)
    latents = rng.normal(Stream.HELD_OUT, config.generator.latent_size)
    with torch.no_grad():
        real, fake = critic.eval()(scaled(images)), critic(generator.eval()(latents))
    return float(real.mean() - fake.mean())


def test_the_training_is_the_same_bit_for_bit_without_it(
    shards: Path, tmp_path: Path, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("with", "without"):
        if name == "without":
            monkeypatch.setattr("gantrain.train.open_held_out", lambda config, dataset: None)
        tree = small_tree(shards, tmp_path / name, **HELD_OUT)
        assert train(write_config(tmp_path / f"{name}.yaml", tree)).returncode == 0
    (one, _), (other, _) = (read_newest(tmp_path / name) for name in ("with", "without"))
    assert one is not None
    assert other is not None
    assert any(NAME in line for line in curve(tmp_path / "with"))
    assert not any(NAME in line for line in curve(tmp_path / "without"))
    for file, tensors in one.tensors.items():
        assert all(torch.equal(t, other.tensors[file][n]) for n, t in tensors.items())


def test_a_run_that_resumes_has_the_same_scores(shards: Path, tmp_path: Path, train: Train) -> None:
    for name, first in (("once", "training.total_kimg=0.16"), ("twice", "training.total_kimg=0.1")):
        config = write_config(
            tmp_path / f"{name}.yaml", small_tree(shards, tmp_path / name, **HELD_OUT)
        )
        assert train(config, first).returncode == 0
        assert train(config).returncode == 0
    assert_same_end(tmp_path / "once", tmp_path / "twice")


def test_two_ranks_score_one_batch_together(shards: Path, tmp_path: Path, train: Train) -> None:
    sections = {**HELD_OUT, "generator": {"norm": "none"}, "discriminator": {"norm": "none"}}
    paths = [
        write_config(tmp_path / f"{n}.yaml", small_tree(shards, tmp_path / n, **sections))
        for n in ("one", "two")
    ]
    assert train(paths[0]).returncode == 0
    assert launch(paths[1], ranks=2).returncode == 0
    one, two = ([line[NAME] for line in curve(tmp_path / n)] for n in ("one", "two"))
    assert two == pytest.approx(one, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize(
    "sections",
    [
        pytest.param({**HELD_OUT, "data": {}}, id="nothing is held out"),
        pytest.param(
            {**HELD_OUT, "data": {"held_out": 0.2, "mode": "stream", "workers": 0}}, id="stream"
        ),
        pytest.param({"data": {"held_out": 0.2}}, id="dcgan"),
    ],
)
def test_it_is_left_out_where_there_is_no_critic_or_no_image(
    sections: dict[str, dict[str, Any]], shards: Path, tmp_path: Path, train: Train
) -> None:
    run = tmp_path / "run"
    tree = small_tree(shards, run, **sections)
    assert train(write_config(tmp_path / "c.yaml", tree)).returncode == 0
    assert not [line for line in curve(run) if NAME in line]


def test_a_score_that_is_not_finite_is_left_out(shards: Path, tmp_path: Path) -> None:
    config = small_config(shards, tmp_path / "run", **HELD_OUT)
    gan, dataset = gan_of(config), held_out.open_held_out(config, open_dataset(config.data))
    assert dataset is not None
    rng = PositionalRNG(0, 0, 16)
    assert set(held_out.score_held_out(gan, dataset, rng)) == {NAME}
    assert gan.discriminator.training
    with torch.no_grad():
        next(gan.ema.generator.parameters()).fill_(float("nan"))
    assert held_out.score_held_out(gan, dataset, rng) == {}
