"""Settings that a remedy changes during training, on top of the config."""

from dataclasses import dataclass


@dataclass
class Overrides:
    """Changes to the settings of a config; the defaults change nothing.

    d_rate, g_rate: factors on the learning rates of D and G.
    dropout: probability of dropout after each activation of D, in addition to the config's.
    label_noise: how far uniform noise moves D's targets towards each other, in addition to the
        config's.
    label_flips: probability that a target of D is flipped, in addition to the config's.
    """

    d_rate: float = 1.0
    g_rate: float = 1.0
    dropout: float = 0.0
    label_noise: float = 0.0
    label_flips: float = 0.0
