"""Predict the time of a training iteration on any number of ranks; see benchmarks/scaling.py.

An iteration is one D step (or n_critic of them) and one G step. It consists of computation, the
exchange of gradients, and loading the data; whatever overlaps is counted once.
"""

import math
from dataclasses import dataclass
from typing import Literal

from gantrain.training.distributed import BUCKET_MB

Bottleneck = Literal["computation", "gradients", "data"]


@dataclass(frozen=True)
class Device:
    """One rank's compute device and data pipeline.

    fixed_seconds: time of an iteration that does not depend on the batch.
    seconds_per_image: the remaining time, for each image of the batch.
    data_rate: images/s of the data pipeline.
    """

    fixed_seconds: float
    seconds_per_image: float
    data_rate: float

    def compute_seconds(self, batch: float) -> float:
        """Return the time to compute an iteration on `batch` images."""
        return self.fixed_seconds + self.seconds_per_image * batch


@dataclass(frozen=True)
class Interconnect:
    """The network between ranks.

    latency: seconds of one message.
    bandwidth: bytes/s of one rank to another node.
    ranks_per_node: ranks that share a node.
    intra_node_speedup: bandwidth within a node, relative to that between nodes.
    """

    latency: float
    bandwidth: float
    ranks_per_node: int = 1
    intra_node_speedup: float = 1.0

    def all_reduce_seconds(self, size: float, ranks: int) -> float:
        """Return the time to sum `size` bytes over the ranks: ring bandwidth, tree latency."""
        if ranks == 1:
            return 0.0
        speedup = self.intra_node_speedup if ranks <= self.ranks_per_node else 1.0
        transfer = 2 * (ranks - 1) / ranks * size / (self.bandwidth * speedup)
        return 2 * math.ceil(math.log2(ranks)) * self.latency + transfer


@dataclass(frozen=True)
class IterationCost:
    """Seconds of each component of an iteration, and in total."""

    computation: float
    gradients: float
    data: float
    total: float

    @property
    def bottleneck(self) -> Bottleneck:
        """The component that dominates the iteration."""
        exposed = self.total - max(self.computation, self.data)
        if self.data > self.computation + exposed:
            return "data"
        return "gradients" if exposed > self.computation else "computation"


def predict_iteration(
    device: Device,
    interconnect: Interconnect,
    ranks: int,
    batch: float,
    gradient_bytes: float,
    overlap: float,
) -> IterationCost:
    """Return the cost of an iteration with `batch` images on each rank.

    overlap: fraction of the computation that can overlap with the exchange of gradients. The last
    bucket never overlaps.
    """
    computation = device.compute_seconds(batch)
    buckets = max(1, round(gradient_bytes / (BUCKET_MB * 2**20)))
    bucket_seconds = interconnect.all_reduce_seconds(gradient_bytes / buckets, ranks)
    gradients = buckets * bucket_seconds
    exposed = max(bucket_seconds, gradients - overlap * computation) if ranks > 1 else 0.0
    data = batch / device.data_rate
    return IterationCost(computation, gradients, data, max(computation + exposed, data))
