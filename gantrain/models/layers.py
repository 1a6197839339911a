"""Layers that the backbones have in common: normalisation, activations, spectral normalisation."""

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import _SpectralNorm

from gantrain.config import NetworkConfig
from gantrain.config.values import Norm
from gantrain.models.conditioning import ConditionalNorm
from gantrain.models.layer_norm import LayerNorm

_INIT_STD = 0.02


def norm_and_activation(
    config: NetworkConfig,
    norm: Norm,
    width: int,
    slope: float,
    *,
    classes: int = 0,
    in_place: bool = True,
) -> list[nn.Module]:
    """Return a normalisation, unless `norm` is none, and LeakyReLU, for maps of `width` channels.

    classes: number of classes that the normalisation has a gain and a bias for; 0: it has one pair.
    in_place: whether the activation may overwrite its input if there is no normalisation.
    """
    if norm == "none":
        return [nn.LeakyReLU(slope, inplace=in_place)]
    layer = make_norm(config, norm, width, affine=not classes)
    if classes:
        layer = ConditionalNorm(layer, width, classes)
    return [layer, nn.LeakyReLU(slope, inplace=True)]


def make_norm(config: NetworkConfig, norm: Norm, width: int, *, affine: bool = True) -> nn.Module:
    """Return the normalisation of maps (N, width, H, W) of this name, which is not none.

    affine: with a gain and a bias per channel.
    """
    if norm == "batch":
        momentum = config.norm_momentum
        return nn.BatchNorm2d(width, config.norm_epsilon, momentum, affine)
    if norm == "instance":
        return nn.InstanceNorm2d(width, eps=config.norm_epsilon, affine=affine)
    # With one group this is layer normalisation over channels and pixels, with a gain per channel.
    return LayerNorm(width, config.norm_epsilon, affine=affine)


def initialise_normal(weight: Tensor) -> None:
    """Draw a weight from N(0, 0.02), as Radford et al. 2016."""
    nn.init.normal_(weight, 0.0, _INIT_STD)


def normalise_spectrally(network: nn.Module) -> None:
    """Divide the weight of every convolution and dense layer by its largest singular value.

    Miyato et al. 2018: the weight is the matrix (outputs, inputs x kernel height x kernel width),
    and each pass in training mode makes one power iteration, through which no gradient flows.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            parametrize.register_parametrization(
                layer, "weight", _SpectralNormInFloat(layer.weight)
            )


class _SpectralNormInFloat(_SpectralNorm):
    """torch's, outside of autocast, under which it fails on GPUs (pytorch issue 125544)."""

    def forward(self, weight: Tensor) -> Tensor:
        with torch.autocast(weight.device.type, enabled=False):
            return super().forward(weight)
