"""The peer's code: torch-mimicry 0.1.16 (Lee and Town 2020), its networks, losses and trainer.

Importing the package as a whole needs TensorFlow, torchvision and more, for its metrics, its data
sets and its logger. None of these is needed here, so the package and its `training` are entered
without running their __init__.py, and the logger of its trainer is replaced by one that is silent.

Where our trainer runs its networks, `PeerGenerator` and `PeerDiscriminator` give them the interface
of ours.
"""

import importlib
import importlib.metadata
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import torch
from torch import Tensor, nn

from gantrain.common.errors import UserError
from gantrain.models.conditioning import Layers
from gantrain.models.networks import Discriminator, Generator

VERSION = "0.1.16"
LATENT_SIZE = 128
# Module and prefix of the classes of each network, by our objective.kind.
_NETWORKS = {
    "dcgan": ("dcgan.dcgan_32", "DCGAN"),
    "wgan-gp": ("wgan_gp.wgan_gp_32", "WGANGP"),
    "hinge": ("sngan.sngan_32", "SNGAN"),
}


def is_installed() -> bool:
    """Return whether the package is installed, in any version."""
    try:
        importlib.metadata.distribution("torch-mimicry")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def peer_module(name: str) -> Any:
    """Import `torch_mimicry.NAME` without what the package needs beyond torch.

    Raises UserError if the package is not installed.
    """
    if "torch_mimicry" not in sys.modules:
        _enter_package()
    return importlib.import_module(f"torch_mimicry.{name}")


def _enter_package() -> None:
    if not is_installed():
        raise UserError(
            "The package torch-mimicry is missing; install it with "
            f"`pip install --no-deps torch-mimicry=={VERSION}`: its dependencies, such as "
            "TensorFlow, are not needed here."
        )
    distribution = importlib.metadata.distribution("torch-mimicry")
    root = Path(str(distribution.locate_file("torch_mimicry")))
    package = _add_module("torch_mimicry", root)
    for name in ("training", "utils"):
        setattr(package, name, _add_module(f"torch_mimicry.{name}", root / name))
    # The trainer imports both from their packages; `utils.common` itself needs scikit-image.
    package.training.logger = _add_module("torch_mimicry.training.logger")
    package.training.logger.Logger = SilentLogger
    package.utils.common = _add_module("torch_mimicry.utils.common")
    package.utils.common.write_to_json = lambda settings, path: None  # a record for the user


def _add_module(name: str, folder: Path | None = None) -> Any:
    """Add an empty module; with a folder, a package whose other modules are imported from there."""
    module = ModuleType(name)
    if folder is not None:
        module.__path__ = [str(folder)]
    sys.modules[name] = module
    return module


class SilentLogger:
    """In place of the peer's logger, which writes for TensorBoard with torchvision."""

    def __init__(self, **settings: Any) -> None:
        """Take the settings of the peer's logger."""

    def write_summaries(self, **values: Any) -> None: ...

    def print_log(self, **values: Any) -> None: ...

    def vis_images(self, **values: Any) -> None: ...

    def close_writers(self) -> None: ...


def peer_networks(kind: str, width: int) -> tuple[Any, Any]:
    """Return the peer's generator and discriminator for RGB images of 32x32, on the CPU.

    kind: an objective.kind. width: channels of every layer of both, `ngf` and `ndf` there.

    The weights come from torch's global generator.
    """
    module, prefix = _NETWORKS[kind]
    classes = peer_module(f"nets.{module}")
    generator = getattr(classes, f"{prefix}Generator32")(nz=LATENT_SIZE, ngf=width)
    return generator, getattr(classes, f"{prefix}Discriminator32")(ndf=width)


class PeerGenerator(Generator):
    """A generator of the peer's as one of ours: latents (N, 128) to images (N, 3, 32, 32)."""

    def __init__(self, network: nn.Module) -> None:
        nn.Module.__init__(self)
        self.latent_size = LATENT_SIZE
        self.layers = Layers(network)

    def forward(self, latents: Tensor, classes: Tensor | None = None) -> Tensor:
        return cast(Tensor, self.layers(latents))


class PeerDiscriminator(Discriminator):
    """A discriminator of the peer's as one of ours: images (N, 3, 32, 32) to scores (N,)."""

    def __init__(self, network: nn.Module) -> None:
        nn.Module.__init__(self)
        self.layers = Layers(network)


def train_as_the_peer(
    networks: tuple[Any, Any],
    images: Tensor,
    *,
    batch_size: int,
    n_critic: int,
    steps: int,
    learning_rate: float,
    betas: tuple[float, float],
    folder: Path,
) -> None:
    """Train the peer's networks by its own trainer, in place.

    images: uint8 (N, 3, 32, 32), reshuffled in every epoch by torch's global generator.
    steps: of the generator. folder: gets the peer's checkpoints.
    """
    trainer = peer_module("training.trainer")
    g_adam, d_adam = (torch.optim.Adam(n.parameters(), learning_rate, betas) for n in networks)
    loader: Any = torch.utils.data.DataLoader(_Scaled(images), batch_size, shuffle=True)
    trainer.Trainer(
        netG=networks[0],
        netD=networks[1],
        optG=g_adam,
        optD=d_adam,
        dataloader=loader,
        num_steps=steps,
        n_dis=n_critic,
        lr_decay=None,
        log_dir=str(folder),
        device=torch.device("cpu"),
        save_steps=steps,
    ).train()


class _Scaled(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """Images in [-1, 1] with a label that unconditional networks do not use."""

    def __init__(self, images: Tensor) -> None:
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self._images[index].float().sub_(127.5).div_(127.5), 0
