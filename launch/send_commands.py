"""Commands that send or end jobs: plan (which sends nothing), sweep, submit, retry, cancel."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from gantrain.common.errors import UserError
from gantrain.config import load_config
from launch import attempts, slurm
from launch.cluster import load_cluster
from launch.forecast import Forecast, earlier_speed, forecast, probe_speed
from launch.launching import Launch, Launched, launch_runs, order_for, packs_of, retry_runs
from launch.options import (
    ClusterOption,
    JsonOption,
    LimitOption,
    ResourceOption,
    RunsArgument,
    SweepArgument,
    SweepFileArgument,
    choose,
    launch_again,
    launch_of,
    pairs,
    say,
    shown,
    standing_of,
    told,
)
from launch.plan import (
    PlannedRun,
    differences,
    differing_keys,
    plan_run,
    plan_runs,
    short_names,
)
from launch.states import TO_SUBMIT, RunState, State, read_standing
from launch.submission import script_text
from launch.sweepdir import find_sweep_dir, run_dir
from launch.sweepfile import load_sweep
from launch.tables import cell, left_out, print_json, table

_RETRIED: tuple[State, ...] = ("failed", "vanished")


def plan(
    sweep_file: SweepFileArgument,
    cluster: ClusterOption = None,
    resource: ResourceOption = None,
    probe: Annotated[bool, typer.Option(help="train a few batches here, for the forecast")] = False,
    script: Annotated[bool, typer.Option(help="show the job script")] = False,
    limit: LimitOption = 40,
    json: JsonOption = False,
) -> None:
    """Show the runs of a sweep, which exist already, and what they will cost. Sends nothing."""
    with told():
        sweep = load_sweep(sweep_file)
        launch = launch_of(sweep, sweep_file, cluster, resource)
        runs = plan_runs(sweep, sweep_file, launch.cluster.world_size)
        states = _known_states(launch.sweep_dir)
        missing = [run for run in runs if states.get(run.id, "planned") in TO_SUBMIT]
        cost = _cost(launch, runs, missing, probe)
        order = order_for(launch, launch.sweep_dir.absolute() / "code" / "DIGEST")
        text = ""
        if script and launch.cluster.executor == "slurm":
            text = script_text(
                order, "TOKEN", len(packs_of([run.id for run in missing], launch.pack)) or 1
            )
        keys = differing_keys([run.flat for run in runs])
        if json:
            rows = [
                {
                    "run": run.id,
                    "state": states.get(run.id, "planned"),
                    "differences": differences(run.flat, keys),
                }
                for run in runs
            ]
            content = {"runs": rows, "missing": len(missing), "forecast": cost, "script": text}
            print_json({"sweep": launch.name, "directory": launch.sweep_dir, **content})
            return
        _print_plan(launch, runs, keys, states, limit)
        _print_cost(launch, missing, cost)
        if text:
            say("\n" + text)


def sweep(
    sweep_file: SweepFileArgument,
    cluster: ClusterOption = None,
    resource: ResourceOption = None,
    json: JsonOption = False,
) -> None:
    """Submit the runs that are missing: new ones, and those that were interrupted."""
    with told():
        content = load_sweep(sweep_file)
        launch = launch_of(content, sweep_file, cluster, resource)
        launched = launch_runs(launch, plan_runs(content, sweep_file, launch.cluster.world_size))
        _report(launch, launched, "submitted", json)


def submit(
    config: Annotated[Path, typer.Argument(help="a training config")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...")] = None,
    cluster: Annotated[str, typer.Option("--cluster", "-c")] = "local",
    resource: ResourceOption = None,
    directory: Annotated[Path, typer.Option("--dir", help="where the run goes")] = Path(
        "runs/submitted"
    ),
    json: JsonOption = False,
) -> None:
    """Submit one run. Others in the same directory stand beside it, as in a sweep."""
    with told():
        tree = load_config(config, overrides or []).model_dump(mode="json")
        launch = Launch(
            name=directory.name,
            sweep_dir=directory,
            cluster=load_cluster(cluster, pairs(resource)),
        )
        run = plan_run(tree, str(config), launch.cluster.world_size)
        _report(launch, launch_runs(launch, [run]), "submitted", json)


def retry(
    target: SweepArgument,
    runs: RunsArgument = None,
    cluster: ClusterOption = None,
    resource: ResourceOption = None,
    json: JsonOption = False,
) -> None:
    """Submit again what failed or vanished; each goes on from its newest checkpoint.

    Runs that are named are retried also where they were cancelled, stopped or interrupted.
    """
    with told():
        sweep_dir = find_sweep_dir(target)
        launch = launch_again(sweep_dir, cluster, resource)
        chosen = choose(read_standing(sweep_dir).runs, runs)
        planned = [PlannedRun(r.run, r.flat) for r in chosen]
        _report(launch, retry_runs(launch, planned, _RETRIED, bool(runs)), "retried", json)


def cancel(
    target: SweepArgument,
    runs: RunsArgument = None,
    everything: Annotated[bool, typer.Option("--all", help="every run of the sweep")] = False,
    json: JsonOption = False,
) -> None:
    """End runs, waiting or running; those that run write a checkpoint first."""
    with told():
        if bool(runs) == everything:
            raise UserError("cancel: name the runs, or give --all.")
        sweep_dir, standing = standing_of(target)
        chosen = [r for r in choose(standing.runs, runs) if r.state in _CANCELLABLE]
        for run in chosen:
            attempts.write_mark(
                run_dir(sweep_dir, run.run), attempts.CANCEL, reason="launch cancel"
            )
        ended = _end_waiting(standing.runs, {run.run for run in chosen})
        if json:
            print_json({"cancelled": [run.run for run in chosen], "jobs": ended})
        else:
            say(f"{len(chosen)} runs cancelled, {len(ended)} waiting jobs taken from the queue")


_CANCELLABLE: tuple[State, ...] = ("pending", "requeued", "running", "interrupted", "vanished")


def _end_waiting(runs: Sequence[RunState], cancelled: set[str]) -> list[str]:
    # Workers end what runs when they see the mark; a job that still waits has no worker.
    of_job: dict[str, list[RunState]] = {}
    for run in runs:
        if slurm.JobFact(run.slurm).alive and run.slurm not in ("RUNNING", "COMPLETING"):
            of_job.setdefault(run.job, []).append(run)
    idle = ("finished", "stopped", "cancelled", "failed")
    waiting = [
        job
        for job, members in of_job.items()
        if any(m.run in cancelled for m in members)
        and all(m.run in cancelled or m.state in idle for m in members)
    ]
    if waiting:
        slurm.call(["scancel", *waiting])
    return waiting


def _known_states(sweep_dir: Path) -> dict[str, State]:
    if not (sweep_dir / "runs.jsonl").exists():
        return {}
    return {run.run: run.state for run in read_standing(sweep_dir).runs}


def _cost(
    launch: Launch, runs: Sequence[PlannedRun], missing: Sequence[PlannedRun], probe: bool
) -> Forecast | None:
    speed = earlier_speed(launch.sweep_dir, [run.id for run in runs])
    if speed is None and probe and missing:
        speed = probe_speed(missing[0])
    if speed is None:
        return None
    return forecast(missing, launch.cluster.devices, launch.pack, *speed)


def _print_plan(
    launch: Launch,
    runs: Sequence[PlannedRun],
    keys: Sequence[str],
    states: dict[str, State],
    limit: int,
) -> None:
    count = shown(limit, len(runs))
    rows = [
        [
            run.id,
            states.get(run.id, "planned"),
            *(cell(value) for value in differences(run.flat, keys).values()),
        ]
        for run in runs[:count]
    ]
    table(["run", "state", *short_names(keys).values()], rows)
    left_out(len(runs), count)
    say(f"{len(runs):,} runs in {launch.sweep_dir}/runs")


def _print_cost(launch: Launch, missing: Sequence[PlannedRun], cost: Forecast | None) -> None:
    cluster = launch.cluster
    device = "GPU" if cluster.gpus_per_node else "CPU"
    packed = f" of {launch.pack} runs each" if launch.pack > 1 else ""
    jobs = len(packs_of([run.id for run in missing], launch.pack))
    say(
        f"{len(missing):,} to submit as {jobs:,} jobs{packed} ({cluster.executor}, "
        f"{cluster.devices} {device}s a job, at most {launch.throttle} at a time)"
    )
    if cost is None:
        say("forecast: none yet; --probe measures the speed here")
        return
    say(
        f"forecast: {cost.device_hours:,.2f} {device} hours, longest run "
        f"{cost.longest_run_hours:,.2f} h, at {cost.images_per_second:,.0f} images/s "
        f"({cost.source})"
    )


def _report(launch: Launch, launched: Launched, verb: str, json: bool) -> None:
    if json:
        jobs = [{"token": job.token, "job": job.job} for job in launched.jobs]
        print_json({**launched.__dict__, "jobs": jobs, "directory": launch.sweep_dir})
        return
    for line in launched.recovered:
        say(line)
    jobs_text = ", ".join(job.job for job in launched.jobs)
    rest = ", ".join(f"{count} {state}" for state, count in launched.left.items())
    say(
        f"{len(launched.submitted)} runs {verb}"
        + (f" as {launch.cluster.executor} jobs {jobs_text}" if jobs_text else "")
        + (f"; the others: {rest}" if rest else "")
    )
    say(f"python -m launch status {launch.sweep_dir}")
