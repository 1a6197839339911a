"""What to do about a finding: the key of the file to change, and the commands to run after it."""

import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gantrain.common.errors import UserError
from launch.states import RunState
from launch.sweepdir import read_settings
from launch.values import format_value


@dataclass(frozen=True)
class Files:
    """The files that a sweep was launched from, as far as sweep.json names them.

    cluster: the settings of the last launch.
    """

    sweep_dir: Path
    sweep_file: str = ""
    cluster_file: str = ""
    cluster: dict[str, Any] = field(default_factory=dict)
    pack: int = 1


def read_files(sweep_dir: Path) -> Files:
    """Return the files that the sweep was launched from; without names if sweep.json is damaged."""
    try:
        stored = read_settings(sweep_dir)
    except UserError:
        return Files(sweep_dir)
    cluster, pack = stored.get("cluster"), stored.get("pack")
    return Files(
        sweep_dir,
        sweep_file=_text(stored.get("sweep_file")),
        cluster_file=_text(stored.get("cluster_file")),
        cluster=cluster if isinstance(cluster, dict) else {},
        pack=pack if isinstance(pack, int) else 1,
    )


def write_advice(template: str, files: Files, run: RunState, config: dict[str, Any]) -> str:
    """Return an advice with its placeholders filled in.

    config: the run's, by dotted key, for the present values of its settings.
    """
    directory = shlex.quote(str(files.sweep_dir))
    sweep = f"`gantrain launch sweep {shlex.quote(files.sweep_file or 'FILE')}`"
    retry = f"`gantrain launch retry {directory} {run.run}`"
    where = f"under `set:` in {files.sweep_file}" if files.sweep_file else "in the config"
    values = {
        "retry": retry,
        "cancel": f"`gantrain launch cancel {directory} {run.run}`",
        "sweep": sweep,
        "resume": sweep if files.sweep_file and run.state == "interrupted" else retry,
        "tail": f"`gantrain launch tail {directory} {run.run}`",
        "tail_other_rank": f"`gantrain launch tail {directory} {run.run} --rank 1`",
        "where": where,
        "cluster": files.cluster_file or "the cluster file",
        "node": run.nodes or "the node",
        "job": run.job,
        "less_gpu_memory": _less_gpu_memory(files, where, retry, sweep),
    }
    for key in ("checkpoint_every_kimg", "keep_checkpoints"):
        values[key] = _now(config.get(f"output.{key}"))
    return template.format_map(_Values(files.cluster, values))


class _Values(dict[str, str]):
    """Placeholders; any other one is a key of the cluster file, and shows its present value."""

    def __init__(self, cluster: dict[str, Any], values: dict[str, str]) -> None:
        super().__init__(values)
        self._cluster = cluster

    def __missing__(self, key: str) -> str:
        return _now(self._cluster.get(key))


def _less_gpu_memory(files: Files, where: str, retry: str, sweep: str) -> str:
    other = f"lower `training.batch_size` {where}: that makes other runs, which {sweep} submits"
    if files.pack == 1:
        return f"{other}; or choose a larger GPU in {files.cluster_file or 'the cluster file'}"
    place = files.sweep_file or "the sweep file"
    return f"lower `pack` (now {files.pack}) in {place}, then {retry}; or {other}"


def _now(value: object) -> str:
    return f" (now {format_value(value)})" if value not in (None, "", [], {}) else ""


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
