"""The training benchmark: rounds, counts, sums and tables; not how fast anything is."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.layers import layers_of, time_layer
from benchmarks.limit import dcgan_ways, flops_of, penalty, wgan_ways
from benchmarks.plain import Players, make_players, train_dcgan, train_wgan_gp
from benchmarks.rounds import Link, NoMoreRounds, Pacer, paced
from benchmarks.table import cell_lines, markdown_lines, summary_lines
from gantrain.config import Config
from gantrain.models.networks import build_networks
from gantrain.training.objectives import gradient_penalty
from tests.conftest import WGAN_GP, small_config

ROOT = Path(__file__).parent.parent


class Orders:
    """The benchmark's end of a contender's pipes."""

    def __init__(self) -> None:
        orders, to_contender = os.pipe()
        from_contender, reports = os.pipe()
        self.link = Link(orders, reports)
        self.orders = os.fdopen(to_contender, "w")
        self.reports = os.fdopen(from_contender, "r")

    def tell(self, line: str) -> None:
        self.orders.write(line + "\n")
        self.orders.flush()

    def hear(self) -> dict[str, Any]:
        report: dict[str, Any] = json.loads(self.reports.readline())
        return report


def test_paced_batches_stop_between_rounds_and_count_images() -> None:
    orders = Orders()
    seen: list[int] = []

    def train() -> None:
        batches = paced(iter(range(10**6)), Pacer(orders.link, images=60, warmup=2), 3)
        try:
            for batch in batches:
                seen.append(batch)
        except NoMoreRounds:
            seen.append(-1)

    thread = threading.Thread(target=train)
    thread.start()
    assert orders.hear()["seconds_per_iteration"] > 0
    assert len(seen) == 6  # two iterations of three batches, then it waits
    for iterations, total in ((4, 18), (1, 21)):
        orders.tell(str(iterations))
        report = orders.hear()
        assert report["images"] == 60 * iterations
        assert report["memory"] > 10**6
        assert len(seen) == total
    orders.orders.close()
    thread.join(10)
    assert seen == [*range(21), -1]


def test_a_pause_is_not_counted() -> None:
    orders = Orders()
    pacer = Pacer(orders.link, images=1, warmup=1)

    def train() -> None:
        for _ in range(4):
            pacer.before_iteration()

    thread = threading.Thread(target=train)
    thread.start()
    orders.hear()
    time.sleep(0.3)
    orders.tell("2")
    assert orders.hear()["seconds"] < 0.2
    orders.tell("1")
    thread.join(10)


def players_of(config: Config) -> Players:
    torch.manual_seed(0)
    return make_players(config, ranks=1, bf16=False)


def endless(batch: int, size: int) -> Iterator[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    while True:
        yield torch.rand(batch, 1, size, size, generator=generator)


def test_the_plain_dcgan_makes_the_steps_that_its_losses_say(tmp_path: Path) -> None:
    config = small_config(tmp_path, tmp_path / "run", discriminator={"norm": "none"})
    players = players_of(config)
    generator, discriminator = build_networks(config)  # the same weights
    real = next(endless(8, 32))
    values = next(train_dcgan(players, iter([real])))

    torch.manual_seed(0)
    make_players(config, ranks=1, bf16=False)
    fake = generator(torch.randn(8, config.generator.latent_size))
    ones, zeros = torch.ones(8), torch.zeros(8)
    expected = binary_cross_entropy_with_logits(discriminator(real), ones)
    expected += binary_cross_entropy_with_logits(discriminator(fake.detach()), zeros)
    assert values[0] == pytest.approx(expected.item(), rel=1e-5)

    rate = config.discriminator.learning_rate
    expected.backward()  # type: ignore[no-untyped-call]
    torch.optim.Adam(discriminator.parameters(), rate, config.discriminator.betas).step()
    for ours, theirs in zip(
        discriminator.parameters(), players.discriminator.parameters(), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    g_loss = binary_cross_entropy_with_logits(discriminator(fake), ones)
    assert values[1] == pytest.approx(g_loss.item(), rel=1e-3)


def test_the_plain_loops_learn(tmp_path: Path) -> None:
    for sections in ({}, WGAN_GP):
        fast = {"learning_rate": 5e-3, **sections.get("discriminator", {})}
        config = small_config(tmp_path, tmp_path / "run", **{**sections, "discriminator": fast})
        players = players_of(config)
        batches = endless(8, 32)
        wgan = config.objective.kind == "wgan-gp"
        losses = train_wgan_gp(players, batches, 2, 10.0) if wgan else train_dcgan(players, batches)
        found = [next(losses)[0] for _ in range(25)]
        assert found[-1] < found[0] * 0.8


@pytest.mark.parametrize("sections", [{}, WGAN_GP, {"generator": {"kernel": 5}}])
def test_flops_are_those_that_torch_counts(tmp_path: Path, sections: dict[str, Any]) -> None:
    config = small_config(tmp_path, tmp_path / "run", **sections)
    g_layers, d_layers = layers_of(config)
    generator, discriminator = build_networks(config)
    g, d = flops_of(g_layers), flops_of(d_layers)
    latents, images = torch.randn(3, 8), torch.randn(3, 1, 32, 32)

    def counted(network: nn.Module, inputs: torch.Tensor, wanted: bool) -> tuple[int, int]:
        with FlopCounterMode(display=False) as forward:
            output = network(inputs.requires_grad_(wanted))
        with FlopCounterMode(display=False) as backward:
            output.sum().backward()
        return forward.get_total_flops() // 3, backward.get_total_flops() // 3

    assert counted(generator, latents, False) == (g.forward, g.backward)
    assert counted(discriminator, images, False) == (d.forward, d.backward)
    discriminator.requires_grad_(False)
    assert counted(discriminator, images, True) == (d.forward, d.inputs)


@pytest.mark.parametrize("norm", ["layer", "none"])
def test_the_penalty_needs_no_more_flops_than_it_takes(tmp_path: Path, norm: str) -> None:
    sections = {**WGAN_GP, "discriminator": {"norm": norm, "width": 16}}
    config = small_config(tmp_path, tmp_path / "run", **sections)
    _, critic = build_networks(config)
    d = flops_of(layers_of(config)[1])
    real, fake = torch.randn(2, 2, 1, 32, 32).unbind()

    def by_layers(images: torch.Tensor) -> torch.Tensor:
        # The counter's hooks on modules cannot stand autograd.grad.
        for layer in critic.layers:
            images = layer.forward(images)
        return images

    with FlopCounterMode(display=False) as counter:
        discriminate_for_penalty = gradient_penalty(by_layers, real, fake, torch.rand(2, 1, 1, 1))
        discriminate_for_penalty.backward()  # type: ignore[no-untyped-call]
    taken = counter.get_total_flops() / 2
    least = penalty(d, norm != "none")
    assert least <= taken
    if norm == "layer":  # it takes the first layer's dX too, which nobody needs
        assert taken - least < 0.15 * taken


def test_ways_that_share_passes_take_less(tmp_path: Path) -> None:
    config = small_config(tmp_path, tmp_path / "run")
    g, d = (flops_of(layers) for layers in layers_of(config))
    apart, one_g, one_each, _ = (flops for _, flops in dcgan_ways(g, d))
    assert apart - one_g == g.forward
    assert one_g - one_each == d.forward
    ways = [flops for _, flops in wgan_ways(g, d, d, 5, True)]
    assert ways == sorted(ways, reverse=True)


def test_a_layers_passes_are_timed(tmp_path: Path) -> None:
    for layers in layers_of(small_config(tmp_path, tmp_path / "run")):
        found = time_layer(layers[1], 2, torch.float32, 0.0)
        assert min(found.forward, found.weights, found.inputs) > 0


def sitting(**speeds: list[float]) -> dict[str, Any]:
    def rounds(values: list[float]) -> list[dict[str, float]]:
        return [{"images": value * 2, "seconds": 2.0, "memory": 5 * 10**8} for value in values]

    contenders = {k.replace("_", " "): {"rounds": rounds(v)} for k, v in speeds.items()}
    cell = {"objective": "dcgan", "width": 8, "batch": 16, "ranks": 1, "size": 64, "set": ""}
    return {**cell, "contenders": contenders}


def test_tables_of_rounds() -> None:
    # The machine got slower by half in the second round: the ratio does not change.
    one = sitting(
        plain_fp32=[100.0, 50.0, 100.0], ours_fp32=[150.0, 75.0, 150.0], ours_bf16=[200, 100, 200]
    )
    lines = list(cell_lines(one))
    assert len(lines) == 2
    assert "plain 100 ±12%, book not run, ours 150 ±12%; ours/plain 1.50 ±0.00" in lines[0]
    assert "GB plain 0.50, book -, ours 0.50" in lines[0]
    assert "ours 200 ±12% bf16; ours/plain 2.00 ±0.00, ours/book -" in next(
        iter(summary_lines([one]))
    )
    other = sitting(book_fp32=[400.0, 400.0])
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


def test_plain_and_ours_take_turns(tmp_path: Path, shards: Path) -> None:
    (tmp_path / "shards32").symlink_to(shards)
    png_files(tmp_path / "files32")
    out = tmp_path / "out.json"
    command = [sys.executable, "-m", "benchmarks.train", "--scratch", str(tmp_path)]
    cell = ["--objective", "dcgan", "--width", "4", "--batch", "8", "--ranks", "1"]
    short = ["--rounds", "2", "--seconds", "0.05", "--warmup", "1", "--out", str(out)]
    ended = subprocess.run(
        [*command, *cell, "--precision", "fp32", "--size", "32", *short],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    (found,) = json.loads(out.read_text())["sittings"]
    for name in ("plain fp32", "ours fp32"):
        contender = found["contenders"][name]
        assert [r["images"] for r in contender["rounds"]] == [8 * contender["iterations"]] * 2
        assert all(r["seconds"] > 0 and r["memory"] > 10**7 for r in contender["rounds"])
    assert "book not run" in ended.stdout
    assert not list(tmp_path.glob("cell-*"))
