"""Metrics accumulate on the device and are read once a log interval, so that steps need no sync."""

from collections.abc import Sequence
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from gantrain.training.penalties import Metrics


def mean_metrics(micro_batches: Sequence[Metrics]) -> Metrics:
    """Return the mean of each metric over the micro-batches of one step."""
    if len(micro_batches) == 1:
        return micro_batches[0]
    return {
        name: torch.stack([metrics[name] for metrics in micro_batches]).mean()
        for name in micro_batches[0]
    }


class Meter:
    """Means of named scalars since the last reading, over all ranks and all finite values.

    Metrics that are added together share one vector of sums and one of counts.
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
        """Return the means, rounded to float32, and start again. A collective call.

        The mean of a metric that was never finite is NaN.
        """
        if not self._sums:
            return {}
        # A metric that some steps lack is in several groups.
        names = [name for group in self._sums for name in group]
        distinct = list(dict.fromkeys(names))
        columns = torch.tensor([distinct.index(name) for name in names])
        by_group = torch.stack(
            [torch.cat([*self._sums.values()]), torch.cat([*self._counts.values()])]
        )
        by_name = by_group.new_zeros(2, len(distinct))
        by_name.index_add_(1, columns.to(by_group.device), by_group)
        total = self._accelerator.reduce(by_name, "sum")
        self._sums, self._counts = {}, {}
        return dict(zip(distinct, (total[0] / total[1]).float().tolist(), strict=True))

    def state(self) -> list[dict[str, Any]]:
        """Return the sums and counts of every rank as plain values. A collective call."""
        return [
            {
                "names": list(names),
                "sums": self._accelerator.gather(self._sums[names][None]).tolist(),
                "counts": self._accelerator.gather(self._counts[names][None]).tolist(),
            }
            for names in self._sums
        ]

    def restore(self, state: list[dict[str, Any]]) -> None:
        """Continue from `state`, which may be of another number of ranks."""
        self._sums, self._counts = {}, {}
        for group in state:
            names = tuple(group["names"])
            self._sums[names] = self._own_row(group["sums"])
            self._counts[names] = self._own_row(group["counts"])

    def _own_row(self, per_rank: list[list[float]]) -> Tensor:
        rows = torch.tensor(per_rank, dtype=torch.float64, device=self._accelerator.device)
        if len(rows) == self._accelerator.num_processes:
            return rows[self._accelerator.process_index].clone()
        return rows.mean(0)  # every step counts once on each rank, whatever their number
