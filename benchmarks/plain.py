"""DCGAN and WGAN-GP as they are commonly written in PyTorch, for comparison.

In the order of steps of PyTorch's DCGAN example and of the usual WGAN-GP code: PNG files through a
DataLoader with two workers, contiguous memory, Adam by its defaults, losses read every step, DDP
for ranks. The networks are ours, with torch's dropout.
"""

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from benchmarks.rounds import Link, Pacer, paced
from benchmarks.settings import Settings
from gantrain.config import Config, NetworkConfig, parse_config
from gantrain.models.dropout import Dropout
from gantrain.models.networks import build_networks

WORKERS = 2  # as in PyTorch's example
EPOCH = 40_000  # images of the book's set: between epochs the workers start anew


class PngFiles(Dataset[Tensor]):
    """Grey PNG files as tensors in [-1, 1], repeated until they make an epoch."""

    def __init__(self, folder: Path) -> None:
        paths = sorted(folder.rglob("*.png"))
        self.paths = paths * -(-EPOCH // len(paths))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        with Image.open(self.paths[index]) as image:
            pixels = np.asarray(image, np.float32)
        return torch.from_numpy(pixels[None] / 127.5 - 1)


@dataclass
class Players:
    """What a loop trains."""

    generator: nn.Module
    discriminator: nn.Module
    g_optimizer: torch.optim.Optimizer
    d_optimizer: torch.optim.Optimizer
    latent_size: int
    bf16: bool

    def generate(self, count: int) -> Tensor:
        """Images from fresh latents."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            images: Tensor = self.generator(torch.randn(count, self.latent_size))
        return images.float()

    def judge(self, images: Tensor) -> Tensor:
        """Logits or scores, in float32 for the losses."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            scores: Tensor = self.discriminator(images)
        return scores.float()


def train_plain(settings: Settings, link: Link) -> None:
    """Train in rounds, as one rank of `settings.ranks`."""
    config = parse_config(settings.config, "benchmark")
    torch.set_num_threads(settings.threads)
    if settings.ranks > 1:
        torch.distributed.init_process_group("gloo")
    players = make_players(config, settings.ranks, settings.precision == "bf16")
    loader = png_batches(Path(settings.files), settings.batch // settings.ranks, settings.ranks)
    pacer = Pacer(
        link, settings.images_per_iteration, settings.warmup, f"torch {torch.__version__}"
    )
    batches = paced(loader, pacer, settings.critic_steps)
    if config.objective.kind == "wgan-gp":
        objective = config.objective
        losses = train_wgan_gp(players, batches, objective.n_critic, objective.penalty_weight)
    else:
        losses = train_dcgan(players, batches)
    with Path(os.devnull).open("w") as log:
        for i, values in enumerate(losses):
            log.write(f"[{i}] " + " ".join(f"{value:.4f}" for value in values) + "\n")


def make_players(config: Config, ranks: int, bf16: bool) -> Players:
    """Both networks and their optimizers."""
    generator, discriminator = build_networks(config)
    use_torchs_dropout(discriminator)
    optimizers = adam(generator, config.generator), adam(discriminator, config.discriminator)
    networks: tuple[nn.Module, nn.Module] = generator, discriminator
    if ranks > 1:
        networks = DistributedDataParallel(generator), DistributedDataParallel(discriminator)
    return Players(*networks, *optimizers, config.generator.latent_size, bf16)


def adam(network: nn.Module, config: NetworkConfig) -> torch.optim.Adam:
    return torch.optim.Adam(network.parameters(), lr=config.learning_rate, betas=config.betas)


def use_torchs_dropout(network: nn.Module) -> None:
    """Put torch's own layers in place of ours, which draw their masks faster."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, Dropout):
                setattr(module, name, nn.Dropout(child.share))


def png_batches(folder: Path, batch: int, ranks: int) -> Iterator[Tensor]:
    """Endless shuffled batches of the files."""
    dataset = PngFiles(folder)
    sampler: DistributedSampler[Tensor] | None = DistributedSampler(dataset) if ranks > 1 else None
    loader = DataLoader(
        dataset,
        batch,
        shuffle=sampler is None,
        sampler=sampler,
        num_workers=WORKERS,
        drop_last=True,
    )
    for epoch in itertools.count():
        if sampler is not None:
            sampler.set_epoch(epoch)
        yield from loader


def train_dcgan(players: Players, batches: Iterator[Tensor]) -> Iterator[tuple[float, ...]]:
    """Train for ever; of each iteration D's loss, G's loss, D(x), D(G(z)) before and after."""
    for real in batches:
        ones, zeros = torch.ones(len(real)), torch.zeros(len(real))

        players.discriminator.zero_grad()
        logits = players.judge(real)
        loss_real = binary_cross_entropy_with_logits(logits, ones)
        loss_real.backward()  # type: ignore[no-untyped-call]
        d_real = logits.sigmoid().mean().item()

        fake = players.generate(len(real))
        logits = players.judge(fake.detach())
        loss_fake = binary_cross_entropy_with_logits(logits, zeros)
        loss_fake.backward()  # type: ignore[no-untyped-call]
        d_fake = logits.sigmoid().mean().item()
        players.d_optimizer.step()

        players.generator.zero_grad()
        logits = players.judge(fake)
        g_loss = binary_cross_entropy_with_logits(logits, ones)
        g_loss.backward()  # type: ignore[no-untyped-call]
        d_fake_after = logits.sigmoid().mean().item()
        players.g_optimizer.step()
        yield (loss_real + loss_fake).item(), g_loss.item(), d_real, d_fake, d_fake_after


def train_wgan_gp(
    players: Players, batches: Iterator[Tensor], n_critic: int, weight: float
) -> Iterator[tuple[float, ...]]:
    """Train for ever; of each iteration the last critic's loss and G's."""
    while True:
        for _ in range(n_critic):
            real = next(batches)
            with torch.no_grad():
                fake = players.generate(len(real))
            players.discriminator.zero_grad()
            distance = players.judge(real).mean() - players.judge(fake).mean()
            d_loss = weight * gradient_penalty(players, real, fake) - distance
            d_loss.backward()  # type: ignore[no-untyped-call]
            players.d_optimizer.step()
        players.generator.zero_grad()
        g_loss = -players.judge(players.generate(len(real))).mean()
        g_loss.backward()  # type: ignore[no-untyped-call]
        players.g_optimizer.step()
        yield d_loss.item(), g_loss.item()


def gradient_penalty(players: Players, real: Tensor, fake: Tensor) -> Tensor:
    """In the precision of everything else, as the usual code has it."""
    epsilon = torch.rand(len(real), 1, 1, 1)
    mixed = (epsilon * real + (1 - epsilon) * fake).requires_grad_()
    scores = players.judge(mixed)
    (gradient,) = torch.autograd.grad(
        scores, mixed, torch.ones_like(scores), create_graph=True, retain_graph=True
    )
    norms: Tensor = torch.linalg.vector_norm(gradient.flatten(1), dim=1)
    return (norms - 1).square().mean()
