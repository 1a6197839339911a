"""Cluster files: what a job asks Slurm for, and how a node is made ready."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator

from gantrain.common.errors import UserError
from launch.sweepfile import Strict
from launch.wording import problems_of

CLUSTERS = Path("configs/clusters")
_TIME = re.compile(r"(?:(\d+)-)?(\d+):(\d\d)(?::(\d\d))?")


class Cluster(Strict):
    """Where and on what the jobs run. Empty settings are left to the cluster's own defaults."""

    executor: Literal["slurm", "local", "debug"] = Field(
        description="slurm; local: processes on this machine; debug: in the launcher's own process"
    )
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    exclude: str | None = None
    time: int = Field(60, ge=1, description="minutes, or D-HH:MM:SS; longer runs go on in new jobs")
    nodes: int = Field(1, ge=1)
    ranks_per_node: int = Field(1, ge=1, description="processes of one run on a node; one a GPU")
    gpus_per_node: int = Field(0, ge=0)
    cpus_per_rank: int = Field(1, ge=1)
    mem: str | None = Field(None, description="a node, as in 16G")
    signal_seconds: int = Field(
        120, ge=10, description="before the time limit, to write a checkpoint and queue again"
    )
    modules: list[str] = Field([], description="`module load` before the start")
    setup: list[str] = Field([], description="shell lines before the start")
    sbatch: dict[str, Any] = Field({}, description="further options of sbatch, as they are")
    lanes: Annotated[int, Field(ge=1)] = Field(
        1, description="runs (or packs of runs) at a time where there is no Slurm"
    )

    @field_validator("time", mode="before")
    @classmethod
    def _minutes(cls, value: Any) -> Any:
        found = _TIME.fullmatch(value) if isinstance(value, str) else None
        if found is None:
            return value
        days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
        return (days * 24 + hours) * 60 + minutes + (seconds > 0)

    @property
    def world_size(self) -> int:
        """Ranks that train one run."""
        return self.nodes * self.ranks_per_node

    @property
    def devices(self) -> int:
        """GPUs of one job, or its CPUs where it has no GPU: what the forecast counts."""
        if self.gpus_per_node:
            return self.nodes * self.gpus_per_node
        return self.world_size * self.cpus_per_rank


def load_cluster(name: str, changes: Mapping[str, Any], pack: int = 1) -> Cluster:
    """Read `configs/clusters/NAME.yaml`, or a file by its path, with changes over it.

    Raises UserError naming the file, the key and what was expected.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else CLUSTERS / f"{name}.yaml"
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        known = ", ".join(sorted(p.stem for p in CLUSTERS.glob("*.yaml"))) or "none"
        raise UserError(
            f"cluster {name!r}: {path} cannot be read ({error.strerror}); "
            f"give a file's path or one of: {known}."
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid YAML ({' '.join(str(error).split())}).") from None
    if not isinstance(tree, dict):
        raise UserError(f"{path}: expected keys such as `executor:` and `partition:`.")
    try:
        cluster = Cluster.model_validate({**tree, **changes})
    except ValidationError as error:
        raise UserError(f"{path}: {problems_of(error, Cluster)}") from None
    if pack > 1 and cluster.world_size > 1:
        raise UserError(
            f"pack: {pack} runs on one job, but each run takes {cluster.world_size} ranks "
            "(nodes x ranks_per_node); pack runs of one rank, or set pack: 1."
        )
    if cluster.executor != "slurm" and cluster.nodes > 1:
        raise UserError(f"{path}: nodes: {cluster.nodes}; without Slurm there is one node.")
    if cluster.time * 60 <= cluster.signal_seconds:
        raise UserError(
            f"{path}: time: {cluster.time} min is not longer than signal_seconds: "
            f"{cluster.signal_seconds}; no time would be left to train."
        )
    return cluster
