"""The precision that a run trains in: bf16 is faster only where the hardware computes in it.

Processors without such instructions emulate it, many times slower than float32; so do GPUs before
Ampere.
"""

import logging
import math
import time
from pathlib import Path
from typing import Literal

import torch
from accelerate.utils import gather_object
from torch.nn.functional import conv2d

from gantrain.runs.origin import precision_name
from gantrain.runs.paths import list_checkpoints
from gantrain.runs.provenance import read_attempts
from gantrain.training.fastest_threads import time_each

logger = logging.getLogger(__name__)

Precision = Literal["no", "bf16", "fp16"]
Setting = Literal["auto", "no", "bf16", "fp16"]

_CLEARLY = 1.25  # a run that resumes changes its precision only for such a gain
_BUDGET = 0.1  # seconds of the measurement after which it ends if it can


def choose_precision(setting: Setting, device: torch.device, run_dir: Path) -> Precision:
    """Return the precision to train in, the same on all ranks. A collective call.

    With `auto` that is bf16 if it is faster than float32 on every rank. A run that resumes keeps
    its precision unless this hardware is clearly faster in the other one. Where bf16 is asked for
    and clearly slower, a warning says so.
    """
    if setting in ("no", "fp16"):
        return setting
    speed = bf16_speed(device)
    if setting == "bf16":
        if speed * _CLEARLY < 1:
            logger.warning(
                f"training.mixed_precision: {_describe(speed, device)}; 'auto' would train in "
                "float32 here."
            )
        return "bf16"
    ranks = gather_object([(speed, _precision_before(run_dir))])
    slowest, before = min(speed for speed, _ in ranks), ranks[0][1]
    needed = {"bf16": 1 / _CLEARLY, "no": _CLEARLY}.get(before, 1.0)
    chosen: Precision = "bf16" if slowest > needed else "no"
    if chosen == "no" and slowest < 1:
        logger.info(f"precision: float32, since {_describe(slowest, device)}")
    if before not in ("", chosen):
        logger.warning(
            f"training.mixed_precision: auto; trained in {precision_name(before)} until now, the "
            f"run resumes in {precision_name(chosen)}, which is faster on this hardware."
        )
    return chosen


def bf16_speed(device: torch.device) -> float:
    """Return the speed of bf16 as a multiple of float32's.

    On a CPU it is measured, on one thread so that busy cores do not matter: a convolution and its
    gradients, as in a discriminator. On a GPU it is infinite, or 0 if bf16 is emulated.
    """
    if device.type == "cuda":
        return math.inf if torch.cuda.is_bf16_supported(including_emulation=False) else 0.0
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        # One slow call says little: none is left out for it.
        seconds = time_each((torch.float32, torch.bfloat16), _seconds, _BUDGET, hopeless=math.inf)
    finally:
        torch.set_num_threads(threads)
    return seconds[torch.float32] / seconds[torch.bfloat16]


def _seconds(kind: torch.dtype) -> float:
    images, weight = (
        torch.zeros(size, dtype=kind).contiguous(memory_format=torch.channels_last).requires_grad_()
        for size in ((8, 64, 16, 16), (128, 64, 4, 4))
    )
    start = time.perf_counter()
    with torch.enable_grad():
        maps = conv2d(images, weight, stride=2, padding=1)
    torch.autograd.grad(maps, (images, weight), maps)
    return time.perf_counter() - start


def _precision_before(run_dir: Path) -> str:
    """Return the precision of the run's newest start; "" if it has no checkpoint to resume from."""
    attempts = read_attempts(run_dir) if list_checkpoints(run_dir) else []
    return str(attempts[-1].get("precision", "")) if attempts else ""


def _describe(speed: float, device: torch.device) -> str:
    if device.type == "cuda":
        return "this GPU has no bf16 and emulates it (fp16 may be faster than float32 on it)"
    return f"bf16 takes {1 / speed:.1f} times as long as float32 on this processor"
