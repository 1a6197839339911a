"""Trainings with schedules: against torch's schedulers, resumed, on ranks, in micro-batches."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from gantrain.common.rng import PositionalRNG, Stream
from gantrain.config import Config
from gantrain.models.augment import diff_augment
from gantrain.training.batch import Moment
from gantrain.training.gan import Gan
from gantrain.training.objectives import WganGp
from gantrain.training.penalties import Scored
from gantrain.training.snapshots import config_changes
from tests.conftest import WGAN_GP, small_config, small_tree
from tests.curves import assert_same_end, assert_similar_curves, curve
from tests.launching import Train, launch, write_config

Sections = dict[str, dict[str, Any]]
TOTAL, BATCH = 160, 16  # images of the small config

# Everything that can be scheduled, apart from the penalty. The ends are stated, so that another
# total_kimg may stop a run.
SCHEDULED: Sections = {
    "generator": {
        "norm": "none",
        "learning_rate": {"from": 1e-3, "to": 0, "kind": "cosine", "end_kimg": 0.16},
        "betas": [0.5, {"from": 0.9, "to": 0.999, "end_kimg": 0.1}],
    },
    "discriminator": {"norm": "layer", "learning_rate": {"from": 5e-4, "warmup_kimg": 0.07}},
    "augment": {
        "flip": {"from": 0, "to": 1, "end_kimg": 0.16},
        "diffaugment": ["translation", "cutout", "brightness"],
        "diffaugment_probability": {"from": 1, "to": 0, "end_kimg": 0.12},
    },
    "ema": {"half_life_kimg": {"from": 0.01, "to": 0.1, "end_kimg": 0.1}, "rampup": None},
}
LAZY: Sections = {
    "objective": {
        **WGAN_GP["objective"],
        "penalty_every": 2,
        "penalty_weight": {"from": 10, "to": 1, "kind": "cosine", "end_kimg": 0.14},
    }
}


def config_of(tmp_path: Path, shards: Path, name: str, *parts: Sections) -> Path:
    tree = small_tree(shards, tmp_path / name)
    for part in parts:
        tree |= {key: {**tree.get(key, {}), **section} for key, section in part.items()}
    return write_config(tmp_path / f"{name}.yaml", tree)


@pytest.mark.parametrize("n_critic", [1, 2])
def test_both_optimizers_follow_their_schedules_as_with_torchs_schedulers(
    n_critic: int, shards: Path, tmp_path: Path, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: dict[str, list[tuple[float, float]]] = {"G": [], "D": []}
    original = Gan.apply_gradients

    def apply_gradients(self: Gan, network: nn.Module) -> Tensor:
        name = "G" if network is self.generator else "D"
        (group,) = (self.g_optimizer if name == "G" else self.d_optimizer).param_groups
        used[name].append((group["lr"], group["betas"][1]))
        return original(self, network)

    monkeypatch.setattr(Gan, "apply_gradients", apply_gradients)
    config = config_of(tmp_path, shards, "run", SCHEDULED, {"objective": {"n_critic": n_critic}})
    assert train(config).returncode == 0
    g_steps, images = TOTAL // BATCH // n_critic, BATCH * n_critic  # of an iteration

    def torch_rates(rate: float, factor: Any) -> list[float]:
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], rate)
        scheduler = LambdaLR(optimizer, lambda step: factor(step * images))
        rates = []
        for _ in range(g_steps):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        return rates

    g_rates = torch_rates(1e-3, lambda n: (1 + math.cos(math.pi * n / TOTAL)) / 2)
    d_rates = torch_rates(5e-4, lambda n: min(1, n / 70))
    beta2 = [0.9 + 0.099 * min(1, i * images / 100) for i in range(g_steps)]
    assert [rate for rate, _ in used["G"]] == pytest.approx(g_rates, rel=1e-9)
    assert [beta for _, beta in used["G"]] == pytest.approx(beta2, rel=1e-9)
    # All D steps of an iteration have the rate of its beginning.
    assert [rate for rate, _ in used["D"]] == pytest.approx(
        [rate for rate in d_rates for _ in range(n_critic)], rel=1e-9
    )
    assert {beta for _, beta in used["D"]} == {0.999}
    for line in curve(tmp_path / "run"):
        n = line["images_seen"]
        expected = {
            "schedule/g_learning_rate": 5e-4 * (1 + math.cos(math.pi * n / TOTAL)),
            "schedule/d_learning_rate": 5e-4 * min(1, n / 70),
            "schedule/g_beta2": 0.9 + 0.099 * min(1, n / 100),
            "schedule/flip": n / TOTAL,
            "schedule/diffaugment_probability": max(0, 1 - n / 120),
            "schedule/ema_half_life_kimg": 0.01 + 0.09 * min(1, n / 100),
        }
        found = {name: value for name, value in line.items() if name.startswith("schedule/")}
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-12)
        assert line["health/d_rate_share"] == pytest.approx(min(1, n / 70))


def test_a_penalty_has_the_weight_of_its_own_step(
    shards: Path, tmp_path: Path, train: Train
) -> None:
    weight = {"from": 10, "to": 2}
    objective = {"kind": "wgan-gp", "n_critic": 1, "penalty_weight": weight}
    each_step = {"output": {"log_every_kimg": BATCH / 1000}}
    sections = WGAN_GP | {"objective": objective}
    assert train(config_of(tmp_path, shards, "run", sections, each_step)).returncode == 0
    lines = curve(tmp_path / "run")
    assert len(lines) == TOTAL // BATCH
    for line in lines:
        paid = (line["loss/discriminator"] + line["loss/wasserstein"]) / line["loss/penalty"]
        before = line["images_seen"] - BATCH
        assert paid == pytest.approx(10 - 8 * before / TOTAL, rel=1e-4)


def test_a_lazy_penalty_has_the_weight_of_its_own_step_too() -> None:
    config = small_config(Path("shards"), Path("run"), **{**WGAN_GP, **LAZY})
    penalty = WganGp(config.objective).penalty  # type: ignore[arg-type]
    images = torch.zeros(4, 1, 2, 2)
    scored, rng = Scored(images, images, torch.zeros(4)), PositionalRNG(0, 0, 4)
    moments = [Moment(BATCH * k, TOTAL, k) for k in range(10)]
    # A gradient of norm 2: the penalty is 1.
    paid = [
        float(penalty(lambda x: x.sum((1, 2, 3)), scored, scored, rng, moment)[0])
        for moment in moments
    ]
    expected = [
        0 if k % 2 else 2 * (1 + 4.5 * (1 + math.cos(math.pi * min(1, BATCH * k / 140))))
        for k in range(10)
    ]
    assert paid == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "sections",
    [
        pytest.param([SCHEDULED, {"training": {"grad_accum_steps": 2}}], id="accumulated"),
        pytest.param([SCHEDULED, {"training": {"updates": "joint"}}], id="joint"),
        pytest.param([SCHEDULED, LAZY, {"output": {"log_every_kimg": 0.064}}], id="lazy-wgan-gp"),
    ],
)
def test_a_run_with_schedules_resumes_bit_for_bit(
    sections: list[Sections], shards: Path, tmp_path: Path, train: Train
) -> None:
    uninterrupted = config_of(tmp_path, shards, "uninterrupted", *sections)
    stopped = config_of(tmp_path, shards, "stopped", *sections)
    assert train(uninterrupted).returncode == 0
    assert train(stopped, "training.total_kimg=0.096").returncode == 0
    done = train(stopped)
    assert done.returncode == 0
    assert "follows training.total_kimg" not in done.stderr
    assert_same_end(tmp_path / "uninterrupted", tmp_path / "stopped")


def test_two_ranks_in_micro_batches_follow_the_schedules_of_one(
    shards: Path, tmp_path: Path, train: Train
) -> None:
    one = config_of(tmp_path, shards, "one", SCHEDULED, LAZY)
    two = config_of(tmp_path, shards, "two", SCHEDULED, LAZY, {"training": {"grad_accum_steps": 2}})
    assert train(one).returncode == 0
    done = launch(two, ranks=2)
    assert done.returncode == 0, done.stderr
    assert_similar_curves(tmp_path / "one", tmp_path / "two", lines=5)


def test_a_constant_schedule_trains_like_the_number(
    shards: Path, tmp_path: Path, train: Train
) -> None:
    number = config_of(tmp_path, shards, "number", {"generator": {"learning_rate": 3e-4}})
    constant = config_of(
        tmp_path, shards, "constant", {"generator": {"learning_rate": {"from": 3e-4}}}
    )
    for config in (number, constant):
        assert train(config).returncode == 0
    mine, theirs = curve(tmp_path / "number"), curve(tmp_path / "constant")
    logged = ("schedule/g_learning_rate", "health/g_rate_share")
    assert [line.pop(logged[0]) for line in theirs] == [3e-4] * 5
    assert [line.pop(logged[1]) for line in theirs] == [1] * 5
    assert mine == theirs


def test_guards_and_remedies_multiply_the_scheduled_rate() -> None:
    rate = {"from": 4e-4, "to": 0}
    config = small_config(Path("shards"), Path("run"), generator={"learning_rate": rate})
    gan = Gan(config, Accelerator(cpu=True))
    gan.scale_learning_rates(0.5)
    gan.set_rate_factors(g=2.0, d=0.25)
    for images, g_rate in ((0, 4e-4), (80, 2e-4), (160, 0)):
        gan.follow_schedules(images)
        assert gan.g_optimizer.param_groups[0]["lr"] == pytest.approx(g_rate)
        assert gan.d_optimizer.param_groups[0]["lr"] == pytest.approx(2e-4 / 8)
    gan.follow_schedules(80)
    gan.set_rate_factors(g=4.0, d=1.0)
    assert gan.g_optimizer.param_groups[0]["lr"] == pytest.approx(4e-4)


def test_a_resume_says_what_a_changed_length_moves(
    shards: Path, tmp_path: Path, train: Train
) -> None:
    rate = {"from": 4e-4, "to": 0}
    config = config_of(tmp_path, shards, "run", {"generator": {"learning_rate": rate}})
    assert train(config, "training.total_kimg=0.08").returncode == 0
    done = train(config)
    assert done.returncode == 0
    assert "changed since the checkpoint: training.total_kimg: 0.08 -> 0.16" in done.stderr
    moved = "generator.learning_rate follows training.total_kimg: at 0.08 kimg it is 0.0002 now"
    assert f"{moved} and was 0; end_kimg makes" in done.stderr


def test_a_number_may_become_a_schedule_at_a_resume_and_the_change_is_one_line(
    shards: Path, tmp_path: Path, train: Train
) -> None:
    config = config_of(tmp_path, shards, "run")
    assert train(config, "training.total_kimg=0.08").returncode == 0
    done = train(config, "generator.learning_rate.to=0", "generator.learning_rate.kind=cosine")
    assert done.returncode == 0
    changed = "changed since the checkpoint: generator.learning_rate: 0.0002 -> 0.0002→0 cosine"
    assert changed in done.stderr
    assert "generator.learning_rate." not in done.stderr
    assert "schedule/g_learning_rate" in curve(tmp_path / "run")[-1]


def test_changes_of_schedules_are_compared_whole() -> None:
    def tree(**network: Any) -> Config:
        return small_config(Path("shards"), Path("run"), generator=network)

    before = tree(learning_rate={"from": 1e-3, "to": 0}).model_dump(mode="json")
    assert config_changes(before, tree(learning_rate={"from": 1e-3, "to": 0})) == {}
    ((key, (old, new)),) = config_changes(before, tree(learning_rate=1e-3)).items()
    assert (key, new) == ("generator.learning_rate", 1e-3)
    assert old["from"] == 1e-3


def test_the_probability_of_an_augmentation_is_that_of_each_image_and_of_each_policy() -> None:
    images = torch.rand(2000, 1, 8, 8) * 2 - 1
    rng, stream = PositionalRNG(5, 0, 2000), Stream.D_FAKE_AUGMENT
    policies = ["brightness", "cutout"]
    always = diff_augment(images, rng, stream, policies)
    assert torch.equal(diff_augment(images, rng, stream, policies, 1.0), always)
    assert diff_augment(images, rng, stream, policies, 0.0) is images
    sometimes = diff_augment(images, rng, stream, policies, 0.3)
    untouched = (sometimes == images).flatten(1).all(1).float().mean()
    complete = (sometimes == always).flatten(1).all(1).float().mean()
    assert float(untouched) == pytest.approx(0.49, abs=0.04)
    assert float(complete) == pytest.approx(0.09, abs=0.03)
    halves = [
        diff_augment(half, rng_half, stream, policies, 0.3)
        for half, rng_half in zip(images.chunk(2), rng.split(2), strict=True)
    ]
    assert torch.equal(torch.cat(halves), sometimes)
