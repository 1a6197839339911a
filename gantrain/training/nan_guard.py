"""Non-finite gradients: such steps are skipped and counted; too many in a row roll back."""

from pathlib import Path

import torch
from torch import Tensor, nn

from gantrain.common.errors import UserError
from gantrain.common.files import write_json
from gantrain.common.records import is_count, is_number, read_object
from gantrain.runs.paths import RECOVERY


class RollBack(Exception):  # noqa: N818 - a request, not an error
    """Training cannot continue from here, but may from the last good checkpoint."""


class NanGuard:
    """Counts the skipped steps of both networks on the device; read once a log interval."""

    def __init__(self, device: torch.device) -> None:
        self._streak = torch.zeros(2, device=device)
        self._longest = torch.zeros((), device=device)
        self._skipped = torch.zeros((), device=device)

    def note(self, network: int, skipped: Tensor) -> None:
        """Count a step of network 0 or 1; `skipped` is a float32 scalar, 1 or 0."""
        self._streak[network] = (self._streak[network] + 1) * skipped
        # In place, here and below: a CUDA graph knows the memory, not the name.
        torch.maximum(self._longest, self._streak[network], out=self._longest)
        self._skipped += skipped

    def read(self) -> tuple[int, int]:
        """Return the steps skipped since the last call and the longest streak of one network."""
        skipped, longest = torch.stack([self._skipped, self._longest]).tolist()
        self._skipped.zero_()
        self._longest.copy_(self._streak.max())
        return int(skipped), int(longest)

    def reset(self) -> None:
        """Set all counts to 0, as after a roll-back."""
        self._streak.zero_()
        self._longest.zero_()
        self._skipped.zero_()


def statistics_are_finite(*networks: nn.Module) -> bool:
    """Return whether all running statistics are finite. Waits for the device."""
    buffers = [b for network in networks for b in network.buffers() if b.is_floating_point()]
    return all(bool(b.isfinite().all()) for b in buffers)


def read_recovery(run_dir: Path) -> tuple[int, float]:
    """Return how often a run was rolled back and the resulting factor on its learning rates.

    The file is kept next to the checkpoints, which are older than the roll-back.
    Raises UserError if it exists but is broken.
    """
    path = run_dir / RECOVERY
    if not path.exists():
        return 0, 1.0
    content = read_object(path)
    rollbacks, scale = content.get("rollbacks"), content.get("learning_rate_scale")
    if not is_count(rollbacks) or not is_number(scale) or not 0 < scale <= 1:
        raise UserError(
            f"{path}: expected a count `rollbacks` and a factor `learning_rate_scale` up to 1; "
            "correct it, or remove it to train with the learning rates of the config."
        )
    return rollbacks, float(scale)


def write_recovery(run_dir: Path, rollbacks: int, learning_rate_scale: float) -> None:
    """Record a roll-back for all later starts of the run."""
    content = {"rollbacks": rollbacks, "learning_rate_scale": learning_rate_scale}
    write_json(run_dir / RECOVERY, content)
