"""Where decoded images, fetched shards and indexes are kept on this machine."""

import os
import shutil
import tempfile
from pathlib import Path

from gantrain.common.errors import UserError
from gantrain.config import DataConfig
from gantrain.data.shards.faults import os_reason


def scratch_folder(config: DataConfig) -> Path:
    """`data.cache_dir`, or a folder of this user's own in $SLURM_TMPDIR or the system's temporary
    folder; it is there afterwards.

    Raises UserError if it cannot be made, belongs to somebody else, or is inside the set.
    """
    folder = config.cache_dir or _default()
    if isinstance(config.shards, Path) and folder.resolve().is_relative_to(config.shards.resolve()):
        raise UserError(
            f"data.cache_dir: {folder} is inside the set {config.shards}, which holds shards "
            "alone; choose another folder."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        owner = folder.stat().st_uid
    except OSError as error:
        raise UserError(
            f"data.cache_dir: {folder} cannot be made ({os_reason(error)}); choose another folder."
        ) from None
    if config.cache_dir is None and owner != os.getuid():
        # Others could put images of theirs there.
        raise UserError(
            f"data.cache_dir: {folder} belongs to another user; set it to a folder of your own."
        )
    return folder


def _default() -> Path:
    of_job = os.environ.get("SLURM_TMPDIR")
    return Path(of_job or tempfile.gettempdir()) / f"gantrain-{os.getuid()}"


def free_disk(folder: Path) -> int:
    """Bytes that can still be written there."""
    return shutil.disk_usage(folder).free


def free_memory() -> int:
    """Bytes of memory that this process may still fill: the machine's, or its job's if less."""
    available = _field(Path("/proc/meminfo"), "MemAvailable:")
    limit = _number(Path("/sys/fs/cgroup/memory.max"))
    used = _number(Path("/sys/fs/cgroup/memory.current"))
    amounts = [available * 1024] if available is not None else []
    if limit is not None and used is not None:
        amounts.append(max(limit - used, 0))
    return min(amounts, default=0)


def _field(path: Path, name: str) -> int | None:
    try:
        for line in path.read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1])
    except (OSError, ValueError):
        pass
    return None


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # "max" stands for no limit
        return None
