"""Exhausted memory, described by the settings that decide how much a training needs."""

import re

from gantrain.common.errors import UserError
from gantrain.config import Config

# MemoryError is Python's and NumPy's. torch raises OutOfMemoryError, a RuntimeError, for its own
# allocator on a GPU, and plain RuntimeErrors for the CPU's and for those of cuBLAS and cuDNN.
_SIGNS = re.compile(
    r"out of memory|can't allocate memory|(CUBLAS|CUDNN)_STATUS_ALLOC_FAILED", re.IGNORECASE
)
_SENTENCE_END = re.compile(r"(?<=[.:]) |\n")
_MAX_STEPS = 64


def out_of_memory(
    error: BaseException, config: Config, ranks: int, device: str
) -> UserError | None:
    """Return the error that the user should read if memory is exhausted, else None.

    ranks: world size. device: type of the device, such as cuda.
    """
    if not isinstance(error, MemoryError) and not (
        isinstance(error, RuntimeError) and _SIGNS.search(str(error))
    ):
        return None
    training = config.training
    at_once = max(1, training.batch_size // (ranks * training.grad_accum_steps))
    *others, last = _remedies(config, ranks, device)
    advice = f"{', '.join(others)}, or {last}"
    return UserError(
        f"training.batch_size: {training.batch_size}, which is {at_once} images at a time on each "
        f"of {ranks} rank(s), is too much: the memory of the {_owner(device)} is exhausted "
        f"({_reason(error)}). {advice[0].upper()}{advice[1:]}; then start again."
    )


def _owner(device: str) -> str:
    return "machine" if device == "cpu" else "GPU"


def _remedies(config: Config, ranks: int, device: str) -> list[str]:
    training = config.training
    remedies = []
    if more := _more_steps(training.batch_size // ranks, training.grad_accum_steps):
        smaller = training.batch_size // (ranks * more)
        remedies.append(f"set training.grad_accum_steps={more} for micro-batches of {smaller}")
    if training.mixed_precision == "no":
        remedies.append("set training.mixed_precision=bf16")
    if device != "cpu" and config.data.mode != "stream":
        share = config.data.device_share
        remedies.append(
            f"lower data.device_share, {share:g} now, so that the training images stay on the host"
        )
    remedies.append("lower training.batch_size")
    remedies.append("lower the width of generator and discriminator")
    return remedies


def _more_steps(local_batch: int, steps: int) -> int | None:
    """Return the next number of micro-batches into which the batch of a rank can be split."""
    larger = range(steps + 1, min(local_batch // 2, _MAX_STEPS) + 1)
    return next((n for n in larger if local_batch % n == 0), None)


def _reason(error: BaseException) -> str:
    """Return the sentences of an error that say how much was asked for, in one line."""
    sentences = [s for s in _SENTENCE_END.split(str(error).strip()) if s]
    return " ".join(sentences[:4]).rstrip(".:") or type(error).__name__
