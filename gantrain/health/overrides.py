"""What can be turned while a run trains, on top of its config."""

from dataclasses import dataclass, fields
from typing import Self

from torch import Tensor, nn

from gantrain.models.dropout import dropout


@dataclass
class Overrides:
    """Live settings that the networks, optimizers and labels share; those here change nothing.

    d_rate, g_rate: factors on the learning rates of D and G.
    dropout: share of D's activations set to 0 after each activation, beside the config's.
    label_noise: how much further D's targets move towards the middle.
    label_flips: further share of D's targets that are turned round.
    """

    d_rate: float = 1.0
    g_rate: float = 1.0
    dropout: float = 0.0
    label_noise: float = 0.0
    label_flips: float = 0.0

    def take(self, other: Self) -> None:
        """Become equal to `other`; whoever holds this object sees it."""
        for field in fields(self):
            setattr(self, field.name, getattr(other, field.name))


def add_dropout(network: nn.Module, overrides: Overrides) -> None:
    """Drop activations of a network in training mode as `overrides.dropout` says at that moment.

    The network's layers and the names of its weights stay as they are.
    """

    def drop(layer: nn.Module, _: object, output: Tensor) -> Tensor:
        # Without this branch there would be a draw, and a copy, for nothing.
        return (
            dropout(output, overrides.dropout) if overrides.dropout and layer.training else output
        )

    for layer in network.modules():
        if isinstance(layer, nn.LeakyReLU):
            layer.register_forward_hook(drop)
