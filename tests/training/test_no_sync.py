"""The steady state of a training never waits for the device."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import gantrain.models.dropout
import gantrain.train
import gantrain.training.d_loss
import gantrain.training.gan
import gantrain.training.loop
from gantrain.data.loading.datasets import CachedImageDataset, Images
from gantrain.training.gan import Gan
from gantrain.training.meter import Meter
from gantrain.training.nan_guard import NanGuard
from tests.conftest import WGAN_GP, small_tree
from tests.launching import Train, write_config
from tests.training.cases import CASES, Sections
from tests.training.emulated_device import EmulatedDevice
from tests.training.loss_scale import with_scaler


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> EmulatedDevice:
    """A device on which the next trainings in this process run."""
    device = EmulatedDevice()
    original = gantrain.training.loop.train
    batches = CachedImageDataset.batches

    def train(gan: Gan, *arguments: Any) -> None:
        device.place(tensors_of(gan))
        with device.running():
            original(gan, *arguments)

    def placed(*arguments: Any) -> Iterator[Images]:
        for images in batches(*arguments):
            device.place(x for x in images if x is not None)
            yield images

    monkeypatch.setattr(gantrain.train, "train", train)
    monkeypatch.setattr(CachedImageDataset, "batches", placed)
    # On a GPU, masks are made there.
    monkeypatch.setattr(gantrain.models.dropout, "dropout", torch.nn.functional.dropout)
    return device


def tensors_of(gan: Gan) -> list[Tensor]:
    """Return all tensors of both networks, the average, and what is counted beside them."""
    networks = (gan.generator, gan.discriminator, gan.ema.generator)
    counted = [*vars(gan.ada).values(), *vars(gan.nan_guard).values()]
    scaler = gan.accelerator.scaler
    return [
        *(tensor for network in networks for tensor in (*network.parameters(), *network.buffers())),
        *(x for x in counted if isinstance(x, Tensor)),
        *(x for x in (vars(scaler).values() if scaler else ()) if isinstance(x, Tensor)),
    ]


@pytest.mark.parametrize("name", CASES)
def test_no_iteration_waits_for_the_device(
    name: str, device: EmulatedDevice, shards: Path, tmp_path: Path, train: Train
) -> None:
    done = train(config_of(CASES[name], shards, tmp_path))
    assert done.returncode == 0, done.stderr


def config_of(sections: Sections, shards: Path, folder: Path, **training: Any) -> Path:
    """Write a config of a few iterations, after which nothing is logged or saved."""
    output = {"log_every_kimg": 100, "sample_every_kimg": 100, "checkpoint_every_kimg": 100}
    tree = small_tree(shards, folder / "run", **sections, output=output)
    tree["training"] |= {"total_kimg": 0.048, **training}
    return write_config(folder / "c.yaml", tree)


def test_the_scaler_of_fp16_does_not_wait_either(
    device: EmulatedDevice,
    shards: Path,
    tmp_path: Path,
    train: Train,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    monkeypatch.setattr(gantrain.train, "make_accelerator", lambda _: with_scaler(scaler))
    sections = {**WGAN_GP, "training": {"clip_norm": 1.0}}
    assert train(config_of(sections, shards, tmp_path)).returncode == 0
    assert scaler.state_dict()["_growth_tracker"] > 0


def read_a_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Meter.add

    def add(meter: Meter, metrics: Any) -> None:
        original(meter, metrics)
        float(metrics["loss/generator" if "loss/generator" in metrics else "loss/discriminator"])

    monkeypatch.setattr(Meter, "add", add)


def copy_and_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gantrain.training.gan, "to_device", lambda x, device: x.to(device))


def copy_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gantrain.training.gan, "to_device", lambda x, _: x)


def choose_images(monkeypatch: pytest.MonkeyPatch) -> None:
    def signals(real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        bright = real[real.mean((1, 2, 3)) > 0]
        return {"bright": bright.sum()}

    monkeypatch.setattr(gantrain.training.d_loss, "image_signals", signals)


def branch_on_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    def note(guard: NanGuard, network: int, skipped: Tensor) -> None:
        if skipped:
            raise ValueError

    monkeypatch.setattr(NanGuard, "note", note)


def make_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    def to_device(values: Tensor, device: torch.device) -> Tensor:
        return torch.tensor(values.tolist(), device=device)

    monkeypatch.setattr(gantrain.training.gan, "to_device", to_device)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (read_a_metric, "waits for the device"),
        (copy_and_wait, "waits without non_blocking"),
        (copy_nothing, "mixes tensors of the host with those of the device"),
        (choose_images, "indexing by a mask waits"),
        (branch_on_a_value, "__bool__.* waits for the device"),
        (make_on_the_device, "copies and waits"),
    ],
)
def test_the_emulated_device_notices_what_a_real_one_would_wait_for(
    fault: Callable[[pytest.MonkeyPatch], None],
    words: str,
    device: EmulatedDevice,
    shards: Path,
    tmp_path: Path,
    train: Train,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fault(monkeypatch)
    with pytest.raises(AssertionError, match=words):
        train(config_of({}, shards, tmp_path))


@pytest.mark.gpu
@pytest.mark.parametrize("name", CASES)
def test_no_iteration_waits_for_a_real_device(
    name: str, shards: Path, tmp_path: Path, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    original: Callable[..., None] = gantrain.training.loop.train

    def without_waits(*arguments: Any) -> None:
        *others, after_iteration = arguments

        def from_the_first_on() -> None:  # which copies the images
            torch.cuda.set_sync_debug_mode("error")
            after_iteration()

        try:
            original(*others, from_the_first_on)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(gantrain.train, "train", without_waits)
    config = config_of(CASES[name], shards, tmp_path, device="cuda", total_kimg=0.32)
    done = train(config)
    assert done.returncode == 0, done.stderr
