"""Which parts a generator makes, as a classifier of the set's own parts sees them."""

from dataclasses import dataclass

import torch
from torch import Tensor

_MADE = 0.1  # of its share in the data, from which on a part counts as made


@dataclass(frozen=True)
class PartCoverage:
    """made: parts that occur at least a tenth as often as in the data. total: parts of the data.
    divergence: KL(generated shares ‖ the data's), in nats; 0 is perfect, log(total) one part alone.
    """

    made: int
    total: int
    divergence: float


def part_coverage(logits: Tensor, shares: Tensor) -> PartCoverage:
    """From a classifier's logits (N, P) of generated images and the data's shares (P,).

    Parts whose share is 0 are left out: the generator was not shown them. An image counts for
    its likeliest part, which a blur has too; read the coverage beside the precision. As the
    number of modes and KL of Srivastava et al. 2017 and Lin et al. 2018, with parts for digits.
    """
    shown = shares > 0
    data = shares[shown].double() / shares[shown].double().sum()
    parts = logits[:, shown].argmax(1)
    counts = torch.bincount(parts, minlength=len(data)).double()
    wanted = torch.clamp_min(_MADE * data * len(logits), 1.0)
    made = counts / len(logits)
    return PartCoverage(
        made=int((counts >= wanted).sum()),
        total=len(data),
        divergence=max(float(torch.xlogy(made, made / data).sum()), 0.0),
    )
