"""ADA's controller: against the paper's, in closed form, resumed, on ranks and in micro-batches."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gantrain.common.rng import PositionalRNG, Stream
from gantrain.models.augment import diff_augment
from gantrain.runs.checkpoint import AdaState, read_newest
from gantrain.training.ada import Ada
from tests.conftest import RPGAN, SNGAN, small_config, small_tree
from tests.curves import assert_same_end, assert_similar_curves, curve
from tests.launching import Train, launch, write_config

Sections = dict[str, dict[str, Any]]
BATCH, ALL = 16, ["translation", "cutout", "brightness"]  # BATCH is that of the small config
ADA = {"diffaugment": ALL, "diffaugment_probability": "ada"}
QUICK = {**ADA, "ada_kimg": 0.1, "ada_every": 3, "ada_target": 0.1}


def ada_of(
    augment: dict[str, Any],
    sections: Sections | None = None,
    batch_size: int = BATCH,
    device: str = "cpu",
) -> Ada:
    """A controller of one rank."""
    parts = {"augment": augment, "training": {"batch_size": batch_size}, **(sections or {})}
    config = small_config(Path("s"), Path("r"), **parts)
    accelerator = SimpleNamespace(
        device=torch.device(device),
        num_processes=1,
        is_main_process=True,
        reduce=lambda tensor, how: tensor.clone(),
    )
    return Ada(config, cast(Accelerator, accelerator))


def papers(batches: Sequence[Sequence[float]], *, target: float, kimg: float, every: int) -> Any:
    """Yield p after each batch: Karras et al. 2020, sections 3 and 3.1, with p up to 1.

    "We initialize p to zero and adjust its value once every four minibatches based on the
    indicated overfitting heuristic."
    """
    p, seen = 0.0, list[float]()
    for number, scores in enumerate(batches, start=1):
        seen += scores
        if number % every == 0:
            r = np.mean(np.sign(seen))
            p = min(1.0, max(0.0, p + np.sign(r - target) * len(seen) / (1000 * kimg)))
            seen = []
        yield p


@given(
    st.lists(st.lists(st.integers(-2, 3), min_size=4, max_size=4), max_size=24),
    st.sampled_from([0.0, 0.25, 0.6]),
    st.integers(1, 5),
    st.sampled_from([1, 2, 4]),
)
def test_p_is_that_of_the_papers_controller(
    batches: list[list[float]], target: float, every: int, micro_batches: int
) -> None:
    ada = ada_of({**ADA, "ada_target": target, "ada_kimg": 0.05, "ada_every": every}, batch_size=4)
    course = []
    for scores in batches:
        for micro in torch.tensor(scores).float().chunk(micro_batches):
            ada.observe(micro, -micro)
        ada.move(4)
        course.append(ada.curves()["augment/p"])
    assert course == list(papers(batches, target=target, kimg=0.05, every=every))


def test_p_rises_to_1_in_ada_kimg_and_falls_as_fast() -> None:
    ada = ada_of({**ADA, "ada_kimg": 0.8})
    sure, doubtful = torch.ones(BATCH), -torch.ones(BATCH)
    for n in range(1, 101):  # images seen: 16 n, of which p = 1 takes 800
        ada.observe(sure, doubtful)
        ada.move(BATCH)
        assert ada.curves()["augment/p"] == pytest.approx(min(1, n // 4 * 4 * BATCH / 800))
    for n in range(1, 101):
        ada.observe(doubtful, sure)
        ada.move(BATCH)
        assert ada.curves()["augment/p"] == pytest.approx(max(0, 1 - n // 4 * 4 * BATCH / 800))


def test_of_pairs_only_differences_of_scores_count() -> None:
    real, fake = torch.tensor([3.0, 1, -5, 2]), torch.tensor([2.0, 1, -1, -7])
    for shift in (0, -100, 100):
        r = ada_of(ADA, RPGAN).observe(real + shift, fake + shift)["augment/r"]
        assert float(r) == 0.25  # of the pairs two are in order and one is not
    assert float(ada_of(ADA).observe(real, fake)["augment/r"]) == 0.5
    assert float(ada_of(ADA, SNGAN).observe(real - 100, fake)["augment/r"]) == -1


def test_a_score_that_is_nan_is_undecided() -> None:
    ada = ada_of({**ADA, "ada_every": 1}, batch_size=2)
    assert (
        float(ada.observe(torch.tensor([torch.nan, torch.inf]), torch.ones(2))["augment/r"]) == 0.5
    )
    ada.move(2)
    assert ada.curves() == {"augment/p": 0}


def test_without_ada_there_is_nothing_to_log_or_save() -> None:
    ada = ada_of({"diffaugment": ALL})
    assert ada.observe(torch.ones(2), torch.ones(2)) == {}
    ada.move(2)
    assert (ada.curves(), ada.state()) == ({}, None)


def test_steps_never_read_p_or_r_on_the_host() -> None:
    ada = ada_of({**ADA, "ada_every": 1}, device="meta")  # which has no values to read
    images, rng = torch.rand(BATCH, 1, 8, 8, device="meta"), PositionalRNG(0, 0, BATCH)
    seen = diff_augment(images, rng, Stream.D_REAL_AUGMENT, ALL, ada.probability)
    scores = seen.mean((1, 2, 3))
    assert ada.observe(scores, scores)["augment/r"].is_meta
    ada.move(BATCH)
    assert ada.probability.is_meta


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_p_on_the_device_augments_like_the_number(p: float) -> None:
    images, rng = torch.rand(24, 1, 8, 8) * 2 - 1, PositionalRNG(5, 7, 24)
    expected = diff_augment(images, rng, Stream.G_AUGMENT, ALL, p)
    on_device = torch.tensor(p, dtype=torch.float64)

    def halves(x: Tensor) -> list[Tensor]:
        pairs = zip(x.chunk(2), rng.split(2), strict=True)
        return [diff_augment(half, r, Stream.G_AUGMENT, ALL, on_device) for half, r in pairs]

    assert torch.equal(diff_augment(images, rng, Stream.G_AUGMENT, ALL, on_device), expected)
    assert torch.equal(torch.cat(halves(images)), expected)


def config_of(tmp_path: Path, shards: Path, name: str, *parts: Sections) -> Path:
    tree = small_tree(shards, tmp_path / name, augment=QUICK)
    for part in parts:
        tree |= {key: {**tree.get(key, {}), **section} for key, section in part.items()}
    return write_config(tmp_path / f"{name}.yaml", tree)


def ada_state(run_dir: Path) -> AdaState:
    snapshot, _ = read_newest(run_dir)
    assert snapshot is not None
    assert snapshot.state.progress.ada is not None
    return snapshot.state.progress.ada


@pytest.mark.parametrize(
    ("sections", "accuracy", "batches", "moves"),
    [
        ([{"training": {"grad_accum_steps": 2}}], "d_accuracy_real", 1, 3),
        ([{"training": {"updates": "joint"}}, RPGAN], "d_pair_accuracy", 1, 3),
        ([SNGAN], "d_accuracy_real", 2, 2),  # after whole iterations of two batches
    ],
    ids=["dcgan-accumulated", "rpgan-joint", "hinge-2-critic-steps"],
)
def test_a_run_follows_the_papers_controller_by_what_d_said(
    sections: list[Sections],
    accuracy: str,
    batches: int,
    moves: int,
    shards: Path,
    tmp_path: Path,
    train: Train,
) -> None:
    each = {"output": {"log_every_kimg": batches * BATCH / 1000}}
    assert train(config_of(tmp_path, shards, "run", each, *sections)).returncode == 0
    lines = curve(tmp_path / "run")
    # A line is an iteration, and no score is exactly 0.
    r = [2 * line[f"health/{accuracy}"] - 1 for line in lines]
    assert [line["augment/r"] for line in lines] == pytest.approx(r, abs=1e-6)
    signs = [[1.0] * round(BATCH * batches * (x + 1) / 2) for x in r]
    scores = [ones + [-1.0] * (BATCH * batches - len(ones)) for ones in signs]
    p = list(papers(scores, target=0.1, kimg=0.1, every=moves))
    assert [line["augment/p"] for line in lines] == p
    assert len(set(p)) > 2


@pytest.mark.parametrize(
    "sections",
    [[{"training": {"grad_accum_steps": 2}}], [{"training": {"updates": "joint"}}, RPGAN]],
    ids=["accumulated", "joint-rpgan"],
)
def test_a_run_that_stops_between_two_moves_resumes_bit_for_bit(
    sections: list[Sections], shards: Path, tmp_path: Path, train: Train
) -> None:
    uninterrupted = config_of(tmp_path, shards, "uninterrupted", *sections)
    stopped = config_of(tmp_path, shards, "stopped", *sections)
    assert train(uninterrupted).returncode == 0
    assert train(stopped, "training.total_kimg=0.08").returncode == 0
    assert ada_state(tmp_path / "stopped").images == 2 * BATCH
    assert train(stopped).returncode == 0
    assert_same_end(tmp_path / "uninterrupted", tmp_path / "stopped")
    state = ada_state(tmp_path / "stopped")
    assert state == ada_state(tmp_path / "uninterrupted")
    assert state.p > 0


def test_two_ranks_and_then_one_adapt_like_one(shards: Path, tmp_path: Path, train: Train) -> None:
    no_batch_statistics: Sections = {
        "generator": {"norm": "none"},
        "discriminator": {"norm": "none"},
    }
    one = config_of(tmp_path, shards, "one", no_batch_statistics)
    elastic = config_of(tmp_path, shards, "elastic", no_batch_statistics)
    assert train(one).returncode == 0
    done = launch(elastic, "training.total_kimg=0.08", "training.grad_accum_steps=2", ranks=2)
    assert done.returncode == 0, done.stderr
    assert ada_state(tmp_path / "elastic").images == 2 * BATCH
    assert train(elastic).returncode == 0
    assert_similar_curves(tmp_path / "one", tmp_path / "elastic", lines=5)
    assert ada_state(tmp_path / "elastic") == ada_state(tmp_path / "one")


def test_a_checkpoint_without_ada_resumes_with_it_from_0(
    shards: Path, tmp_path: Path, train: Train
) -> None:
    config = config_of(tmp_path, shards, "run", {"output": {"log_every_kimg": BATCH / 1000}})
    number = ["augment.diffaugment_probability=0.5", "augment.ada_kimg=500", "augment.ada_every=4"]
    done = train(config, *number, "augment.ada_target=0.6", "training.total_kimg=0.08")
    assert done.returncode == 0
    done = train(config)
    assert done.returncode == 0
    changed = "changed since the checkpoint: augment.diffaugment_probability: 0.5 -> ada"
    assert changed in done.stderr
    lines = curve(tmp_path / "run")
    assert [line.get("augment/p") for line in lines[:7]] == [None] * 5 + [0, 0]
