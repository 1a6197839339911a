"""Metrics add up on the device and are read once a log interval, so that steps need no sync."""

from collections.abc import Sequence
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from gantrain.objectives import Metrics


def mean_metrics(parts: Sequence[Metrics]) -> Metrics:
    """The mean of each metric over the parts of one step."""
    if len(parts) == 1:
        return parts[0]
    return {name: torch.stack([part[name] for part in parts]).mean() for name in parts[0]}


class Meter:
    """Means of named scalars since the last reading, over all ranks."""

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, metrics: Metrics) -> None:
        """Add the scalars of one step; nothing is copied to the host."""
        for name, value in metrics.items():
            value = value.detach().double()
            self._sums[name] = self._sums[name] + value if name in self._sums else value
            self._counts[name] = self._counts.get(name, 0) + 1

    def read(self) -> dict[str, float]:
        """The means, rounded to float32, and start anew. All ranks must call it together."""
        if not self._sums:
            return {}
        means = torch.stack([total / self._counts[name] for name, total in self._sums.items()])
        means = self._accelerator.reduce(means, "mean").float()
        names = list(self._sums)
        self._sums, self._counts = {}, {}
        return dict(zip(names, means.tolist(), strict=True))

    def state(self) -> dict[str, Any]:
        """What is added up so far on every rank, as plain values. All ranks must call it."""
        if not self._sums:
            return {"names": [], "counts": [], "sums": []}
        sums = torch.stack(list(self._sums.values()))
        of_ranks = self._accelerator.gather(sums[None]).tolist()
        return {"names": list(self._sums), "counts": list(self._counts.values()), "sums": of_ranks}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`, on this number of ranks or another one."""
        names, counts, sums = state["names"], state["counts"], state["sums"]
        if not names:
            return
        of_ranks = torch.tensor(sums, dtype=torch.float64, device=self._accelerator.device)
        same_ranks = len(of_ranks) == self._accelerator.num_processes
        mine = of_ranks[self._accelerator.process_index] if same_ranks else of_ranks.mean(0)
        self._sums = dict(zip(names, mine.unbind(), strict=True))
        self._counts = dict(zip(names, counts, strict=True))
