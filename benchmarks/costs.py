"""What an iteration of a training costs on so many ranks: the model behind benchmarks/scaling.py.

An iteration is a D step (or n_critic of them) and a G step. Its parts are computing, the exchange
of gradients, and the images; what overlaps is not paid twice.
"""

import math
from dataclasses import dataclass
from typing import Literal

from gantrain.training.distributed import BUCKET_MB

Part = Literal["computing", "gradients", "images"]


@dataclass(frozen=True)
class Device:
    """What computes. seconds of one iteration on `images` images: fixed + each x images.

    images: images/s that one rank's data pipeline gives.
    """

    fixed: float
    each: float
    images: float

    def seconds(self, images: float) -> float:
        return self.fixed + self.each * images


@dataclass(frozen=True)
class Network:
    """What carries gradients. latency: seconds of one message. bandwidth: bytes/s of one rank.

    Within a node of `per_node` ranks the links are `inside` times as fast.
    """

    latency: float
    bandwidth: float
    per_node: int = 1
    inside: float = 1.0

    def all_reduce(self, size: float, ranks: int) -> float:
        """Seconds to sum `size` bytes over the ranks: bandwidth of a ring, latency of a tree."""
        if ranks == 1:
            return 0.0
        bandwidth = self.bandwidth * (self.inside if ranks <= self.per_node else 1.0)
        travel = 2 * (ranks - 1) / ranks * size / bandwidth
        return 2 * math.ceil(math.log2(ranks)) * self.latency + travel


@dataclass(frozen=True)
class Iteration:
    """Seconds of each part of an iteration, and of the whole."""

    computing: float
    gradients: float
    images: float
    total: float

    @property
    def binds(self) -> Part:
        """The part without which it would be shortest."""
        exposed = self.total - max(self.computing, self.images)
        if self.images > self.computing + exposed:
            return "images"
        return "gradients" if exposed > self.computing else "computing"


def iteration(
    device: Device, network: Network, ranks: int, batch: float, exchanged: float, overlap: float
) -> Iteration:
    """The forecast for a batch of `batch` images on each rank.

    exchanged: bytes of gradients. overlap: the share of computing beside which they can travel; the
    last bucket of them never can.
    """
    computing = device.seconds(batch)
    buckets = max(1, round(exchanged / (BUCKET_MB * 2**20)))
    one = network.all_reduce(exchanged / buckets, ranks)
    gradients = buckets * one
    exposed = max(one, gradients - overlap * computing) if ranks > 1 else 0.0
    images = batch / device.images
    return Iteration(computing, gradients, images, max(computing + exposed, images))
