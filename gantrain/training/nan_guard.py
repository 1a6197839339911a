"""Steps whose gradients are not finite are skipped and counted; too many in a row roll back."""

from pathlib import Path

import torch
from torch import Tensor, nn

from gantrain.common.files import write_json
from gantrain.common.records import read_object

RECOVERY = "recovery.json"


class RollBack(Exception):  # noqa: N818 - a request, not an error
    """The training cannot go on from here, but may from the last good checkpoint."""


class Guard:
    """Counts skipped steps of both networks on the device; read once a log interval."""

    def __init__(self, device: torch.device) -> None:
        self._streak = torch.zeros(2, device=device)
        self._worst = torch.zeros((), device=device)
        self._skipped = torch.zeros((), device=device)

    def note(self, network: int, skipped: Tensor) -> None:
        """Count a step of network 0 or 1; `skipped` is 1 or 0, a float32 scalar."""
        self._streak[network] = (self._streak[network] + 1) * skipped
        self._worst = torch.maximum(self._worst, self._streak[network])
        self._skipped += skipped

    def read(self) -> tuple[int, int]:
        """Steps skipped since the last reading, and the longest streak of one network's."""
        skipped, worst = torch.stack([self._skipped, self._worst]).tolist()
        self._skipped.zero_()
        self._worst = self._streak.max()
        return int(skipped), int(worst)

    def reset(self) -> None:
        """Forget everything, as after a roll-back."""
        self.__init__(self._streak.device)  # type: ignore[misc]


def statistics_are_finite(*networks: nn.Module) -> bool:
    """Whether all running statistics are finite. Waits for the device."""
    buffers = [b for network in networks for b in network.buffers() if b.is_floating_point()]
    return all(bool(b.isfinite().all()) for b in buffers)


def read_recovery(run_dir: Path) -> tuple[int, float]:
    """Roll-backs of a run so far, and the factor that they left on its learning rates.

    Kept beside the checkpoints, which are from before the roll-back.
    Raises UserError if the file is there but broken.
    """
    path = run_dir / RECOVERY
    if not path.exists():
        return 0, 1.0
    content = read_object(path)
    return int(content["rollbacks"]), float(content["learning_rate_scale"])


def write_recovery(run_dir: Path, rollbacks: int, learning_rate_scale: float) -> None:
    """Remember a roll-back for every later start."""
    content = {"rollbacks": rollbacks, "learning_rate_scale": learning_rate_scale}
    write_json(run_dir / RECOVERY, content)
