"""The training benchmark: rounds, counts, FLOPs and tables. No test measures speed."""

import itertools
import json
import os
import subprocess
import sys
import threading
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from accelerate import Accelerator
from PIL import Image
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.jobs import TimeLimit
from benchmarks.layers import Ways, layers_of, time_layer
from benchmarks.limit import dcgan_variants, penalty_cost, total_flops, wgan_variants
from benchmarks.pacing import Channel, NoMoreRounds, Pacer, paced
from benchmarks.plain import PlainGan, build_gan, train_dcgan, training_loop
from benchmarks.settings import CONFIG_FILES, Settings
from benchmarks.table import cell_lines, markdown_lines, summary_lines
from benchmarks.train import Cell, cell_settings, run_cell
from gantrain.common.rng import PositionalRNG
from gantrain.config import Config
from gantrain.models.networks import build_networks
from gantrain.training.batch import Batch
from gantrain.training.gan import Gan
from gantrain.training.loop import d_step, g_step
from gantrain.training.objectives import make_objective
from gantrain.training.penalties import gradient_penalty
from tests.conftest import SNGAN, WGAN_GP, small_config, weights_of
from tests.launching import ROOT


class BenchmarkEnd:
    """The benchmark's end of a worker's pipes."""

    def __init__(self) -> None:
        requests, to_worker = os.pipe()
        from_worker, results = os.pipe()
        self.channel = Channel(requests, results)
        self.requests = os.fdopen(to_worker, "w")
        self.results = os.fdopen(from_worker, "r")

    def send(self, line: str) -> None:
        self.requests.write(line + "\n")
        self.requests.flush()

    def receive(self) -> dict[str, Any]:
        result: dict[str, Any] = json.loads(self.results.readline())
        return result


def test_paced_batches_pause_between_rounds_and_count_images() -> None:
    benchmark = BenchmarkEnd()
    seen: list[int] = []

    def train() -> None:
        batches = paced(iter(range(10**6)), Pacer(benchmark.channel, images=60, warmup=2), 3)
        try:
            for batch in batches:
                seen.append(batch)
        except NoMoreRounds:
            seen.append(-1)

    thread = threading.Thread(target=train)
    thread.start()
    assert benchmark.receive()["seconds_per_iteration"] > 0
    assert len(seen) == 6  # two iterations of three batches, then a pause
    for iterations, total in ((4, 18), (1, 21)):
        benchmark.send(str(iterations))
        result = benchmark.receive()
        assert result["images"] == 60 * iterations
        assert result["memory"] > 10**6
        assert len(seen) == total
    benchmark.requests.close()
    thread.join(10)
    assert seen == [*range(21), -1]


def test_a_pause_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("benchmarks.pacing.time.perf_counter", lambda: now)
    benchmark = BenchmarkEnd()
    pacer = Pacer(benchmark.channel, images=1, warmup=1)

    def train() -> None:
        for _ in range(4):
            pacer.before_iteration()

    thread = threading.Thread(target=train)
    thread.start()
    benchmark.receive()
    now = 1000.0
    benchmark.send("2")
    assert benchmark.receive()["seconds"] == 0
    benchmark.send("1")
    thread.join(10)


def seeded_gan(config: Config) -> PlainGan:
    torch.manual_seed(0)
    return build_gan(config, ranks=1, bf16=False)


def endless(batch: int, size: int) -> Iterator[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    while True:
        yield torch.rand(batch, 1, size, size, generator=generator)


def test_the_plain_dcgan_step_matches_its_losses(tmp_path: Path) -> None:
    config = small_config(tmp_path, tmp_path / "run", discriminator={"norm": "none"})
    gan = seeded_gan(config)
    generator, discriminator = build_networks(config)  # the same weights
    real = next(endless(8, 32))
    values = next(train_dcgan(gan, iter([real])))

    torch.manual_seed(0)
    build_gan(config, ranks=1, bf16=False)
    fake = generator(torch.randn(8, config.generator.latent_size))
    ones, zeros = torch.ones(8), torch.zeros(8)
    expected = binary_cross_entropy_with_logits(discriminator(real), ones)
    expected += binary_cross_entropy_with_logits(discriminator(fake.detach()), zeros)
    assert values[0] == pytest.approx(expected.item(), rel=1e-5)

    expected.backward()  # type: ignore[no-untyped-call]
    torch.optim.Adam(discriminator.parameters(), 2e-4, (0.5, 0.999)).step()
    for ours, theirs in zip(
        discriminator.parameters(), gan.discriminator.parameters(), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    g_loss = binary_cross_entropy_with_logits(discriminator(fake), ones)
    assert values[1] == pytest.approx(g_loss.item(), rel=1e-3)


_GLOROT = {"norm": "none", "init": "glorot"}  # weights that make gradients of a usual size
RATE = 0.01
HINGE: dict[str, dict[str, Any]] = {**SNGAN, "discriminator": _GLOROT}
HINGE_RESNET: dict[str, dict[str, Any]] = {
    "objective": {"kind": "hinge", "n_critic": 1},
    "generator": {"backbone": "resnet", "width": 2},
    "discriminator": {"backbone": "resnet", "width": 2, "spectral_norm": True},
}
RPGAN_PENALISED: dict[str, dict[str, Any]] = {
    "objective": {"kind": "rpgan", "n_critic": 2, "r1_gamma": 20, "r2_gamma": 30},
    "discriminator": _GLOROT,
}


@pytest.mark.parametrize(
    "sections",
    [
        pytest.param(HINGE, id="hinge"),
        pytest.param(HINGE_RESNET, id="hinge-with-spectral-norm"),
        pytest.param(RPGAN_PENALISED, id="rpgan"),
    ],
)
def test_the_plain_steps_have_the_losses_and_gradients_of_ours(
    sections: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    config = small_config(tmp_path, tmp_path / "run", **sections)
    plain = seeded_gan(config)
    # Weights change by gradients themselves, where Adam's first steps depend on their signs alone.
    plain.g_optimizer, plain.d_optimizer = (
        torch.optim.SGD(network.parameters(), RATE)
        for network in (plain.generator, plain.discriminator)
    )
    before = weights_of(plain.generator), weights_of(plain.discriminator)
    torch.manual_seed(0)
    losses = list(itertools.islice(training_loop(plain, endless(8, 32), config), 2))

    ours, real = gan_with(config), endless(8, 32)
    assert losses == [pytest.approx(iterate(ours, config, real), rel=1e-5) for _ in range(2)]
    assert_same_change(before[0], ours.generator, plain.generator)
    assert_same_change(before[1], ours.discriminator, plain.discriminator)


def gan_with(config: Config) -> Gan:
    """Our GAN with gradient descent, and with the latents of a plain loop that is seeded with 0."""
    gan = Gan(config, Accelerator(cpu=True, mixed_precision="no"))
    torch.manual_seed(0)
    latents = iter(torch.randn(10, 8, config.generator.latent_size))
    gan.latents = lambda rng, stream: next(latents)  # type: ignore[method-assign]
    gan.g_optimizer, gan.d_optimizer = (
        gan.accelerator.prepare_optimizer(torch.optim.SGD(network.parameters(), RATE, fused=True))
        for network in (gan.generator, gan.discriminator)
    )
    return gan


def iterate(gan: Gan, config: Config, batches: Iterator[torch.Tensor]) -> tuple[float, ...]:
    """Train for an iteration and return what a plain loop yields."""
    objective, rng = make_objective(config), PositionalRNG(0, 0, 8)
    for _ in range(config.objective.n_critic):
        real = next(batches)
        metrics = d_step(gan, objective, Batch(real, rng))
    # Spectral norm's power iteration in the plain G step; in ours, D stays as it is.
    gan.discriminator(real)
    metrics |= g_step(gan, objective, Batch(real, rng))
    names = ("loss/discriminator", "loss/generator", "loss/r1", "loss/r2")
    return tuple(metrics[name].item() for name in names if name in metrics)


def assert_same_change(before: dict[str, torch.Tensor], ours: nn.Module, plain: nn.Module) -> None:
    for (name, one), other in zip(ours.named_parameters(), plain.parameters(), strict=True):
        change, expected = one - before[name], other - before[name]
        assert (change - expected).norm() <= 1e-4 * expected.norm() + 1e-7, name


@pytest.mark.parametrize("sections", [{}, WGAN_GP])
def test_the_plain_loops_reduce_the_loss(tmp_path: Path, sections: dict[str, Any]) -> None:
    fast = {"learning_rate": 5e-3, **sections.get("discriminator", {})}
    config = small_config(tmp_path, tmp_path / "run", **{**sections, "discriminator": fast})
    losses = training_loop(seeded_gan(config), endless(8, 32), config)
    d_losses = [next(losses)[0] for _ in range(25)]
    assert d_losses[-1] < d_losses[0] * 0.8


def test_each_objective_has_the_implementations_that_exist(tmp_path: Path) -> None:
    options = Namespace(
        precision=["fp32"],
        implementations=["plain", "book", "ours"],
        size=64,
        book_python="python",
        warmup=1,
        set=[],
    )
    for objective in CONFIG_FILES:
        jobs = cell_settings(options, Cell(objective, 16, 32, 1), tmp_path / "shards", tmp_path)
        settings = {name: each for name, _, each in jobs}
        book = ["book fp32"] if objective in ("dcgan", "wgan-gp") else []
        assert list(settings) == ["plain fp32", *book, "ours fp32"]
        config = settings["plain fp32"].config
        assert config["objective"]["kind"] == objective
        assert config["generator"]["width"] == config["discriminator"]["width"] == 16
        n_critic = {"dcgan": 1, "wgan-gp": 5, "hinge": 5, "rpgan": 1}[objective]
        assert settings["ours fp32"].images_per_iteration == 32 * n_critic


@pytest.mark.parametrize("sections", [{}, WGAN_GP, {"generator": {"kernel": 5}}])
def test_flops_match_torchs_counter(tmp_path: Path, sections: dict[str, Any]) -> None:
    config = small_config(tmp_path, tmp_path / "run", **sections)
    g_layers, d_layers = layers_of(config)
    generator, discriminator = build_networks(config)
    g, d = total_flops(g_layers), total_flops(d_layers)
    latents, images = torch.randn(3, 8), torch.randn(3, 1, 32, 32)

    def count(network: nn.Module, inputs: torch.Tensor, input_gradient: bool) -> tuple[int, int]:
        with FlopCounterMode(display=False) as forward:
            output = network(inputs.requires_grad_(input_gradient))
        with FlopCounterMode(display=False) as backward:
            output.sum().backward()
        return forward.get_total_flops() // 3, backward.get_total_flops() // 3

    assert count(generator, latents, False) == (g.forward, g.backward)
    assert count(discriminator, images, False) == (d.forward, d.backward)
    discriminator.requires_grad_(False)
    assert count(discriminator, images, True) == (d.forward, d.inputs)


@pytest.mark.parametrize("norm", ["layer", "none"])
def test_the_least_penalty_cost_is_below_the_actual_one(tmp_path: Path, norm: str) -> None:
    sections = {**WGAN_GP, "discriminator": {"norm": norm, "width": 16}}
    config = small_config(tmp_path, tmp_path / "run", **sections)
    _, critic = build_networks(config)
    d = total_flops(layers_of(config)[1])
    real, fake = torch.randn(2, 2, 1, 32, 32).unbind()

    def by_layers(images: torch.Tensor) -> torch.Tensor:
        # FlopCounterMode's module hooks do not work with autograd.grad.
        for layer in critic.layers:
            images = layer.forward(images)
        return images

    with FlopCounterMode(display=False) as counter:
        penalty = gradient_penalty(by_layers, real, fake, torch.rand(2, 1, 1, 1))
        penalty.backward()  # type: ignore[no-untyped-call]
    actual = counter.get_total_flops() / 2
    least = penalty_cost(d, norm != "none")
    assert least <= actual
    if norm == "layer":  # autograd also computes dX of the first layer, which is not needed
        assert actual - least < 0.15 * actual


def test_variants_that_share_passes_cost_less(tmp_path: Path) -> None:
    config = small_config(tmp_path, tmp_path / "run")
    g, d = (total_flops(layers) for layers in layers_of(config))
    separate, one_g, one_each, _ = (flops for _, flops in dcgan_variants(g, d))
    assert separate - one_g == g.forward
    assert one_g - one_each == d.forward
    costs = [flops for _, flops in wgan_variants(g, d, d, 5, True)]
    assert costs == sorted(costs, reverse=True)


@pytest.mark.parametrize("ways", get_args(Ways))
def test_every_pass_of_a_layer_is_timed(tmp_path: Path, ways: Ways) -> None:
    for layers in layers_of(small_config(tmp_path, tmp_path / "run")):
        times = time_layer(layers[1], 2, torch.float32, 0.0, ways=ways)
        assert min(times.forward, times.weights, times.inputs) > 0


def cell_result(**speeds: list[float]) -> dict[str, Any]:
    def rounds(values: list[float]) -> list[dict[str, float]]:
        return [{"images": value * 2, "seconds": 2.0, "memory": 5 * 10**8} for value in values]

    implementations = {k.replace("_", " "): {"rounds": rounds(v)} for k, v in speeds.items()}
    cell = {"objective": "dcgan", "width": 8, "batch": 16, "ranks": 1, "size": 64, "set": ""}
    return {**cell, "implementations": implementations}


def test_tables_show_paired_ratios() -> None:
    # The machine is half as fast in the second round; the ratios do not change.
    one = cell_result(
        plain_fp32=[100.0, 50.0, 100.0], ours_fp32=[150.0, 75.0, 150.0], ours_bf16=[200, 100, 200]
    )
    lines = list(cell_lines(one))
    assert len(lines) == 2
    assert "plain 100 ±12%, book not run, ours 150 ±12%; ours/plain 1.50 ±0.00" in lines[0]
    assert "GB plain 0.50, book -, ours 0.50" in lines[0]
    assert "ours 200 ±12% bf16; ours/plain 2.00 ±0.00, ours/book -" in next(
        iter(summary_lines([one]))
    )
    other = cell_result(book_fp32=[400.0, 400.0])
    table = list(markdown_lines([one, other]))
    assert table[2].startswith("| dcgan | 8 | 16 | 1 | fp32 | 100 ±12% | not run | 150 ±12% |")
    assert table[-1].endswith("| 400 ±0% fp32 | 200 ±12% bf16 | 2.00 ±0.00 | 0.50 ±0.00 |")
    joint = list(markdown_lines([{**one, "set": "training.updates=joint"}]))
    assert joint[2].startswith("| dcgan, training.updates=joint | 8 |")
    widths = {line.count("|") for line in table[:5]}
    assert widths == {14}


def png_files(folder: Path) -> None:
    folder.mkdir()
    for i in range(40):
        Image.new("L", (32, 32), i * 5).save(folder / f"{i}.png")


def test_plain_and_ours_run_interleaved(tmp_path: Path, shards: Path) -> None:
    (tmp_path / "shards32").symlink_to(shards)
    png_files(tmp_path / "files32")
    out = tmp_path / "out.json"
    command = [sys.executable, "-m", "benchmarks.train", "--scratch", str(tmp_path)]
    cell = ["--objective", "dcgan", "--width", "4", "--batch", "8", "--ranks", "1"]
    short = ["--rounds", "2", "--seconds", "0.05", "--warmup", "1", "--threads", "1"]
    finished = subprocess.run(
        [*command, *cell, "--precision", "fp32", "--size", "32", *short, "--out", str(out)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    (result,) = json.loads(out.read_text())["cells"]
    for name in ("plain fp32", "ours fp32"):
        job = result["implementations"][name]
        assert [r["images"] for r in job["rounds"]] == [8 * job["iterations"]] * 2
        assert all(r["seconds"] > 0 and r["memory"] > 10**7 for r in job["rounds"])
    assert "book not run" in finished.stdout
    assert not list(tmp_path.glob("cell-*"))


@dataclass
class FakeJob:
    """A job whose warm-up and rounds move the clock on."""

    name: str
    settings: Settings
    clock: list[float]
    warm_up_seconds: float
    round_seconds: float
    library: str = "none"
    iterations: int = 1
    rounds: list[dict[str, Any]] = field(default_factory=list)

    def __enter__(self) -> "FakeJob":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def warm_up(self, seconds: float) -> None:
        self.clock[0] += self.warm_up_seconds

    def run_round(self) -> None:
        self.clock[0] += self.round_seconds
        self.rounds.append({"images": 1, "seconds": self.round_seconds, "memory": 0})


def settings_in(precision: str) -> Settings:
    return Settings("ours", precision, 1, 8, "", "", {}, 1, 1)


@pytest.mark.parametrize(
    ("warm_up_seconds", "round_seconds", "jobs", "rounds"),
    [
        (1.0, 1.0, 4, 5),  # everything fits into 100 s
        (5.0, 8.0, 4, 2),  # 20 s, and 32 s for a round
        (30.0, 10.0, 2, 2),  # the first half of the time is over after two
        (60.0, 10.0, 2, 1),  # after one, but both are of one precision
        (500.0, 500.0, 1, 1),
    ],
)
def test_a_cell_leaves_out_what_does_not_fit_into_its_time(
    warm_up_seconds: float,
    round_seconds: float,
    jobs: int,
    rounds: int,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock = [1000.0]
    monkeypatch.setattr("benchmarks.jobs.time.monotonic", lambda: clock[0])
    monkeypatch.setattr(
        "benchmarks.train.Job",
        lambda name, settings, *_: FakeJob(name, settings, clock, warm_up_seconds, round_seconds),
    )
    cell = itertools.product(("fp32", "bf16"), ("plain", "ours"))
    recorded: list[list[int]] = []
    found = run_cell(
        Namespace(seconds=1.0, rounds=5),
        [(f"{name} {precision}", "python", settings_in(precision)) for precision, name in cell],
        tmp_path,
        TimeLimit.share(1300.0, 3),
        lambda so_far: recorded.append([len(job["rounds"]) for job in so_far.values()]),
    )
    assert [len(job["rounds"]) for job in found.values()] == [rounds] * jobs
    assert recorded == [[number] * jobs for number in range(1, rounds + 1)]
    left_out = capsys.readouterr().err.count("left out for lack of time")
    assert left_out == (4 - jobs) + (rounds < 5)
