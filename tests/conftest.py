"""Shared by the tests: small sets of real shards, small configs, real launches."""

import io
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from accelerate.state import AcceleratorState, GradientState
from hypothesis import settings
from PIL import Image, ImageDraw

from gantrain.config import Config, DcganGeneratorConfig, parse_config
from gantrain.data.shards.samples import Sample
from gantrain.data.shards.writer import write_shards
from gantrain.metrics import artefact_store, classifier
from gantrain.models.networks import Generator
from gantrain.train import main
from tests.launching import Ended, Train

IMAGES = 200
# As in the processes that the tests launch: sums over threads round by their number.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"  # which keeps the trainer from choosing another number
# In the background of a script, whose `&` disables Ctrl-C, or under nohup, as in the foreground.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
# How long an example takes says more of what else the machine does.
settings.register_profile("gantrain", deadline=None)
settings.load_profile("gantrain")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a file in one of several processes, and all that use Slurm together."""
    for item in items:
        on_slurm = item.get_closest_marker("slurm") is not None
        item.add_marker(pytest.mark.xdist_group("slurm" if on_slurm else str(item.path)))
        if item.get_closest_marker("gpu") is not None and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="torch finds no GPU (make gpu)"))


def draw_squares(count: int, size: int = 32, channels: int = 1) -> Iterator[Sample]:
    """Yield dark squares of random position, size and shade on light grey, in five classes."""
    random = np.random.default_rng(0)
    for i in range(count):
        image = Image.new("L" if channels == 1 else "RGB", (size, size), (230,) * channels)
        x, y, side = (int(n) for n in random.integers(4, size // 2, 3))
        shade = tuple(int(n) for n in random.integers(20, 150, channels))
        ImageDraw.Draw(image).rectangle([x, y, x + side, y + side], fill=shade)
        file = io.BytesIO()
        image.save(file, "PNG")
        yield Sample(f"square-{i:04d}", file.getvalue(), {"part": f"part{i % 5}", "name": "square"})


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 grey images of 32x32 in three shards of unequal length."""
    folder = tmp_path_factory.mktemp("data") / "squares"
    write_shards(
        folder, draw_squares(IMAGES), size=32, channels=1, source="squares", images_per_shard=80
    )
    return folder


@pytest.fixture(autouse=True)
def _fresh_accelerate() -> Iterator[None]:
    """Reset Accelerate's singletons, since each test may need another state."""
    yield
    _reset_accelerate()


@pytest.fixture
def train(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, _fresh_accelerate: None
) -> Train:
    """`gantrain/train.py` in this process: one rank, the trainer's own exit status."""
    for name in [n for n in os.environ if n.startswith(("WANDB_", "SLURM_", "MASTER_", "WORLD_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as in the processes that the tests launch

    def run(config: Path, *overrides: str) -> Ended:
        capsys.readouterr()
        status = main(["--config", str(config), *overrides])
        _reset_accelerate()
        printed = capsys.readouterr()
        return Ended(status, printed.out, printed.err)

    return run


def _reset_accelerate() -> None:
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


@pytest.fixture(scope="module")
def generator() -> Generator:
    """An untrained generator of 32x32 images, latent size 8."""
    torch.manual_seed(0)
    network = Generator(DcganGeneratorConfig(width=4, latent_size=8, norm="none"), 32, 1)
    for parameter in network.parameters():
        parameter.data.mul_(8)  # so that the images of the untrained network differ
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def conditional_run(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was trained for a second, with the class as one-hot vectors and planes."""
    folder = tmp_path_factory.mktemp("conditional")
    tree = small_tree(shards, folder / "run", conditioning={"kind": "concat"})
    path = folder / "c.yaml"
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    assert main(["--config", str(path)]) == 0
    return folder / "run"


@pytest.fixture
def short_classifier_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train the classifier of the metrics on 1,000 images instead of 60,000."""
    monkeypatch.setattr(classifier, "_MIN_IMAGES_SEEN", 1000)
    monkeypatch.setattr(classifier, "_MAX_IMAGES_SEEN", 1000)
    monkeypatch.setattr(artefact_store, "_STEPS", 2)


def small_tree(shards: Path, run_dir: Path, **sections: dict[str, Any]) -> dict[str, Any]:
    """A config tree that trains in a second; `sections` are merged into it."""
    network = {"width": 4}
    tree: dict[str, Any] = {
        "data": {
            "shards": str(shards),
            "size": 32,
            "cache_dir": str(run_dir.parent / "scratch"),
        },
        "generator": {**network, "latent_size": 8},
        "discriminator": dict(network),
        "objective": {"kind": "dcgan"},
        "training": {"total_kimg": 0.16, "batch_size": 16, "device": "cpu"},
        "metrics": {"every_kimg": 0},
        "output": {
            "run_dir": str(run_dir),
            "log_every_kimg": 0.032,
            "sample_every_kimg": 1,
            "checkpoint_every_kimg": 1,
            "grid": [2, 2],
        },
    }
    for name, section in sections.items():
        tree[name] = {**tree.get(name, {}), **section}
    return tree


def small_config(shards: Path, run_dir: Path, **sections: dict[str, Any]) -> Config:
    """`small_tree`, validated."""
    return parse_config(small_tree(shards, run_dir, **sections), "test")


WGAN_GP: dict[str, dict[str, Any]] = {
    "objective": {"kind": "wgan-gp", "n_critic": 2},
    "discriminator": {"norm": "layer"},
}

SNGAN: dict[str, dict[str, Any]] = {
    "objective": {"kind": "hinge", "n_critic": 2},
    "discriminator": {"norm": "none", "spectral_norm": True},
}


RPGAN: dict[str, dict[str, Any]] = {
    "objective": {"kind": "rpgan"},
    "discriminator": {"norm": "none"},
}

# Lazy penalties that count as much as the loss, since D's weights are not small.
PENALISED: dict[str, dict[str, Any]] = {
    "objective": {"kind": "rpgan", "r1_gamma": 20, "r2_gamma": 30, "penalty_every": 2},
    "discriminator": {"norm": "none", "init": "glorot"},
}


def weights_of(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A copy of all weights and buffers."""
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}
