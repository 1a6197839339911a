"""What a retry takes from a sweep's files, which may have been edited since the launch.

It takes the resources of jobs, and settings that are not part of a run's identity. Of a setting
that is, it says that it is ignored: with it the run would be another one.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from gantrain.common.errors import UserError
from gantrain.common.records import flatten
from gantrain.common.text import counted
from gantrain.config import read_config
from launch.cluster import Cluster, find_cluster, load_cluster, parse_cluster
from launch.plan import NOT_IN_ID, PlannedRun, plan_run, plan_runs
from launch.settings import (
    LaunchSettings,
    StoredSettings,
    cluster_in_files,
    launch_keys,
    parse_resources,
    read_stored,
    settings_from_directory,
    settings_from_file,
)
from launch.states import RunState
from launch.sweepdir import config_file, read_runs
from launch.sweepfile import SweepFile, load_sweep
from launch.values import format_value

# The launcher sets these keys, so a run's config does not have the values of the sweep's files.
_LAUNCHER_KEYS = (
    *("output.run_dir", "output.resume", "training.world_size"),
    *("wandb.group", "wandb.name"),
)


class EditedFiles:
    """The sweep's files as they are now.

    settings: with the command line's. to_store: without them, for sweep.json; None if the command
    line names another cluster file. lines: what changed and what is ignored, for display.
    """

    def __init__(
        self, target: Path, sweep_dir: Path, cluster: str | None, resources: Sequence[str] | None
    ) -> None:
        self.lines: list[str] = []
        self._sweep_dir = sweep_dir
        stored = read_stored(sweep_dir)
        last = settings_from_directory(sweep_dir, None, None)
        self._file = target.absolute() if target.is_file() else stored.sweep_file
        self._sweep = self._load_sweep()
        self.to_store: LaunchSettings | None = None
        if cluster is not None:
            self.settings = self._with_other_cluster(cluster, resources)
            return
        settings = replace(last, **self._launch_settings(last))
        tree, in_files = self._edited_cluster(stored, last, settings.pack)
        edited = parse_cluster(tree, {}, str(settings.cluster_file or "cluster"), settings.pack)
        self._note_cluster(last.cluster, edited, str(settings.cluster_file))
        options = parse_resources(resources)
        chosen = parse_cluster(tree, options, "--resource", settings.pack)
        self._note_cluster(edited, chosen, "--resource")
        self.to_store = replace(settings, cluster=edited, in_files=in_files)
        self.settings = replace(self.to_store, cluster=chosen)

    def plan(self, runs: Sequence[RunState]) -> list[PlannedRun]:
        """Return these runs with the settings outside their identity as the files have them now.

        Raises UserError if the files are not valid.
        """
        world_size = self.settings.cluster.world_size
        points: list[PlannedRun] = []
        if self._sweep is not None and self._file is not None:
            points = plan_runs(self._sweep, self._file, world_size)
        sources = {run.id: run.source for run in read_runs(self._sweep_dir) if run.source}
        changes: Counter[str] = Counter()
        ignored: Counter[str] = Counter()
        planned = []
        for run in runs:
            candidates = _plan_source(sources.get(run.run), world_size) or points
            before = self._last_config(run)
            after = _updated(run.run, before, candidates)
            for key in before:
                if before[key] != after[key] and key in run.flat:
                    changes[f"{key}: {_change(before[key], after[key])}"] += 1
            for key, value in _identity_changes(run.run, before, candidates).items():
                ignored[f"{key}: {_change(before[key], value)}"] += 1
            planned.append(PlannedRun(run.run, after))
        self.lines += [f"{text} ({counted(number, 'run')})" for text, number in changes.items()]
        self.lines += [
            f"ignored: {text} ({counted(number, 'run')}); it is part of a run's identity and makes "
            f"another run, which `gantrain launch sweep {self._file or 'FILE'}` submits"
            for text, number in ignored.items()
        ]
        return planned

    def _load_sweep(self) -> SweepFile | None:
        if self._file is None:
            return None
        if not self._file.is_file():
            self.lines.append(f"{self._file} is gone; the settings of the last launch are used")
            return None
        return load_sweep(self._file)

    def _with_other_cluster(self, cluster: str, resources: Sequence[str] | None) -> LaunchSettings:
        if self._sweep is None or self._file is None:
            return settings_from_directory(self._sweep_dir, cluster, resources)
        settings = settings_from_file(self._sweep, self._file, cluster, resources)
        return replace(settings, sweep_dir=self._sweep_dir)

    def _launch_settings(self, last: LaunchSettings) -> dict[str, Any]:
        if self._sweep is None:
            return {}
        values = launch_keys(self._sweep)
        for key, value in values.items():
            if value != getattr(last, key):
                self.lines.append(f"{key}: {_change(getattr(last, key), value)} in {self._file}")
        return {**values, "sweep_file": self._file}

    def _edited_cluster(
        self, stored: StoredSettings, last: LaunchSettings, pack: int
    ) -> tuple[dict[str, Any], dict[str, Any] | None]:
        """Return the cluster's keys of the last launch, with those that its files have changed.

        The second value are its keys as the files have them now, or had them if the file is gone.
        """
        tree = last.cluster.model_dump(mode="json")
        path = self._cluster_path(stored, last)
        if path is None:
            return tree, last.in_files
        resources = self._sweep.resources if self._sweep else {}
        now = cluster_in_files(path, resources, load_cluster(str(path), {**resources}, pack))
        then = _as_cluster(stored.in_files) or tree
        changed = {key: value for key, value in now.items() if value != then.get(key)}
        return {**tree, **changed}, now

    def _cluster_path(self, stored: StoredSettings, last: LaunchSettings) -> Path | None:
        path = stored.cluster_file
        if path is None:
            # Launched by an earlier version, perhaps with another cluster than the sweep file's.
            self.lines.append(
                "the cluster file of the last launch is not known, so changes to it are not taken; "
                "name it with --cluster"
            )
            return None
        if self._sweep is not None and self._file is not None and not stored.cluster_option:
            folders = (self._file.parent, last.project or Path(), Path())
            path = find_cluster(self._sweep.cluster, folders).absolute()
        if path.is_file():
            return path
        self.lines.append(f"{path} is gone; the resources of the last launch are used")
        return None

    def _note_cluster(self, before: Cluster, after: Cluster, source: str) -> None:
        old = before.model_dump(mode="json")
        for key, value in after.model_dump(mode="json").items():
            if value != old[key]:
                self.lines.append(f"{key}: {_change(old[key], value)} in {source}")

    def _last_config(self, run: RunState) -> dict[str, Any]:
        """Return the config that the run was last submitted with."""
        flat = dict(run.flat)
        try:
            stored = flatten(read_config(config_file(self._sweep_dir, run.run)))
        except UserError:
            return flat
        for key, value in stored.items():
            if key in flat and key.startswith(NOT_IN_ID) and key not in _LAUNCHER_KEYS:
                flat[key] = value
        return flat


def _plan_source(source: Mapping[str, Any] | None, world_size: int) -> list[PlannedRun]:
    """Return the run that a config and its overrides make now, if the run was submitted alone."""
    match source:
        case {"config": str(config), "overrides": list(overrides)} if Path(config).is_file():
            return [plan_run(Path(config), [str(each) for each in overrides], world_size)]
    return []


def _updated(
    run: str, before: Mapping[str, Any], candidates: Sequence[PlannedRun]
) -> dict[str, Any]:
    """Return the run's config with the values of the candidates outside its identity.

    A run that is none of them takes the values that all candidates share.
    """
    same = next((each.flat for each in candidates if each.id == run), None)
    values = same or _shared(candidates)
    return {
        key: values.get(key, value) if key.startswith(NOT_IN_ID) else value
        for key, value in before.items()
    }


def _identity_changes(
    run: str, before: Mapping[str, Any], candidates: Sequence[PlannedRun]
) -> dict[str, Any]:
    """Return the values that all candidates share, and with which the run would be another one."""
    if any(each.id == run for each in candidates):
        return {}
    return {
        key: value
        for key, value in _shared(candidates).items()
        if key in before and before[key] != value and not key.startswith(NOT_IN_ID)
    }


def _shared(candidates: Sequence[PlannedRun]) -> dict[str, Any]:
    if not candidates:
        return {}
    first, *others = candidates
    return {
        key: value
        for key, value in first.flat.items()
        if all(other.flat.get(key) == value for other in others)
    }


def _as_cluster(tree: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if tree is None:
        return None
    try:
        return parse_cluster(tree, {}, "").model_dump(mode="json")
    except UserError:
        return None


def _change(before: object, after: object) -> str:
    return f"{format_value(before)} → {format_value(after)}"
