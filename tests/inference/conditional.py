"""Generators with conditioning whose images differ by class although they are untrained."""

from typing import Literal

import torch

from gantrain.config import DcganGeneratorConfig
from gantrain.models.conditioning import Conditioning
from gantrain.models.networks import Generator

COUNTS = {"part0": 40, "part1": 40, "with, comma": 10, "part3": 40}


def conditional_generator(
    kind: Literal["concat", "projection"] = "concat", counts: dict[str, int] = COUNTS
) -> Generator:
    """A generator of grey images of 32x32, latent size 8."""
    torch.manual_seed(0)
    norm: Literal["none", "batch"] = "none" if kind == "concat" else "batch"
    config = DcganGeneratorConfig(width=4, latent_size=8, norm=norm)
    generator = Generator(config, 32, 1, Conditioning(kind, counts))
    for name, parameter in generator.named_parameters():
        if name.endswith((".gain", ".bias")):
            torch.nn.init.normal_(parameter)  # which are the same for all classes at the start
        else:
            parameter.data.mul_(8)
    if kind == "concat":
        next(generator.parameters()).data[generator.latent_size :] *= 4
    return generator.eval().requires_grad_(False)
