"""Latent arithmetic: sums of numbered samples and named directions, such as `3 + 2*part=3003`."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from gantrain.common.errors import UserError
from gantrain.inference.directions import Direction

# A class may be any text, such as `part=shoes/small boots`; it ends at a sign after a space.
_NAME = r"[A-Za-z]\w*=\S.*?(?=\s+[+-]|\s*$)|[A-Za-z][\w=.-]*|\d+"
_TERM = re.compile(rf"\s*([+-]?)\s*(?:(\d+(?:\.\d+)?)\s*\*\s*)?({_NAME})\s*")


def parse_expression(text: str) -> list[tuple[float, str]]:
    """Return the factor and name of each term of a sum.

    A name of digits is a sample, any other one a direction. Raises UserError if the text is not
    such a sum, or has no sample.
    """
    terms: list[tuple[float, str]] = []
    position = 0
    while position < len(text):
        match = _TERM.match(text, position)
        if match is None or (terms and not match[1]):
            raise UserError(
                f"{text!r}: cannot be parsed at {text[position:]!r}; expected a sum of samples and "
                "directions with spaces around the signs, as in '3 - 7 + 12' or "
                "'3 + 2*part=3003'."
            )
        terms.append(((-1.0 if match[1] == "-" else 1.0) * float(match[2] or 1), match[3]))
        position = match.end()
    if not any(name.isdigit() for _, name in terms):
        raise UserError(f"{text!r}: expected at least one sample, as in '3 + part=3001'.")
    return terms


def evaluate_expression(
    text: str, latents: Mapping[int, Tensor], directions: Mapping[str, Direction]
) -> Tensor:
    """Return the latent vector (latent_size,) of a sum; see `parse_expression`.

    latents: of each sample in the sum. directions: each one in the sum; its factor is in standard
    deviations. A sum of several samples is scaled to the length of the first, so that it stays
    where the generator was trained; directions are added after that.
    """
    terms = parse_expression(text)
    samples = [(factor, latents[int(name)]) for factor, name in terms if name.isdigit()]
    total = torch.zeros_like(samples[0][1])
    for factor, latent in samples:
        total = total + factor * latent
    if len(samples) > 1 and total.norm() > 0:
        total = total * (samples[0][1].norm() / total.norm())
    for factor, name in terms:
        if not name.isdigit():
            total = total + factor * directions[name].vector
    return total
