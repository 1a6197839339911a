"""The machine's scratch folder: decoded images, downloaded shards, indexes and labels."""

import errno
import logging
import os
import shutil
import tempfile
from pathlib import Path

from gantrain.common.errors import UserError, os_reason
from gantrain.config import DataConfig
from gantrain.data.shards.store import ShardStore

logger = logging.getLogger(__name__)


def scratch_folder(config: DataConfig) -> Path:
    """Return the scratch folder; create it if it is missing.

    It is `data.cache_dir`, or by default a folder of this user in $SLURM_TMPDIR or else in the
    system's temporary folder. The default is also used, with a warning, where `data.cache_dir`
    cannot be: a run that moves to another machine takes the setting with it.

    Raises UserError if it is inside the set, or if the default cannot be created or belongs to
    another user.
    """
    chosen = config.cache_dir
    if chosen is None:
        return _default_folder(config)
    _check_outside_set(chosen, config)
    try:
        chosen.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        reason = os_reason(error)
    else:
        if os.access(chosen, os.W_OK | os.X_OK):
            return chosen
        reason = os.strerror(errno.EACCES)
    default = _default_folder(config)
    logger.warning(
        f"data.cache_dir: {chosen} cannot be used on this machine ({reason}); {default} is used "
        "instead"
    )
    return default


def _default_folder(config: DataConfig) -> Path:
    parent = os.environ.get("SLURM_TMPDIR") or tempfile.gettempdir()
    folder = Path(parent) / f"gantrain-{os.getuid()}"
    _check_outside_set(folder, config)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        owner = folder.stat().st_uid
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be created ({os_reason(error)}), and images are decoded there; set "
            "data.cache_dir to a folder on a local disk."
        ) from None
    if owner != os.getuid():  # that user could replace the images
        raise UserError(
            f"{folder}: belongs to another user; set data.cache_dir to a folder of your own."
        )
    return folder


def _check_outside_set(folder: Path, config: DataConfig) -> None:
    # Unlike Path.resolve, realpath takes links that lead to themselves.
    inner = Path(os.path.realpath(folder))
    if isinstance(config.shards, Path) and inner.is_relative_to(os.path.realpath(config.shards)):
        raise UserError(
            f"data.cache_dir: {folder} is inside the set {config.shards}, which must contain only "
            "shards; choose another folder."
        )


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
    less.

    Half of the machine's where the system does not say what is available, as on macOS.
    """
    available = _meminfo("MemAvailable:")
    if available is None and "SC_PHYS_PAGES" in os.sysconf_names:
        available = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 1024 // 2
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
