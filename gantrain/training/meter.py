"""Metrics add up on the device and are read once a log interval, so that steps need no sync."""

from collections.abc import Sequence
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from gantrain.training.objectives import Metrics


def mean_metrics(parts: Sequence[Metrics]) -> Metrics:
    """The mean of each metric over the parts of one step."""
    if len(parts) == 1:
        return parts[0]
    return {name: torch.stack([part[name] for part in parts]).mean() for name in parts[0]}


class Meter:
    """Means of named scalars since the last reading, over all ranks, of what is finite.

    Metrics that are added together are kept as one vector of sums and one of counts.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self._sums: dict[tuple[str, ...], Tensor] = {}
        self._counts: dict[tuple[str, ...], Tensor] = {}

    def add(self, metrics: Metrics) -> None:
        """Add the scalars of one step; nothing is copied to the host."""
        names = tuple(metrics)
        values = torch.stack([value.detach() for value in metrics.values()]).double()
        finite = values.isfinite()
        values = values.masked_fill_(~finite, 0.0)
        if names in self._sums:
            self._sums[names] += values
            self._counts[names] += finite
        else:
            self._sums[names], self._counts[names] = values, finite.double()

    def read(self) -> dict[str, float]:
        """The means, rounded to float32, and start anew. All ranks must call it together.

        The mean of a metric that was never finite is NaN.
        """
        if not self._sums:
            return {}
        # A metric that not every step has is in several groups.
        names = [name for group in self._sums for name in group]
        distinct = list(dict.fromkeys(names))
        places = torch.tensor([distinct.index(name) for name in names])
        of_groups = torch.stack(
            [torch.cat([*self._sums.values()]), torch.cat([*self._counts.values()])]
        )
        of_names = of_groups.new_zeros(2, len(distinct))
        of_names.index_add_(1, places.to(of_groups.device), of_groups)
        total = self._accelerator.reduce(of_names, "sum")
        self._sums, self._counts = {}, {}
        return dict(zip(distinct, (total[0] / total[1]).float().tolist(), strict=True))

    def state(self) -> list[dict[str, Any]]:
        """What is added up so far on every rank, as plain values. All ranks must call it."""
        return [
            {
                "names": list(names),
                "sums": self._accelerator.gather(self._sums[names][None]).tolist(),
                "counts": self._accelerator.gather(self._counts[names][None]).tolist(),
            }
            for names in self._sums
        ]

    def restore(self, state: list[dict[str, Any]]) -> None:
        """Go on from `state`, on this number of ranks or another one."""
        self._sums, self._counts = {}, {}
        for group in state:
            names = tuple(group["names"])
            self._sums[names] = self._mine(group["sums"])
            self._counts[names] = self._mine(group["counts"])

    def _mine(self, of_ranks: list[list[float]]) -> Tensor:
        rows = torch.tensor(of_ranks, dtype=torch.float64, device=self._accelerator.device)
        if len(rows) == self._accelerator.num_processes:
            return rows[self._accelerator.process_index].clone()
        return rows.mean(0)  # each step counts once on each rank, whatever their number
