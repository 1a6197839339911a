"""Options and arguments that several commands share, and how a command meets a user's mistake."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from gantrain.common.errors import UserError
from launch.cluster import Cluster, load_cluster
from launch.launching import Launch
from launch.states import RunState, Standing, read_standing
from launch.sweepdir import directory_of, find_sweep_dir, read_settings
from launch.sweepfile import SweepFile

SweepFileArgument = Annotated[Path, typer.Argument(metavar="SWEEP_FILE", help="a YAML file")]
SweepArgument = Annotated[
    Path, typer.Argument(metavar="SWEEP", help="a sweep file, or a sweep's directory")
]
RunsArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[RUN]...", help="runs, by the start of their names")
]
ClusterOption = Annotated[
    str | None, typer.Option("--cluster", "-c", help="over the sweep file's `cluster`")
]
ResourceOption = Annotated[
    list[str] | None,
    typer.Option("--resource", "-r", metavar="KEY=VALUE", help="a cluster file's key, over it"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="one JSON document")]
LimitOption = Annotated[int, typer.Option(min=0, help="rows to show; 0 shows all")]


@contextmanager
def told() -> Iterator[None]:
    """A user's mistake becomes one line on stderr and exit status 2."""
    try:
        yield
    except UserError as error:
        print(f"launch: {error}", file=sys.stderr)
        raise typer.Exit(2) from None


def pairs(options: Sequence[str] | None) -> dict[str, Any]:
    """KEY=VALUE options, the values read as YAML."""
    found = {}
    for option in options or []:
        key, sign, text = option.partition("=")
        if not sign:
            raise UserError(f"--resource {option!r}: expected KEY=VALUE, as in time=30.")
        try:
            found[key] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise UserError(f"--resource {option!r}: the value is not valid YAML.") from None
    return found


def launch_of(
    sweep: SweepFile, path: Path, cluster: str | None, resources: Sequence[str] | None
) -> Launch:
    """The launch that a sweep file and the command line describe."""
    changes = {**sweep.resources, **pairs(resources)}
    return Launch(
        name=sweep.name,
        sweep_dir=directory_of(path),
        cluster=load_cluster(cluster or sweep.cluster, changes, sweep.pack),
        pack=sweep.pack,
        throttle=sweep.throttle,
        metric=sweep.metric,
        direction=sweep.direction,
        early_stop=sweep.early_stop.model_dump() if sweep.early_stop else None,
    )


def launch_again(sweep_dir: Path, cluster: str | None, resources: Sequence[str] | None) -> Launch:
    """The launch that a sweep's directory remembers, with the command line over it."""
    settings = read_settings(sweep_dir)
    changes = pairs(resources)
    if cluster is not None:
        settings["cluster"] = load_cluster(cluster, changes, settings["pack"]).model_dump()
    unknown = [key for key in changes if key not in Cluster.model_fields]
    if unknown:
        raise UserError(f"--resource {unknown[0]}: a cluster file has no such key.")
    found = Cluster.model_validate({**settings.pop("cluster"), **changes})
    return Launch(sweep_dir=sweep_dir, cluster=found, **settings)


def standing_of(target: Path, *, ask_slurm: bool = True) -> tuple[Path, Standing]:
    """The sweep's directory and how it stands; Slurm's silence is told on stderr."""
    sweep_dir = find_sweep_dir(target)
    standing = read_standing(sweep_dir, ask_slurm=ask_slurm)
    if standing.trouble:
        console_error(f"Slurm could not be asked, so this is from the files: {standing.trouble}")
    return sweep_dir, standing


def choose(runs: Sequence[RunState], names: Sequence[str] | None) -> list[RunState]:
    """The runs whose names begin so; all without names.

    Raises UserError for a name that fits none or several.
    """
    if not names:
        return list(runs)
    chosen = []
    for name in names:
        found = [run for run in runs if run.run.startswith(name)]
        if len(found) != 1:
            what = "no run" if not found else f"{len(found)} runs"
            raise UserError(f"run {name!r}: fits {what} of the sweep; see `launch status`.")
        chosen.append(found[0])
    return chosen


def shown(limit: int, count: int) -> int:
    """Rows to show."""
    return limit or count


def console_error(message: str) -> None:
    """A line on stderr."""
    print(f"launch: {message}", file=sys.stderr)


def say(message: str) -> None:
    """A line on stdout."""
    print(message, flush=True)
