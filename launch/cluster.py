"""Cluster files: the resources of a job, and how its environment is set up."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from gantrain.common.errors import UserError
from gantrain.common.validation import problems_of
from gantrain.config import read_yaml
from launch.sweepfile import StrictModel

CLUSTERS = Path("configs/clusters")
# Keys of version 0.1 that have another name now; read, never written.
_RENAMED_KEYS = {"lanes": "workers"}
_TIME = re.compile(r"(?:(\d+)-)?(\d+):(\d\d)(?::(\d\d))?")


class Cluster(StrictModel):
    """Where jobs run and what they request. Empty settings use the cluster's own defaults."""

    executor: Literal["slurm", "local", "debug"] = Field(
        description="slurm; local: processes on this machine; debug: in the launcher's own process"
    )
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    exclude: str | None = None
    time: int = Field(
        60, ge=1, description="minutes, or D-HH:MM:SS; a longer run continues in a new job"
    )
    nodes: int = Field(1, ge=1)
    ranks_per_node: int = Field(
        1, ge=1, description="processes of one run on each node; one per GPU"
    )
    gpus_per_node: int = Field(0, ge=0)
    cpus_per_rank: int = Field(1, ge=1)
    mem: str | None = Field(None, description="memory per node, as in 16G")
    signal_seconds: int = Field(
        120,
        ge=10,
        description="seconds before the time limit at which the run saves and is requeued",
    )
    modules: list[str] = Field([], description="modules to load before the start")
    setup: list[str] = Field([], description="shell lines to run before the start")
    sbatch: dict[str, Any] = Field({}, description="further sbatch options, passed unchanged")
    workers: int = Field(
        1, ge=1, description="without Slurm: runs (or packs of runs) to train at the same time"
    )

    @model_validator(mode="before")
    @classmethod
    def _read_old_keys(cls, tree: Any) -> Any:
        return _rename_old_keys(tree) if isinstance(tree, Mapping) else tree

    @field_validator("time", mode="before")
    @classmethod
    def _minutes(cls, value: Any) -> Any:
        match = _TIME.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            return value
        days, hours, minutes, seconds = (int(group or 0) for group in match.groups())
        return (days * 24 + hours) * 60 + minutes + (seconds > 0)

    @property
    def world_size(self) -> int:
        """Number of ranks that train one run."""
        return self.nodes * self.ranks_per_node

    @property
    def devices(self) -> int:
        """Number of GPUs of one job, or of CPUs if it has no GPU; the forecast counts these."""
        if self.gpus_per_node:
            return self.nodes * self.gpus_per_node
        return self.world_size * self.cpus_per_rank


def load_cluster(name: str, changes: Mapping[str, Any], pack: int = 1) -> Cluster:
    """Read `configs/clusters/NAME.yaml`, or a file given by its path.

    changes: keys that override the file's. pack: runs per job, checked against the ranks.

    Raises UserError naming the file, the key and what was expected.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else CLUSTERS / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in CLUSTERS.glob("*.yaml"))) or "none"
        raise UserError(
            f"cluster {name!r}: no file {path}; give the path of a cluster file or one of: {known}."
        )
    tree = read_yaml(
        path, kind="cluster file", expected="keys such as `executor:` and `partition:`"
    )
    return parse_cluster(tree, changes, str(path), pack)


def parse_cluster(
    tree: Mapping[str, Any], changes: Mapping[str, Any], source: str, pack: int = 1
) -> Cluster:
    """Validate a cluster file's content with `changes` applied; `source` names it in errors.

    Raises UserError naming the key and what was expected.
    """
    try:
        cluster = Cluster.model_validate({**_rename_old_keys(tree), **_rename_old_keys(changes)})
    except ValidationError as error:
        problems = problems_of(error, list(Cluster.model_fields))
        raise UserError(f"{source}: {'; '.join(problems)}.") from None
    except ValueError as error:
        raise UserError(f"{source}: {error}.") from None
    if pack > 1 and cluster.world_size > 1:
        raise UserError(
            f"pack: {pack} runs per job, but each run takes {cluster.world_size} ranks "
            "(nodes x ranks_per_node); pack runs of one rank only, or set pack: 1."
        )
    if cluster.executor != "slurm" and cluster.nodes > 1:
        raise UserError(f"{source}: nodes: {cluster.nodes}; without Slurm there is one node.")
    if cluster.time * 60 <= cluster.signal_seconds:
        raise UserError(
            f"{source}: time: {cluster.time} min is not longer than signal_seconds: "
            f"{cluster.signal_seconds}; no time would be left to train."
        )
    return cluster


def _rename_old_keys(tree: Mapping[str, Any]) -> dict[str, Any]:
    for old, new in _RENAMED_KEYS.items():
        if old in tree and new in tree:
            raise ValueError(f"{old}: the old name of {new}, which is set as well; remove one")
    return {_RENAMED_KEYS.get(key, key): value for key, value in tree.items()}
