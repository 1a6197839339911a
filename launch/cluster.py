"""Cluster files: the resources of a job, and how its environment is set up."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from gantrain.common.errors import UserError
from gantrain.common.validation import problems_of
from gantrain.common.yaml_core import load_yaml_text
from gantrain.config import read_yaml
from launch.spelling import keep_spelling
from launch.sweepfile import RESOURCE_NAMES, StrictModel
from launch.units import MAX_MINUTES, TIME_FORMS, format_time, parse_gpus, parse_memory, parse_time

CLUSTERS = Path("configs/clusters")
# Keys of version 0.1 that have another name now; read, never written.
_RENAMED_KEYS = {"lanes": "workers"}
# Options of sbatch that the launcher sets from these keys, or by itself.
_RESERVED_OPTIONS = {
    "time": "time",
    "signal": "signal_seconds",
    "nodes": "nodes",
    "ntasks": "ranks_per_node",
    "ntasks-per-node": "ranks_per_node",
    "cpus-per-task": "cpus_per_rank",
    **dict.fromkeys(
        ("array", "job-name", "output", "error", "open-mode", "dependency", "requeue", "wrap")
    ),
}


_GPUS = {"gres": re.compile(r"gpu(:.*)?"), "gpus-per-node": re.compile(r".+")}


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
        60,
        ge=0,
        le=MAX_MINUTES,
        description=f"{TIME_FORMS}; 0 is UNLIMITED; a longer run continues in a new job",
    )
    nodes: int = Field(1, ge=1)
    ranks_per_node: int = Field(
        1, ge=1, description="processes of one run on each node; one per GPU"
    )
    gpus_per_node: int = Field(0, ge=0, description="a number, or a type and a number: a100:4")
    gpu_type: str | None = Field(None, description="type of these GPUs; empty: any")
    cpus_per_rank: int = Field(1, ge=1)
    mem: str | None = Field(None, description="memory per node, as in 16G; a number is MB")
    signal_seconds: int = Field(
        120,
        ge=10,
        le=65_535,
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

    @model_validator(mode="before")
    @classmethod
    def _split_gpu_type(cls, tree: Any) -> Any:
        if not isinstance(tree, Mapping) or not isinstance(tree.get("gpus_per_node"), str):
            return tree
        kind, count = parse_gpus(tree["gpus_per_node"])
        return {**tree, "gpus_per_node": count} | ({"gpu_type": kind} if kind else {})

    @field_validator("time", mode="before")
    @classmethod
    def _minutes(cls, value: Any) -> int:
        return parse_time(value)

    @field_validator("mem", mode="before")
    @classmethod
    def _memory(cls, value: Any) -> str | None:
        return None if value is None else parse_memory(value)

    @field_validator("partition", "exclude", mode="before")
    @classmethod
    def _join_names(cls, value: Any) -> Any:
        if isinstance(value, list):
            value = ",".join(map(str, value)) or None
        # Slurm takes a space for the end of the list.
        return re.sub(r"\s*,\s*", ",", value.strip()) if isinstance(value, str) else value

    @field_validator("nodes", mode="before")
    @classmethod
    def _fixed_number(cls, value: Any) -> Any:
        if isinstance(value, str) and not value.strip().isdecimal():
            raise ValueError(f"nodes: {value!r} found; a run has a fixed number of nodes, as in 2")
        return value

    @field_validator("sbatch")
    @classmethod
    def _check_options(cls, options: dict[str, Any]) -> dict[str, Any]:
        checked = {}
        for name, value in options.items():
            option = name.lstrip("-").replace("_", "-")
            if option in _RESERVED_OPTIONS:
                key = _RESERVED_OPTIONS[option]
                use = f"use the key {key!r}" if key else "remove it; the launcher sets this option"
                raise ValueError(f"sbatch.{name}: {use}")
            if isinstance(value, Mapping | list):
                raise ValueError(f"sbatch.{name}: {value!r} found; expected text; put it in quotes")
            if value is not None and value is not False:  # such options are not given
                checked[option] = value
        return checked

    @property
    def world_size(self) -> int:
        """Number of ranks that train one run."""
        return self.nodes * self.ranks_per_node

    @property
    def gpus(self) -> int:
        """Number of GPUs of each node, also where only sbatch's own options request them."""
        if self.gpus_per_node:
            return self.gpus_per_node
        for option in ("gpus-per-node", "gres"):
            requested = str(self.sbatch.get(option, "")).split(",")
            counts = [parse_gpus(text)[1] for text in requested if _GPUS[option].fullmatch(text)]
            if counts:
                return sum(counts)
        return 0

    @property
    def devices(self) -> int:
        """Number of GPUs of one job, or of CPUs if it has no GPU; the forecast counts these."""
        if self.gpus:
            return self.nodes * self.gpus
        return self.world_size * self.cpus_per_rank


def find_cluster(name: str, folders: Sequence[Path] = (Path(),)) -> Path:
    """Return the file `configs/clusters/NAME.yaml`, or the one that is given by its path.

    folders: where relative paths and `configs/clusters` are looked for, in this order.

    Raises UserError with the names that there are.
    """
    relative = Path(name) if name.endswith((".yaml", ".yml")) else CLUSTERS / f"{name}.yaml"
    paths = [folder / relative for folder in folders]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        found = {p.stem for folder in folders for p in (folder / CLUSTERS).glob("*.yaml")}
        places = " or ".join(dict.fromkeys(map(str, paths)))
        raise UserError(
            f"cluster {name!r}: no file {places}; give the path of a cluster file or one of: "
            f"{', '.join(sorted(found)) or 'none'}."
        )
    return path


def load_cluster(
    name: str, changes: Mapping[str, Any], pack: int = 1, folders: Sequence[Path] = (Path(),)
) -> Cluster:
    """Read a cluster file; see find_cluster for `name` and `folders`.

    changes: keys that override the file's. pack: runs per job, checked against the ranks.

    Raises UserError naming the file, the key and what was expected.
    """
    path = find_cluster(name, folders)
    tree = read_yaml(
        path, kind="cluster file", expected="keys such as `executor:` and `partition:`"
    )
    tree = keep_spelling(tree, load_yaml_text(path.read_text(encoding="utf-8-sig")), RESOURCE_NAMES)
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
        problems = problems_of(error, Cluster)
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
    if 0 < cluster.time * 60 <= cluster.signal_seconds:
        raise UserError(
            f"{source}: time: {format_time(cluster.time)} (hours:minutes:seconds) is not longer "
            f"than signal_seconds: {cluster.signal_seconds}; no time would be left to train."
        )
    return cluster


def _rename_old_keys(tree: Mapping[str, Any]) -> dict[str, Any]:
    for old, new in _RENAMED_KEYS.items():
        if old in tree and new in tree:
            raise ValueError(f"{old}: the old name of {new}, which is set as well; remove one")
    return {_RENAMED_KEYS.get(key, key): value for key, value in tree.items()}
