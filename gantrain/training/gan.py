"""The two players and their optimizers, wrapped for ranks and mixed precision by Accelerate."""

import copy
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import cast

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.utils.parametrizations import _SpectralNorm

from gantrain.common.rng import PositionalRNG, Stream
from gantrain.config import Config, NetworkConfig
from gantrain.health.overrides import Overrides, add_dropout
from gantrain.models.augment import diff_augment
from gantrain.models.ema import Ema
from gantrain.models.networks import Discriminator, Generator, build_networks
from gantrain.training.nan_guard import Guard


class Gan:
    """Generator, discriminator, their Adam optimizers and the generator's EMA.

    `generator` and `discriminator` are the bare modules; `generate` and `discriminate` run them in
    the configured precision, and the `synced_` forms take part in the gradients' all-reduce.
    overrides: what remedies have turned; change it by `turn` alone.
    """

    def __init__(self, config: Config, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        self.latent_size = config.generator.latent_size
        self.overrides = Overrides()
        self._rate_scale = 1.0
        self._learning_rates = (
            config.generator.learning_rate,
            config.discriminator.learning_rate,
        )
        self._diffaugment = config.augment.diffaugment
        self.clip_norm = config.training.clip_norm
        layout = torch.channels_last if config.training.channels_last else torch.contiguous_format
        self.layout = layout
        generator, discriminator = build_networks(config)
        for network in (generator, discriminator):
            if config.training.sync_batch_norm:
                _convert_sync_batchnorm(network)
            # torch's stubs know no memory_format here.
            network.to(accelerator.device, memory_format=layout)  # type: ignore[call-overload]
        self.generator: Generator = generator
        self.discriminator: Discriminator = discriminator
        if config.health.remedy == "auto":
            add_dropout(self.discriminator, self.overrides)
        self.ema = Ema(copy.deepcopy(self.generator), config.ema)
        self.g_optimizer = accelerator.prepare_optimizer(_adam(self.generator, config.generator))
        self.d_optimizer = accelerator.prepare_optimizer(
            _adam(self.discriminator, config.discriminator)
        )
        self.guard = Guard(accelerator.device)
        self._ddp_generator = self._wrap(self.generator)
        self._ddp_discriminator = self._wrap(self.discriminator)
        if config.training.compile != "off":
            _compile(self.generator, self.discriminator, graphs=config.training.compile == "graphs")

    def _wrap(self, network: nn.Module) -> nn.Module:
        wrapped = self.accelerator.prepare_model(network)
        # Accelerate replaces the bare module's forward by one that always autocasts; the penalty
        # needs it without, so the autocast is put where the calls are.
        self.accelerator.unwrap_model(wrapped, keep_fp32_wrapper=False)
        return cast(nn.Module, wrapped)

    def generate(self, latents: Tensor) -> Tensor:
        """Images float32 (N, C, S, S) in [-1, 1] from latents (N, latent_size)."""
        return self._autocast(self.generator, latents)

    def ddp_generate(self, latents: Tensor) -> Tensor:
        """`generate`, with gradients that are averaged over the ranks."""
        return self._autocast(self._ddp_generator, latents)

    def discriminate(self, images: Tensor) -> Tensor:
        """Logits or scores, float32 (N,), of images (N, C, S, S) in [-1, 1]."""
        return self._autocast(self.discriminator, images)

    def ddp_discriminate(self, images: Tensor) -> Tensor:
        """`discriminate`, with gradients that are averaged over the ranks."""
        return self._autocast(self._ddp_discriminator, images)

    def discriminate_for_penalty(self, images: Tensor) -> Tensor:
        """`discriminate` for the gradient penalty: in float32 under fp16, whose range is too small.

        In bf16 its gradient is off by less than a hundredth, far less than by other ε.
        """
        # `forward` is never compiled, for torch.compile knows no second derivatives.
        if self.accelerator.mixed_precision != "fp16":
            return self._autocast(self.discriminator.forward, images)
        with torch.autocast(self.accelerator.device.type, enabled=False):
            return self.discriminator.forward(images)

    def augment(self, images: Tensor, rng: PositionalRNG, stream: Stream) -> Tensor:
        """What the discriminator is shown in place of `images`, as `augment.diffaugment` says."""
        return diff_augment(images, rng, stream, self._diffaugment)

    def _autocast(self, network: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
        with self.accelerator.autocast():
            return network(inputs).float()

    def backward(self, loss: Tensor, network: nn.Module, *, keep_graph: bool = False) -> None:
        """Add the gradient of a scalar to the weights of one network, and to no other's."""
        weights = list(network.parameters())
        self.accelerator.backward(loss, inputs=weights, retain_graph=keep_graph)

    def apply_gradients(self, network: nn.Module) -> Tensor:
        """One optimizer step of the network that was differentiated; its gradient's norm before
        clipping, a float32 scalar. A gradient that is not finite leaves the network as it is.
        """
        is_generator = network is self.generator
        optimizer = self.g_optimizer if is_generator else self.d_optimizer
        self.accelerator.unscale_gradients(optimizer)
        parameters = list(network.parameters())
        gradients = [p.grad for p in parameters if p.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        if self.clip_norm is not None:
            nn.utils.clip_grads_with_norm_(parameters, self.clip_norm, norm)
        skipped = norm.isfinite().logical_not().float()
        self.guard.note(int(is_generator), skipped)
        if self.accelerator.scaler is None:
            # Fused Adam does nothing where this is 1, without telling the host; a GradScaler sets
            # it by itself.
            optimizer.optimizer.found_inf = skipped
        optimizer.step()
        optimizer.zero_grad()
        return norm

    def scale_learning_rates(self, scale: float) -> None:
        """Set both learning rates to this share of the config's, beside what `turn` does."""
        self._rate_scale = scale
        self._set_learning_rates()

    def turn(self, overrides: Overrides) -> None:
        """From the next step on, train as these overrides say."""
        self.overrides.take(overrides)
        self._set_learning_rates()

    def _set_learning_rates(self) -> None:
        turned = (self.overrides.g_rate, self.overrides.d_rate)
        optimizers = (self.g_optimizer, self.d_optimizer)
        for optimizer, rate, factor in zip(optimizers, self._learning_rates, turned, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * self._rate_scale * factor

    @contextmanager
    def accumulating(self, *networks: nn.Module, last: bool) -> Iterator[None]:
        """The ranks exchange the networks' gradients only in the last part of a step."""
        with ExitStack() as stack:
            for network in networks if not last else ():
                is_generator = network is self.generator
                wrapped = self._ddp_generator if is_generator else self._ddp_discriminator
                stack.enter_context(self.accelerator.no_sync(wrapped))
            yield


def _compile(*networks: nn.Module, graphs: bool) -> None:
    # Loaded here, as it takes a second that most runs have no use for.
    import torch._functorch.config as functorch

    functorch.donated_buffer = False  # a joint step goes back through D's pass twice
    for network in networks:
        network.compile(mode="reduce-overhead" if graphs else "default")


def _convert_sync_batchnorm(network: Generator | Discriminator) -> None:
    layers = nn.SyncBatchNorm.convert_sync_batchnorm(network.layers)  # type: ignore[no-untyped-call]
    network.layers = layers


def _adam(network: nn.Module, config: NetworkConfig) -> torch.optim.Adam:
    return torch.optim.Adam(
        network.parameters(), config.learning_rate, config.betas, config.adam_epsilon, fused=True
    )


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Within it, neither weights nor buffers of a network change, in training mode too.

    Gradients pass through to the network's input, but none reach its weights.
    """
    with _statistics_kept(network):
        network.requires_grad_(False)
        try:
            yield
        finally:
            network.requires_grad_(True)


@contextmanager
def _statistics_kept(network: nn.Module) -> Iterator[None]:
    norms = [m for m in network.modules() if isinstance(m, _NormBase) and m.track_running_stats]
    # In evaluation mode spectral norm uses its vectors as they are and makes no power iteration.
    spectral = [m for m in network.modules() if isinstance(m, _SpectralNorm) and m.training]
    for norm in norms:
        norm.track_running_stats = False
    for module in spectral:
        module.eval()
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
        for module in spectral:
            module.train()
