"""The machine's scratch folder: decoded images, downloaded shards, indexes and labels."""

import os
import shutil
import tempfile
from pathlib import Path

from gantrain.common.errors import UserError, os_reason
from gantrain.config import DataConfig
from gantrain.data.shards.store import ShardStore


def scratch_folder(config: DataConfig) -> Path:
    """Return the scratch folder; create it if it is missing.

    It is `data.cache_dir`, or by default a folder of this user in $SLURM_TMPDIR or else in the
    system's temporary folder.

    Raises UserError if it cannot be created, belongs to another user, or is inside the set.
    """
    folder = config.cache_dir or _default_folder()
    if isinstance(config.shards, Path) and folder.resolve().is_relative_to(config.shards.resolve()):
        raise UserError(
            f"data.cache_dir: {folder} is inside the set {config.shards}, which must contain only "
            "shards; choose another folder."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        owner = folder.stat().st_uid
    except OSError as error:
        raise UserError(
            f"data.cache_dir: cannot create {folder} ({os_reason(error)}); choose another folder."
        ) from None
    if config.cache_dir is None and owner != os.getuid():
        # That user could replace the images.
        raise UserError(
            f"data.cache_dir: {folder} belongs to another user; choose a folder of your own."
        )
    return folder


def _default_folder() -> Path:
    job_folder = os.environ.get("SLURM_TMPDIR")
    return Path(job_folder or tempfile.gettempdir()) / f"gantrain-{os.getuid()}"


def open_store(config: DataConfig) -> ShardStore:
    """Return the access to the set of a config. Raises UserError as `scratch_folder` does."""
    return ShardStore(
        location=config.shards,
        scratch=scratch_folder(config),
        limit=int(config.shard_cache_gb * 1e9),
        timeout=config.timeout_s,
        retries=config.retries,
    )


def free_disk(folder: Path) -> int:
    """Return the free space of the folder's disk, in bytes."""
    return shutil.disk_usage(folder).free


def free_memory() -> int:
    """Return the memory available to this process, in bytes: the machine's, or its cgroup's if
    less."""
    available = _meminfo("MemAvailable:")
    limit = _read_int(Path("/sys/fs/cgroup/memory.max"))
    used = _read_int(Path("/sys/fs/cgroup/memory.current"))
    amounts = [available * 1024] if available is not None else []
    if limit is not None and used is not None:
        amounts.append(max(limit - used, 0))
    return min(amounts, default=0)


def _meminfo(field: str) -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith(field):
                return int(line.split()[1])
    except (OSError, ValueError):
        pass
    return None


def _read_int(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # the kernel writes "max" for no limit
        return None
