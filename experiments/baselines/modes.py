"""Which of equally frequent modes generated images show, and how unequally often."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ModeCount:
    """Coverage of modes that are equally frequent in the data.

    covered: number of modes that at least one image shows.
    divergence: KL(generated frequencies ‖ uniform) in nats, 0 at best and log(total) if all images
        show one mode. Of N perfectly drawn images it is about (total - 1) / 2N.
    """

    covered: int
    divergence: float


def count_modes(modes: NDArray[np.int64], total: int) -> ModeCount:
    """Count modes as VEEGAN (Srivastava et al. 2017) and PacGAN (Lin et al. 2018) do.

    modes: int64 (N,), N > 0, the mode of each image, 0 to total - 1.
    """
    counts = np.bincount(modes, minlength=total)
    frequencies = counts[counts > 0] / len(modes)
    divergence = float((frequencies * np.log(frequencies * total)).sum())
    return ModeCount(len(frequencies), max(divergence, 0.0))
