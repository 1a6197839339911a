"""D and G steps to time, of networks that are thrown away: nothing of the training takes part."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from gantrain.common.rng import PositionalRNG
from gantrain.config import Config
from gantrain.training.batch import Batch
from gantrain.training.distributed import new_accelerator
from gantrain.training.gan import Gan, Networks
from gantrain.training.joint import joint_step
from gantrain.training.loop import d_step, g_step
from gantrain.training.objectives import make_objective

_IMAGES_PER_THREAD = 16  # at most; enough to keep a core busy, few enough for a short trial


class Trial:
    """Times steps like those of the training, on gradients of the same size and as many ranks.

    The networks are built anew, the images are made up, and torch's random numbers are put back,
    so that a run is the same with and without a trial. Collective calls.
    """

    def __init__(
        self,
        config: Config,
        accelerator: Accelerator,
        networks: Networks | None,
        class_counts: Mapping[str, int],
    ) -> None:
        self._config, self._accelerator = config, accelerator
        self._networks, self._class_counts = networks, class_counts

    @property
    def on_cpu(self) -> bool:
        """Whether this run is trained on CPUs."""
        return bool(self._accelerator.device.type == "cpu")

    def timer(self, limit: int, clock: Callable[[], float]) -> tuple[Callable[[int], float], int]:
        """Return a function that makes a step with a number of threads and returns its seconds.

        The seconds are those of the slowest rank. limit: the largest number that is tried. Also
        returns the number of images in a step, on each rank.
        """
        training = self._config.training
        whole = training.batch_size // (self._accelerator.num_processes * training.grad_accum_steps)
        images = min(whole, _IMAGES_PER_THREAD * limit)
        step = self._make_step(images)

        def seconds_of(threads: int) -> float:
            torch.set_num_threads(threads)
            start = clock()
            with torch.random.fork_rng(devices=[]):
                step()
            return self.largest(clock() - start)

        return seconds_of, images

    def largest(self, value: float) -> float:
        """Return the largest of the values of all ranks."""
        own = torch.tensor([value], dtype=torch.float64)
        return float(self._accelerator.gather(own).max())

    def _make_step(self, count: int) -> Callable[[], Any]:
        config, training = self._config, self._config.training
        ranks = self._accelerator.num_processes
        changes = {"batch_size": count * ranks, "grad_accum_steps": 1, "compile": "off"}
        small = config.model_copy(update={"training": training.model_copy(update=changes)})
        networks = copy.deepcopy(self._networks)
        own = new_accelerator(self._accelerator.mixed_precision, cpu=True)
        gan = Gan(small, own, networks, self._class_counts)
        objective = make_objective(small)
        images = made_up(count, config, gan.layout)
        rng = PositionalRNG(config.seed, own.process_index * count, count)
        classes = None
        if config.conditioning.active:
            classes = torch.arange(count) % len(self._class_counts)
        batch = Batch(images, rng, classes=classes)
        if training.updates == "joint":
            return lambda: joint_step(gan, objective, batch)
        return lambda: (d_step(gan, objective, batch), g_step(gan, objective, batch))


def made_up(count: int, config: Config, layout: torch.memory_format) -> Tensor:
    """Return images of smooth gradients, float32 (count, C, S, S) in [-1, 1]."""
    data = config.data
    shape = (count, data.channels, data.size, data.size)
    values = torch.linspace(-1, 1, count * data.channels * data.size**2)
    return values.view(shape).contiguous(memory_format=layout)
