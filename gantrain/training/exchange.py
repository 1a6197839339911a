"""Gradients averaged over the ranks: during the backward pass, or at once after it.

On CPUs torch's DistributedDataParallel exchanges some gradients while others are computed. On GPUs
the steps of a rank are CUDA graphs, which cannot contain that; there, the gradients of a network
are one message between two graphs.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import cast

import torch
from accelerate import Accelerator
from torch import Tensor, distributed, nn

from gantrain.config import Config
from gantrain.training.distributed import uses_graphs


class Exchange:
    """Averages the gradients of networks over the ranks; with one rank, nothing happens.

    outside_graph: does what a CUDA graph cannot contain: at once, or, while a step is captured, in
        each of its replays.
    """

    def __init__(self, config: Config, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self._at_once = accelerator.num_processes > 1 and uses_graphs(config, accelerator)
        self.outside_graph: Callable[[Callable[[], object]], None] = _do

    def wrap(self, network: nn.Module) -> nn.Module:
        """Return what is called in place of a network where its gradients are to be averaged.

        All ranks have the weights and buffers of the first one then.
        """
        if self._at_once:
            _take_from_first_rank(network)
            return network
        wrapped = self._accelerator.prepare_model(network)
        # Accelerate replaces the bare module's forward by one that always autocasts. The penalty
        # needs it without, so autocast is applied where the networks are called.
        self._accelerator.unwrap_model(wrapped, keep_fp32_wrapper=False)
        return cast(nn.Module, wrapped)

    def paused(self, wrapped: nn.Module) -> AbstractContextManager[None]:
        """Within it, passes of a network and their gradients are not averaged."""
        if self._at_once:
            return nullcontext()
        return cast(AbstractContextManager[None], self._accelerator.no_sync(wrapped))

    def average(self, gradients: list[Tensor]) -> None:
        """Average gradients in place, unless the backward pass has."""
        if not self._at_once:
            return
        message = torch.cat([gradient.flatten() for gradient in gradients])
        self.outside_graph(lambda: distributed.all_reduce(message))
        message /= self._accelerator.num_processes
        parts = torch.split(message, [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))


@torch.no_grad()
def _take_from_first_rank(network: nn.Module) -> None:
    for tensor in (*network.parameters(), *network.buffers()):
        values = tensor.contiguous()  # as NCCL wants it, also of weights whose channels are last
        distributed.broadcast(values, 0)
        tensor.copy_(values)


def _do(work: Callable[[], object]) -> None:
    work()
