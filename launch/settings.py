"""How a sweep is launched: from its sweep file or its directory, with command-line overrides."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from gantrain.common.errors import UserError
from gantrain.common.records import parse_record
from gantrain.common.yaml_core import load_yaml, load_yaml_text
from gantrain.runs.records import read_json
from launch.cluster import Cluster, find_cluster, load_cluster, parse_cluster
from launch.metric_names import direction_of
from launch.project import project_of
from launch.spelling import keep_spelling
from launch.sweepdir import LAUNCH_AGAIN, SWEEP, directory_of, read_settings
from launch.sweepfile import RESOURCE_NAMES, SweepFile

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LaunchSettings:
    """A sweep's directory, its cluster, and how its runs are packed, throttled and compared.

    pack: runs per job. throttle: jobs of the sweep that run at the same time. project: where
    relative paths in the runs' configs lead; the working directory of the jobs. sweep_file,
    cluster_file: absolute paths. cluster_option: the command line named the cluster, not the sweep
    file. in_files: the cluster's keys as the files have them, without the command line's.
    """

    name: str
    sweep_dir: Path
    cluster: Cluster
    pack: int = 1
    throttle: int = 64
    metric: str | None = None
    direction: str = "min"
    early_stop: dict[str, Any] | None = None
    project: Path | None = None
    sweep_file: Path | None = None
    cluster_file: Path | None = None
    cluster_option: bool = False
    in_files: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the content of sweep.json."""
        return {
            "name": self.name,
            "cluster": self.cluster.model_dump(mode="json"),
            "pack": self.pack,
            "throttle": self.throttle,
            "metric": self.metric,
            "direction": self.direction,
            "early_stop": self.early_stop,
            "project": str((self.project or Path()).absolute()),
            "sweep_file": _as_text(self.sweep_file),
            "cluster_file": _as_text(self.cluster_file),
            "cluster_option": self.cluster_option,
            "in_files": self.in_files,
        }


class StoredSettings(BaseModel):
    """The content of sweep.json; keys of later versions are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: str
    cluster: dict[str, Any]
    pack: int = Field(1, ge=1)
    throttle: int = Field(64, ge=1)
    metric: str | None = None
    direction: Literal["min", "max"] = "min"
    early_stop: dict[str, Any] | None = None
    project: str | None = None
    sweep_file: Path | None = None
    cluster_file: Path | None = None
    cluster_option: bool = False
    in_files: dict[str, Any] | None = None


def settings_from_file(
    sweep: SweepFile, path: Path, cluster: str | None, resources: Sequence[str] | None
) -> LaunchSettings:
    """Return the settings of a sweep file with the command line's cluster and resources applied."""
    sweep_dir, here = directory_of(path), Path()
    project = _project(sweep, sweep_dir, path)
    folders = (here, project) if cluster else (path.parent, project, here)
    file = find_cluster(cluster or sweep.cluster, folders)
    changes = {**sweep.resources, **parse_resources(resources)}
    chosen = load_cluster(str(file), changes, sweep.pack)
    return LaunchSettings(
        name=sweep.name,
        sweep_dir=sweep_dir,
        cluster=chosen,
        **launch_keys(sweep),
        project=project,
        sweep_file=path.absolute(),
        cluster_file=file.absolute(),
        cluster_option=cluster is not None,
        in_files=cluster_in_files(file, sweep.resources, chosen),
    )


def launch_keys(sweep: SweepFile) -> dict[str, Any]:
    """Return how a sweep file says that its runs are packed, throttled and compared."""
    return {
        "pack": sweep.pack,
        "throttle": sweep.throttle,
        "metric": sweep.metric,
        "direction": sweep.direction or direction_of(sweep.metric) or "min",
        "early_stop": sweep.early_stop.model_dump() if sweep.early_stop else None,
    }


def cluster_in_files(file: Path, resources: Mapping[str, Any], chosen: Cluster) -> dict[str, Any]:
    """Return the keys of a cluster as the files have them; those of `chosen` if that is no cluster.

    file: the cluster file. resources: of the sweep file.
    """
    try:  # what only the command line makes valid, such as a time for signal_seconds
        cluster = load_cluster(str(file), resources)
    except UserError:
        cluster = chosen
    return cluster.model_dump(mode="json")


def settings_from_directory(
    sweep_dir: Path, cluster: str | None, resources: Sequence[str] | None
) -> LaunchSettings:
    """Return the settings with which the sweep was last launched, with the command line's applied.

    Raises UserError if a key of `resources` is unknown or its value invalid.
    """
    stored = read_stored(sweep_dir)
    changes, project = parse_resources(resources), _stored_project(stored.project)
    if cluster is not None:
        folders = (Path(), project or Path())
        chosen = load_cluster(cluster, changes, stored.pack, folders)
    else:
        chosen = parse_cluster(stored.cluster, changes, "--resource", stored.pack)
    values = stored.model_dump(exclude={"cluster", "project"})
    return LaunchSettings(sweep_dir=sweep_dir, cluster=chosen, project=project, **values)


def read_stored(sweep_dir: Path) -> StoredSettings:
    """Return the content of sweep.json. Raises UserError if it is damaged."""
    content = read_settings(sweep_dir)
    try:
        return parse_record(content, StoredSettings, str(sweep_dir / SWEEP))
    except UserError as error:
        raise UserError(f"{error} {LAUNCH_AGAIN}") from None


@dataclass(frozen=True)
class Ranking:
    """What a sweep's runs are ranked by, and its name; defaults where sweep.json is damaged."""

    name: str
    metric: str | None
    direction: Literal["min", "max"]


def read_ranking(sweep_dir: Path) -> Ranking:
    """Return what the sweep's runs are ranked by. Logs a warning if sweep.json is damaged."""
    try:
        stored = read_settings(sweep_dir)
    except UserError as error:
        logger.warning(f"launch: {error}")
        stored = {}
    metric, name = stored.get("metric"), stored.get("name")
    return Ranking(
        name=name if isinstance(name, str) else sweep_dir.resolve().name,
        metric=metric if isinstance(metric, str) else None,
        direction="max" if stored.get("direction") == "max" else "min",
    )


def _project(sweep: SweepFile, sweep_dir: Path, path: Path) -> Path:
    """Return where relative paths in the runs' configs lead: where they led at the first launch."""
    stored = read_json(sweep_dir / SWEEP) or {}
    if project := _stored_project(stored.get("project")):
        return project
    # Launched by an earlier version, in a working directory that the path does not tell.
    if stored and sweep.dir is not None and sweep.dir.is_absolute():
        return Path.cwd()
    return project_of(path) or Path.cwd()


def _as_text(path: Path | None) -> str | None:
    return str(path) if path else None


def _stored_project(text: object) -> Path | None:
    return Path(text) if isinstance(text, str) and Path(text).is_dir() else None


def parse_resources(options: Sequence[str] | None) -> dict[str, Any]:
    """Return KEY=VALUE options as keys and values; the values are read as YAML.

    A name that looks like a number or a list stays as it is written.

    Raises UserError if one is not of this form.
    """
    resources: dict[str, Any] = {}
    for option in options or []:
        key, sign, text = option.partition("=")
        if not sign:
            raise UserError(f"--resource {option!r}: expected KEY=VALUE, as in time=30.")
        try:
            value = {key: load_yaml(text)}
            resources |= keep_spelling(value, {key: load_yaml_text(text)}, RESOURCE_NAMES)
        except ValueError as error:
            raise UserError(
                f"--resource {option!r}: the value is not valid YAML: {error}."
            ) from None
        if key == "constraint" and isinstance(resources[key], list):
            resources[key] = text  # [a|b] is an alternative of Slurm's
    return resources
