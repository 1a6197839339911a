"""All objectives as commonly written in PyTorch, for comparison.

Follows the steps of PyTorch's DCGAN example, of common code for WGAN-GP and SNGAN, and of R3GAN's:
PNG files through a DataLoader with two workers, contiguous memory, Adam with its defaults, losses
read in every step, and DDP. The networks are ours, with torch's dropout and spectral norm, and with
maps that are doubled and halved apart from the convolutions. On a GPU, as the example does it:
batches from pinned memory, and everything that is drawn at random is drawn there.
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
from torch.nn.functional import binary_cross_entropy_with_logits, relu, softplus
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from benchmarks.device import BenchmarkDevice
from benchmarks.pacing import Channel, Pacer, paced
from benchmarks.settings import Settings
from gantrain.config import Config, NetworkConfig, parse_config
from gantrain.config.objectives import HingeConfig, RpganConfig, WganGpConfig, gamma_of
from gantrain.config.schedules import peak_of
from gantrain.models.dropout import Dropout
from gantrain.models.networks import build_networks
from gantrain.models.resampling import DoublingConv2d, HalvingConv2d

_CPU = torch.device("cpu")
WORKERS = 2  # as in PyTorch's example
EPOCH = 40_000  # images, as in the book's set; the workers restart after each epoch


class PngFiles(Dataset[Tensor]):
    """Grayscale PNG files as float32 (1, S, S) in [-1, 1], repeated to the length of an epoch."""

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
class PlainGan:
    """Both networks and their optimizers."""

    generator: nn.Module
    discriminator: nn.Module
    g_optimizer: torch.optim.Optimizer
    d_optimizer: torch.optim.Optimizer
    latent_size: int
    bf16: bool
    device: torch.device = _CPU

    def generate(self, count: int) -> Tensor:
        """Return images, float32 (count, C, S, S), from random latents."""
        latents = torch.randn(count, self.latent_size, device=self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            images: Tensor = self.generator(latents)
        return images.float()

    def discriminate(self, images: Tensor) -> Tensor:
        """Return logits or scores, float32 (N,)."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            scores: Tensor = self.discriminator(images)
        return scores.float()


def train_plain(settings: Settings, channel: Channel) -> None:
    """Train in rounds, as one of `settings.ranks` ranks."""
    config = parse_config(settings.config, "benchmark")
    torch.set_num_threads(settings.threads)
    if settings.ranks > 1:
        torch.distributed.init_process_group("gloo")
    device = BenchmarkDevice(settings.device)
    gan = build_gan(config, settings.ranks, settings.precision == "bf16", device.torch)
    loader = png_batches(
        Path(settings.files), settings.batch // settings.ranks, settings.ranks, device.torch
    )
    pacer = Pacer(
        channel,
        settings.images_per_iteration,
        settings.warmup,
        f"torch {torch.__version__}",
        device.memory,
        device.wait,
    )
    batches = paced(loader, pacer, settings.d_steps_per_iteration)
    losses = training_loop(gan, batches, config)
    with Path(os.devnull).open("w") as log:
        for i, values in enumerate(losses):
            log.write(f"[{i}] " + " ".join(f"{value:.4f}" for value in values) + "\n")


def training_loop(
    gan: PlainGan, batches: Iterator[Tensor], config: Config
) -> Iterator[tuple[float, ...]]:
    """Return the loop for the objective of a config, which yields the losses of each iteration.

    The weights of penalties are constant, as all settings here: at the peak of a schedule.
    """
    match config.objective:
        case WganGpConfig() as objective:
            weight = peak_of(objective.penalty_weight)
            return train_wgan_gp(gan, batches, objective.n_critic, weight)
        case HingeConfig() as objective:
            return train_hinge(gan, batches, objective.n_critic)
        case RpganConfig() as objective:
            size, batch = config.data.size, config.training.batch_size
            r1_gamma = peak_of(gamma_of(objective.r1_gamma, size, batch))
            r2_gamma = peak_of(gamma_of(objective.r2_gamma, size, batch))
            return train_rpgan(gan, batches, objective.n_critic, r1_gamma, r2_gamma)
        case _:
            return train_dcgan(gan, batches)


def build_gan(config: Config, ranks: int, bf16: bool, device: torch.device = _CPU) -> PlainGan:
    """Build both networks and their optimizers. ranks: world size."""
    generator, discriminator = build_networks(config)
    use_torch_dropout(discriminator)
    resample_apart(generator, discriminator)
    generator, discriminator = generator.to(device), discriminator.to(device)
    optimizers = _adam(generator, config.generator), _adam(discriminator, config.discriminator)
    modules: tuple[nn.Module, nn.Module] = generator, discriminator
    if ranks > 1:
        modules = DistributedDataParallel(generator), DistributedDataParallel(discriminator)
    return PlainGan(*modules, *optimizers, config.generator.latent_size, bf16, device)


def _adam(network: nn.Module, config: NetworkConfig) -> torch.optim.Adam:
    betas = config.betas[0], peak_of(config.betas[1])
    return torch.optim.Adam(network.parameters(), lr=peak_of(config.learning_rate), betas=betas)


def use_torch_dropout(network: nn.Module) -> None:
    """Replace our dropout layers, which generate their masks faster, by torch's."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, Dropout):
                setattr(module, name, nn.Dropout(child.p))


def resample_apart(*networks: nn.Module) -> None:
    """Let layers that double or halve maps take two passes, as they are commonly written."""
    for network in networks:
        for layer in network.modules():
            if isinstance(layer, DoublingConv2d | HalvingConv2d):
                layer.in_one_pass = False


def png_batches(
    folder: Path, batch: int, ranks: int, device: torch.device = _CPU
) -> Iterator[Tensor]:
    """Yield shuffled batches of the files, float32 (batch, 1, S, S) on the device, without end."""
    dataset = PngFiles(folder)
    sampler: DistributedSampler[Tensor] | None = DistributedSampler(dataset) if ranks > 1 else None
    loader = DataLoader(
        dataset,
        batch,
        shuffle=sampler is None,
        sampler=sampler,
        num_workers=WORKERS,
        drop_last=True,
        pin_memory=device.type == "cuda",
    )
    for epoch in itertools.count():
        if sampler is not None:
            sampler.set_epoch(epoch)
        for images in loader:
            yield images.to(device, non_blocking=True)


def train_dcgan(gan: PlainGan, batches: Iterator[Tensor]) -> Iterator[tuple[float, ...]]:
    """Yield D's loss, G's loss, D(x), and D(G(z)) before and after D's step, for each iteration."""
    for real in batches:
        ones = torch.ones(len(real), device=gan.device)
        zeros = torch.zeros_like(ones)

        gan.discriminator.zero_grad()
        logits = gan.discriminate(real)
        loss_real = binary_cross_entropy_with_logits(logits, ones)
        loss_real.backward()  # type: ignore[no-untyped-call]
        d_real = logits.sigmoid().mean().item()

        fake = gan.generate(len(real))
        logits = gan.discriminate(fake.detach())
        loss_fake = binary_cross_entropy_with_logits(logits, zeros)
        loss_fake.backward()  # type: ignore[no-untyped-call]
        d_fake = logits.sigmoid().mean().item()
        gan.d_optimizer.step()

        gan.generator.zero_grad()
        logits = gan.discriminate(fake)
        g_loss = binary_cross_entropy_with_logits(logits, ones)
        g_loss.backward()  # type: ignore[no-untyped-call]
        d_fake_after = logits.sigmoid().mean().item()
        gan.g_optimizer.step()
        yield (loss_real + loss_fake).item(), g_loss.item(), d_real, d_fake, d_fake_after


def train_wgan_gp(
    gan: PlainGan, batches: Iterator[Tensor], n_critic: int, weight: float
) -> Iterator[tuple[float, ...]]:
    """Yield the loss of the last critic step and G's loss, for each iteration."""
    while True:
        for _ in range(n_critic):
            real = next(batches)
            with torch.no_grad():
                fake = gan.generate(len(real))
            gan.discriminator.zero_grad()
            distance = gan.discriminate(real).mean() - gan.discriminate(fake).mean()
            d_loss = weight * gradient_penalty(gan, real, fake) - distance
            d_loss.backward()  # type: ignore[no-untyped-call]
            gan.d_optimizer.step()
        gan.generator.zero_grad()
        g_loss = -gan.discriminate(gan.generate(len(real))).mean()
        g_loss.backward()  # type: ignore[no-untyped-call]
        gan.g_optimizer.step()
        yield d_loss.item(), g_loss.item()


def gradient_penalty(gan: PlainGan, real: Tensor, fake: Tensor) -> Tensor:
    """Return the penalty (Gulrajani et al. 2017), in the precision of everything else."""
    epsilon = torch.rand(len(real), 1, 1, 1, device=gan.device)
    mixed = (epsilon * real + (1 - epsilon) * fake).requires_grad_()
    scores = gan.discriminate(mixed)
    (gradient,) = torch.autograd.grad(
        scores, mixed, torch.ones_like(scores), create_graph=True, retain_graph=True
    )
    norms: Tensor = torch.linalg.vector_norm(gradient.flatten(1), dim=1)
    return (norms - 1).square().mean()


def train_hinge(
    gan: PlainGan, batches: Iterator[Tensor], n_critic: int
) -> Iterator[tuple[float, ...]]:
    """Yield the loss of the last D step and G's loss, for each iteration (Miyato et al. 2018)."""
    while True:
        for _ in range(n_critic):
            real = next(batches)
            with torch.no_grad():
                fake = gan.generate(len(real))
            gan.discriminator.zero_grad()
            loss_real = relu(1 - gan.discriminate(real)).mean()
            loss_fake = relu(1 + gan.discriminate(fake)).mean()
            d_loss = loss_real + loss_fake
            d_loss.backward()  # type: ignore[no-untyped-call]
            gan.d_optimizer.step()
        gan.generator.zero_grad()
        g_loss = -gan.discriminate(gan.generate(len(real))).mean()
        g_loss.backward()  # type: ignore[no-untyped-call]
        gan.g_optimizer.step()
        yield d_loss.item(), g_loss.item()


def train_rpgan(
    gan: PlainGan, batches: Iterator[Tensor], n_critic: int, r1_gamma: float, r2_gamma: float
) -> Iterator[tuple[float, ...]]:
    """Yield losses like `train_hinge`, and R1 and R2 of the last D step.

    Relativistic pairing (Jolicoeur-Martineau 2018) with both penalties, as R3GAN has it (Huang et
    al. 2024), whose code computes no gradients of D's weights in the G step.
    """
    while True:
        for _ in range(n_critic):
            real = next(batches).detach().requires_grad_()
            with torch.no_grad():
                fake = gan.generate(len(real))
            fake.requires_grad_()
            gan.discriminator.zero_grad()
            real_scores, fake_scores = gan.discriminate(real), gan.discriminate(fake)
            r1, r2 = squared_gradient(real_scores, real), squared_gradient(fake_scores, fake)
            d_loss = (
                softplus(fake_scores - real_scores).mean() + (r1_gamma * r1 + r2_gamma * r2) / 2
            )
            d_loss.backward()  # type: ignore[no-untyped-call]
            gan.d_optimizer.step()
        gan.discriminator.requires_grad_(False)
        gan.generator.zero_grad()
        fake_scores = gan.discriminate(gan.generate(len(real)))
        g_loss = softplus(gan.discriminate(real.detach()) - fake_scores).mean()
        g_loss.backward()  # type: ignore[no-untyped-call]
        gan.g_optimizer.step()
        gan.discriminator.requires_grad_(True)
        yield d_loss.item(), g_loss.item(), r1.item(), r2.item()


def squared_gradient(scores: Tensor, images: Tensor) -> Tensor:
    """Return the mean squared norm of the gradient: R1 at real images, R2 at generated ones.

    Mescheder et al. 2018. In the precision of everything else.
    """
    (gradient,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    return gradient.square().sum((1, 2, 3)).mean()
