"""How a sweep is launched: from its sweep file or its directory, with command-line overrides."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gantrain.common.errors import UserError
from gantrain.common.yaml_core import load_yaml, load_yaml_text
from launch.cluster import Cluster, load_cluster, parse_cluster
from launch.spelling import keep_spelling
from launch.sweepdir import directory_of, read_settings
from launch.sweepfile import RESOURCE_NAMES, SweepFile


@dataclass(frozen=True)
class LaunchSettings:
    """A sweep's directory, its cluster, and how its runs are packed, throttled and compared.

    pack: runs per job. throttle: jobs of the sweep that run at the same time.
    """

    name: str
    sweep_dir: Path
    cluster: Cluster
    pack: int = 1
    throttle: int = 64
    metric: str | None = None
    direction: str = "min"
    early_stop: dict[str, Any] | None = None

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
        }


def settings_from_file(
    sweep: SweepFile, path: Path, cluster: str | None, resources: Sequence[str] | None
) -> LaunchSettings:
    """Return the settings of a sweep file with the command line's cluster and resources applied."""
    changes = {**sweep.resources, **parse_resources(resources)}
    return LaunchSettings(
        name=sweep.name,
        sweep_dir=directory_of(path),
        cluster=load_cluster(cluster or sweep.cluster, changes, sweep.pack),
        pack=sweep.pack,
        throttle=sweep.throttle,
        metric=sweep.metric,
        direction=sweep.direction,
        early_stop=sweep.early_stop.model_dump() if sweep.early_stop else None,
    )


def settings_from_directory(
    sweep_dir: Path, cluster: str | None, resources: Sequence[str] | None
) -> LaunchSettings:
    """Return the settings with which the sweep was last launched, with the command line's applied.

    Raises UserError if a key of `resources` is unknown or its value invalid.
    """
    stored = read_settings(sweep_dir)
    stored_cluster, changes = stored.pop("cluster"), parse_resources(resources)
    if cluster is not None:
        chosen = load_cluster(cluster, changes, stored["pack"])
    else:
        chosen = parse_cluster(stored_cluster, changes, "--resource", stored["pack"])
    return LaunchSettings(sweep_dir=sweep_dir, cluster=chosen, **stored)


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
