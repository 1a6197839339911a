"""Networks that a step of the other network uses and must not change."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.utils.parametrizations import _SpectralNorm


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Within it, neither the weights nor the buffers of a network change, even in training mode.

    Gradients flow to the network's input, but not to its weights.
    """
    weights = list(network.parameters())
    with _statistics_kept(network):
        for weight in weights:
            weight.requires_grad_(False)
        try:
            yield
        finally:
            for weight in weights:
                weight.requires_grad_(True)


@contextmanager
def _statistics_kept(network: nn.Module) -> Iterator[None]:
    modules = list(network.modules())
    norms = [m for m in modules if isinstance(m, _NormBase) and m.track_running_stats]
    # In evaluation mode spectral norm makes no power iteration.
    spectral = [m for m in modules if isinstance(m, _SpectralNorm) and m.training]
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
