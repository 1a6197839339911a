"""A loss scale on a CPU, which Accelerate has under fp16 only, and fp16 only on GPUs."""

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer


def with_scaler(scaler: torch.amp.GradScaler) -> Accelerator:
    """Return an Accelerator that does with the scaler what one does under fp16."""
    accelerator = Accelerator(cpu=True)
    accelerator.scaler = scaler

    def unscale(optimizer: AcceleratedOptimizer) -> None:
        scaler.unscale_(optimizer.optimizer)

    accelerator.unscale_gradients = unscale
    return accelerator
