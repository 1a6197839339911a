"""What a process runs on: processor, memory, versions, the job of a cluster. Needs no torch."""

import os
import platform
import socket
import sys
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from gantrain.common.pools import usable_cores

_PACKAGES = (
    *("gantrain", "torch", "accelerate", "numpy", "safetensors", "webdataset", "pillow"),
    *("pydantic", "wandb"),
)
# Of the job, no other variable is kept: an environment contains keys and passwords.
_JOB_VARIABLES = {
    "job": "SLURM_JOB_ID",
    "array_job": "SLURM_ARRAY_JOB_ID",
    "array_task": "SLURM_ARRAY_TASK_ID",
    "restarts": "SLURM_RESTART_COUNT",
    "partition": "SLURM_JOB_PARTITION",
    "nodes": "SLURM_JOB_NODELIST",
}


def describe_hardware() -> dict[str, Any]:
    """Return the host, the system, the processor, its cores and the memory in GiB, as known."""
    with suppress(OSError, ValueError, AttributeError):
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return {**_processor(), "memory_gib": round(memory / 2**30, 1)}
    return _processor()


def installed_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide about results."""
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


def slurm_job() -> dict[str, str]:
    """Return what Slurm says of the job that this process is in; empty outside one."""
    if "SLURM_JOB_ID" not in os.environ:
        return {}
    found = {key: os.environ.get(name, "") for key, name in _JOB_VARIABLES.items()}
    return {key: value for key, value in found.items() if value}


def _processor() -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": processor_model() or platform.processor() or platform.machine(),
        "cores": os.cpu_count() or 1,
        "usable_cores": usable_cores(),
    }


def processor_model() -> str:
    """Return the name that the processor gives itself; "" where the system does not say it."""
    if sys.platform == "linux":
        with suppress(OSError):
            for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
                name, _, value = line.partition(":")
                if name.strip() == "model name":
                    return value.strip()
    return ""
