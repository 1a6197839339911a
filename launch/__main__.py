"""The command line of the launcher: `python -m launch`, also installed as `gantrain-launch`."""

import errno
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from gantrain import __version__
from gantrain.common.access import explain
from gantrain.common.errors import USER_ERROR_STATUS, UserError
from gantrain.common.logs import configure_logging
from gantrain.common.stopping import run_command


class _Group(TyperGroup):
    """Prints a UserError or an OSError as one line on stderr, and exits with its status."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except UserError as error:
            typer.echo(f"launch: {error}", err=True)
            raise typer.Exit(error.exit_status) from None
        except OSError as error:
            if error.errno == errno.EPIPE:  # the reader of the output has seen enough
                raise
            typer.echo(f"launch: {explain(error)}", err=True)
            raise typer.Exit(USER_ERROR_STATUS) from None


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

SweepFileArgument = Annotated[Path, typer.Argument(metavar="SWEEP_FILE", help="a sweep file")]
SweepArgument = Annotated[
    Path, typer.Argument(metavar="SWEEP", help="a sweep file or a sweep directory")
]
RunsArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[RUN]...", help="run ids, or their first digits; default: all runs"),
]
ClusterOption = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        "-c",
        help="cluster file, or its name in configs/clusters/; overrides the sweep's `cluster`",
    ),
]
ResourceOption = Annotated[
    list[str] | None,
    typer.Option(
        "--resource", "-r", metavar="KEY=VALUE", help="override a key of the cluster file"
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="print one JSON document")]
LimitOption = Annotated[int, typer.Option(min=0, help="maximum number of rows; 0 shows all")]
MetricOption = Annotated[
    str | None, typer.Option(help="key of metrics.jsonl; default: the sweep's `metric`")
]
DirectionOption = Annotated[
    Literal["min", "max"] | None,
    typer.Option(help="whether low or high is better; default: the sweep's `direction`"),
]
KimgOption = Annotated[
    float | None,
    typer.Option(help="compare the runs at this many kimg; default: where all finished runs are"),
]


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"gantrain {__version__}")
        raise typer.Exit


# The commands import what they need when they are called, so that --help is fast.
@app.callback()
def prepare(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="print the version and exit"
        ),
    ] = False,
) -> None:
    """Plan, submit, monitor and compare sweeps of training runs, on Slurm or on this machine."""
    configure_logging()


@app.command()
def plan(
    sweep_file: SweepFileArgument,
    cluster: ClusterOption = None,
    resource: ResourceOption = None,
    probe: Annotated[
        bool,
        typer.Option(
            "--probe",
            help="train a few batches here, alone and side by side, for the forecast",
        ),
    ] = False,
    script: Annotated[bool, typer.Option("--script", help="print the job script")] = False,
    limit: LimitOption = 40,
    json: JsonOption = False,
) -> None:
    """Show the runs of a sweep, their states and a forecast. Submits nothing."""
    from launch.plan_command import show_plan

    show_plan(
        *(sweep_file, cluster, resource), with_probe=probe, script=script, limit=limit, json=json
    )


@app.command()
def sweep(
    sweep_file: SweepFileArgument,
    cluster: ClusterOption = None,
    resource: ResourceOption = None,
    wait: Annotated[
        bool,
        typer.Option("--wait", help="submit the rest as places in Slurm's queue come free"),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Submit the runs of a sweep that are missing: new ones and interrupted ones.

    Where Slurm accepts fewer jobs at once, the other runs stay planned.
    """
    from launch.job_commands import submit_sweep

    submit_sweep(sweep_file, cluster, resource, wait=wait, json=json)


@app.command()
def submit(
    config: Annotated[Path, typer.Argument(help="a training config")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="overrides of the config"),
    ] = None,
    cluster: Annotated[
        str, typer.Option("--cluster", "-c", help="cluster file, or its name in configs/clusters/")
    ] = "local",
    resource: ResourceOption = None,
    directory: Annotated[
        Path, typer.Option("--dir", help="sweep directory that the run is added to")
    ] = Path("runs/submitted"),
    json: JsonOption = False,
) -> None:
    """Submit a single run. Further runs in the same directory form a sweep with it."""
    from launch.job_commands import submit_run

    submit_run(config, overrides or [], cluster, resource, directory, json=json)


@app.command()
def status(
    target: SweepArgument,
    runs: RunsArgument = None,
    limit: LimitOption = 40,
    json: JsonOption = False,
) -> None:
    """Show the state of every run, from Slurm and from the runs' own files."""
    from launch.status_commands import show_status

    show_status(target, runs, limit=limit, json=json)


@app.command()
def tail(
    target: SweepArgument,
    run: Annotated[str, typer.Argument(help="run id, or its first digits")],
    lines: Annotated[int, typer.Option("-n", min=1, help="number of lines")] = 20,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="keep printing new lines until interrupted")
    ] = False,
    rank: Annotated[int, typer.Option(min=0, help="rank whose log is shown")] = 0,
    json: JsonOption = False,
) -> None:
    """Show the end of a run's log, across all of its jobs."""
    from launch.status_commands import show_log

    show_log(target, run, rank=rank, lines=lines, follow=follow, json=json)


@app.command()
def doctor(target: SweepArgument, runs: RunsArgument = None, json: JsonOption = False) -> None:
    """Explain why runs ended early, and what to do."""
    from launch.status_commands import show_diagnoses

    show_diagnoses(target, runs, json=json)


@app.command()
def leaderboard(
    target: SweepArgument,
    metric: MetricOption = None,
    direction: DirectionOption = None,
    kimg: KimgOption = None,
    limit: LimitOption = 40,
    json: JsonOption = False,
) -> None:
    """Rank the runs by a metric at equal images seen, with each hyperparameter's main effect."""
    from launch.status_commands import show_leaderboard

    show_leaderboard(target, metric, direction, kimg, limit=limit, json=json)


@app.command()
def report(
    target: SweepArgument,
    metric: MetricOption = None,
    direction: DirectionOption = None,
    kimg: KimgOption = None,
    out: Annotated[
        Path | None, typer.Option(help="output file; default: report.html in the sweep directory")
    ] = None,
    run_pages: Annotated[
        bool, typer.Option(help="also write the pages of runs, which the page links to")
    ] = True,
) -> None:
    """Write an HTML page about a sweep: leaderboard, curves and samples of every run."""
    from launch.sweep_page import write_sweep_page

    write_sweep_page(target, metric, direction, kimg, out, run_pages=run_pages)


@app.command()
def retry(
    target: SweepArgument,
    runs: RunsArgument = None,
    cluster: ClusterOption = None,
    resource: ResourceOption = None,
    json: JsonOption = False,
) -> None:
    """Submit failed and vanished runs again; they resume from their newest checkpoints.

    Runs given by id are also submitted again if they were cancelled, stopped or interrupted.
    """
    from launch.job_commands import retry_runs

    retry_runs(target, runs, cluster, resource, json=json)


@app.command()
def cancel(
    target: SweepArgument,
    runs: RunsArgument = None,
    everything: Annotated[
        bool, typer.Option("--all", help="cancel every run of the sweep")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Cancel queued and running runs; running ones save a checkpoint first."""
    from launch.job_commands import cancel_runs

    cancel_runs(target, runs, everything=everything, json=json)


def main(prog_name: str = "gantrain-launch") -> None:
    """Run the command line; user errors are one line on stderr and exit status 2."""
    sys.exit(run_command("launch", lambda: app(prog_name=prog_name)))


if __name__ == "__main__":
    main("python -m launch")
