"""Both networks and their optimizers, wrapped by Accelerate for ranks and mixed precision."""

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from torch import Tensor, nn

from gantrain.common.rng import PositionalRNG, Stream
from gantrain.common.transfer import to_device
from gantrain.config import Config, NetworkConfig
from gantrain.config.schedules import Schedule, value_at
from gantrain.models.augment import diff_augment
from gantrain.models.conditioning import NO_CLASSES
from gantrain.models.convolutions import fast_convolutions
from gantrain.models.dropout import add_dropout
from gantrain.models.ema import Ema
from gantrain.models.networks import (
    Discriminator,
    Generator,
    build_networks,
    treats_images_alone,
)
from gantrain.training.ada import Ada
from gantrain.training.adam import FusedAdam, relative_change
from gantrain.training.batch import Batch
from gantrain.training.exchange import Exchange
from gantrain.training.nan_guard import NanGuard

Networks = tuple[Generator, Discriminator]
Network = Callable[..., Tensor]  # of latents or images, and of classes with conditioning


class Gan:
    """Generator, discriminator, their Adam optimizers and the generator's EMA.

    `generator` and `discriminator` are the bare modules. `generate` and `discriminate` run them in
    the configured precision; the `ddp_` forms also average their gradients over the ranks.
    joins_batches: whether D may score real and generated images in one pass.
    extra_dropout: probability of dropout in D beyond the config's; only with health.remedy auto.
    """

    def __init__(
        self,
        config: Config,
        accelerator: Accelerator,
        networks: Networks | None = None,
        class_counts: Mapping[str, int] = NO_CLASSES,
    ) -> None:
        """Wrap new networks, or `networks` in place of those that the config describes.

        class_counts: see `Conditioning`; only with conditioning.
        """
        self.accelerator = accelerator
        self.latent_size = config.generator.latent_size
        self.grad_accum_steps = config.training.grad_accum_steps
        self.clip_norm = config.training.clip_norm
        self.extra_dropout = 0.0
        self._augment, self.ada = config.augment, Ada(config, accelerator)
        self._fake_classes = config.conditioning.fake_classes
        self._networks = (config.generator, config.discriminator)
        self._images_seen, self._total_images = 0, config.total_images
        self._rate_scale = 1.0
        self._rate_factors = (1.0, 1.0)
        layout = torch.channels_last if config.training.channels_last else torch.contiguous_format
        self.layout = layout
        generator, discriminator = networks or build_networks(config, class_counts)
        for network in (generator, discriminator):
            if config.training.sync_batch_norm:
                _convert_sync_batchnorm(network)
            # torch's stubs lack memory_format.
            network.to(accelerator.device, memory_format=layout)  # type: ignore[call-overload]
        self.generator: Generator = generator
        self.discriminator: Discriminator = discriminator
        if config.health.remedy == "auto":
            add_dropout(self.discriminator, lambda: self.extra_dropout)
        self._compiled = config.training.compile != "off"
        # torch.compile would compile D for batches of twice the size as well.
        self.joins_batches = not self._compiled and treats_images_alone(self.discriminator)
        self.ema = Ema(copy.deepcopy(self.generator), config.ema, config.total_images)
        self.g_optimizer = accelerator.prepare_optimizer(_adam(self.generator, config.generator))
        self.d_optimizer = accelerator.prepare_optimizer(
            _adam(self.discriminator, config.discriminator)
        )
        self._set_optimizers()
        self.nan_guard = NanGuard(accelerator.device)
        self.exchange = Exchange(config, accelerator)
        self._ddp_generator = self.exchange.wrap(self.generator)
        self._ddp_discriminator = self.exchange.wrap(self.discriminator)
        if self._compiled:
            _compile(self.generator, self.discriminator)

    def generate(self, latents: Tensor, classes: Tensor | None = None) -> Tensor:
        """Return images, float32 (N, C, S, S) in [-1, 1], from latents (N, latent_size).

        classes: with conditioning, int64 (N,); here and below.
        """
        return self._run(self.generator, latents, classes)

    def ddp_generate(self, latents: Tensor, classes: Tensor | None = None) -> Tensor:
        """Like `generate`, with gradients averaged over the ranks."""
        return self._run(self._ddp_generator, latents, classes)

    def discriminate(self, images: Tensor, classes: Tensor | None = None) -> Tensor:
        """Return logits or scores, float32 (N,), of images (N, C, S, S) in [-1, 1]."""
        return self._run(self.discriminator, images, classes)

    def ddp_discriminate(
        self, images: Tensor, classes: Tensor | None = None, *, twice: bool = False
    ) -> Tensor:
        """Like `discriminate`, with gradients averaged over the ranks.

        twice: the scores can be differentiated twice, as in `discriminate_for_penalty`.
        """
        if twice:
            return self._without_compilation(self._ddp_discriminator, images, classes)
        return self._run(self._ddp_discriminator, images, classes)

    def discriminate_for_penalty(self, images: Tensor, classes: Tensor | None = None) -> Tensor:
        """Like `discriminate`, for a gradient penalty: in float32 under fp16, whose range is too
        small.

        Under bf16 the relative error of the gradient is below 1%, far less than the noise of ε.
        """
        return self._without_compilation(self.discriminator, images, classes)

    def _without_compilation(
        self, network: Network, inputs: Tensor, classes: Tensor | None
    ) -> Tensor:
        # torch.compile does not support second derivatives.
        eager = torch.compiler.set_stance("force_eager") if self._compiled else nullcontext()
        with eager, fast_convolutions(twice=True):
            if self.accelerator.mixed_precision != "fp16":
                return self._autocast(network, inputs, classes)
            with torch.autocast(self.accelerator.device.type, enabled=False):
                return network(inputs) if classes is None else network(inputs, classes)

    def fake_classes(self, batch: Batch, stream: Stream) -> Tensor | None:
        """Return the classes of the images to generate beside a batch, int64 (N,), on the device.

        They are those of its real images, or drawn as conditioning.fake_classes says. None without
        conditioning.
        """
        if self._fake_classes == "batch":
            return batch.classes
        evenly = self._fake_classes == "uniform"
        classes = self.generator.conditioning.draw(batch.rng, stream, evenly=evenly)
        return None if classes is None else to_device(classes, self.accelerator.device)

    def augment(self, images: Tensor, rng: PositionalRNG, stream: Stream) -> Tensor:
        """Return what D sees instead of `images`: augmented as config.augment.diffaugment says."""
        policies = self._augment.diffaugment
        return diff_augment(images, rng, stream, policies, self.augment_probability)

    @property
    def augment_probability(self) -> float | Tensor:
        """Probability of an augmentation now; with ADA, a float64 scalar on the device."""
        setting = self._augment.diffaugment_probability
        return self.ada.probability if isinstance(setting, str) else self._now(setting)

    def latents(self, rng: PositionalRNG, stream: Stream) -> Tensor:
        """Return standard normal latents (rng.count, latent_size) on the device."""
        return to_device(rng.normal(stream, self.latent_size), self.accelerator.device)

    def micro_batches(self, batch: Batch, dropout: Stream, *networks: nn.Module) -> Iterator[Batch]:
        """Yield the grad_accum_steps micro-batches of a batch, each with its dropout seeded.

        networks: those that are differentiated; the ranks exchange their gradients only in the
        last micro-batch.
        """
        micro_batches = batch.split(self.grad_accum_steps)
        for micro in micro_batches:
            micro.rng.seed_torch(dropout, self.accelerator.device)
            with ExitStack() as stack:
                if micro is not micro_batches[-1]:
                    for network in networks:
                        stack.enter_context(self.without_exchange(network))
                yield micro

    def without_exchange(self, network: nn.Module) -> AbstractContextManager[None]:
        """Within it, passes of a network and their gradients are not averaged over the ranks."""
        is_generator = network is self.generator
        return self.exchange.paused(
            self._ddp_generator if is_generator else self._ddp_discriminator
        )

    def _run(self, network: Network, inputs: Tensor, classes: Tensor | None) -> Tensor:
        # torch.compile chooses kernels by itself.
        with nullcontext() if self._compiled else fast_convolutions():
            return self._autocast(network, inputs, classes)

    def _autocast(self, network: Network, inputs: Tensor, classes: Tensor | None) -> Tensor:
        with self.accelerator.autocast():
            result = network(inputs) if classes is None else network(inputs, classes)
            return result.float()

    def backward(self, loss: Tensor, network: nn.Module, *, keep_graph: bool = False) -> None:
        """Add the gradient of a micro-batch's loss to the weights of one network only.

        The loss is divided by grad_accum_steps, so that the sum over micro-batches is the mean.
        """
        weights = self._optimizer(network).param_groups[0]["params"]
        loss = loss / self.grad_accum_steps
        with torch.autocast(self.accelerator.device.type, enabled=False):
            self.accelerator.backward(loss, inputs=weights, retain_graph=keep_graph)

    def _optimizer(self, network: nn.Module) -> AcceleratedOptimizer:
        return self.g_optimizer if network is self.generator else self.d_optimizer

    def apply_gradients(self, network: nn.Module) -> Tensor:
        """Make one optimizer step of a network from its accumulated gradient.

        Return the gradient's norm before clipping, a float32 scalar. A non-finite gradient leaves
        the network unchanged.
        """
        optimizer = self._optimizer(network)
        parameters = optimizer.param_groups[0]["params"]
        gradients = [p.grad for p in parameters if p.grad is not None]
        self.exchange.average(gradients)
        self.accelerator.unscale_gradients(optimizer)
        norm = nn.utils.get_total_norm(gradients)
        if self.clip_norm is not None:
            nn.utils.clip_grads_with_norm_(parameters, self.clip_norm, norm)
        skipped = norm.isfinite().logical_not().float()
        self.nan_guard.note(int(network is self.generator), skipped)
        if self.accelerator.scaler is None:
            # Accelerate's wrapper, which only a GradScaler needs, looks for packages in every step.
            optimizer = optimizer.optimizer
            # Fused Adam skips its step if this is 1, without a sync; a GradScaler sets it itself.
            optimizer.found_inf = skipped
        optimizer.step()
        optimizer.zero_grad()
        return norm

    def weight_changes(self) -> dict[str, float]:
        """Return by what part of its norm the last step changed each network's weights.

        It follows from the optimizers' moments, so that steps cost nothing for it, and a run that
        resumes gets the same values. Waits for the device.
        """
        optimizers = {"d": self.d_optimizer, "g": self.g_optimizer}
        changes = {k: relative_change(o) for k, o in optimizers.items() if o.state}
        values = torch.stack(list(changes.values())).tolist() if changes else []
        named = zip(changes, values, strict=True)  # NaN if every step so far was skipped
        return {f"health/{k}_weight_change": v for k, v in named if math.isfinite(v)}

    def follow_schedules(self, images_seen: int) -> None:
        """From now on, train with what the config schedules for `images_seen`."""
        self._images_seen = images_seen
        self._set_optimizers()

    def scale_learning_rates(self, scale: float) -> None:
        """Multiply both learning rates of the config by `scale`, next to the factors below."""
        self._rate_scale = scale
        self._set_optimizers()

    def set_rate_factors(self, *, g: float, d: float) -> None:
        """Multiply the learning rates of G and D by these factors, next to the scale above."""
        self._rate_factors = (g, d)
        self._set_optimizers()

    def _set_optimizers(self) -> None:
        optimizers = (self.g_optimizer, self.d_optimizer)
        for optimizer, config, factor in zip(
            optimizers, self._networks, self._rate_factors, strict=True
        ):
            beta1, beta2 = config.betas
            for group in optimizer.param_groups:
                rate = self._now(config.learning_rate) * self._rate_scale * factor
                if isinstance(group["lr"], Tensor):
                    group["lr"].fill_(rate)
                else:
                    group["lr"] = rate
                group["betas"] = (beta1, self._now(beta2))

    def _now(self, setting: float | Schedule[Any]) -> float:
        return value_at(setting, self._images_seen, self._total_images)


def _compile(*networks: nn.Module) -> None:
    # A lazy import: it takes a second that most runs do not need.
    import torch._functorch.config as functorch

    functorch.donated_buffer = False  # a joint step backpropagates through D's pass twice
    for network in networks:
        network.compile()


def _convert_sync_batchnorm(network: Generator | Discriminator) -> None:
    layers = nn.SyncBatchNorm.convert_sync_batchnorm(network.layers)  # type: ignore[no-untyped-call]
    network.layers = layers


def _adam(network: nn.Module, config: NetworkConfig) -> torch.optim.Adam:
    return FusedAdam(network.parameters(), config.adam_epsilon)
