"""What can be turned while a run trains, on top of its config."""

from dataclasses import dataclass


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
