"""The commands that start or end jobs: sweep, submit, retry, cancel."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from gantrain.common.access import follow_group_access
from gantrain.common.errors import UserError
from gantrain.common.text import counted
from launch import slurm
from launch.attempts import CANCEL, write_marker
from launch.cluster import find_cluster, load_cluster
from launch.damage import warn_of_damage
from launch.edited_files import EditedFiles
from launch.launcher import LaunchResult, resubmit, submit_missing
from launch.places import describe_waiting, require_place, submit_in_turns
from launch.plan import plan_run, plan_sweep
from launch.settings import (
    LaunchSettings,
    cluster_in_files,
    parse_resources,
    settings_from_file,
)
from launch.states import RunState, State, SweepStatus, read_sweep_status, select_runs
from launch.status_commands import find_status
from launch.sweepdir import find_sweep_dir, run_dir
from launch.sweepfile import load_sweep
from launch.tables import print_json

_CANCELLABLE: tuple[State, ...] = ("pending", "requeued", "running", "interrupted", "vanished")
_WITHOUT_WORK: tuple[State, ...] = ("finished", "stopped", "cancelled", "failed")


def submit_sweep(
    sweep_file: Path,
    cluster: str | None,
    resources: Sequence[str] | None,
    *,
    wait: bool,
    json: bool,
) -> None:
    """Submit the runs of a sweep file that are new or were interrupted.

    wait: until Slurm has accepted all of them, if it does not at once.
    """
    sweep = load_sweep(sweep_file)
    settings = settings_from_file(sweep, sweep_file, cluster, resources)
    planned = plan_sweep(sweep, sweep_file, settings.cluster.world_size)
    if not wait:
        result = submit_missing(settings, planned.runs)
        require_place(result, "submitted")
        _print_result(settings, result, "submitted", json, planned.notices)
        return
    turns: list[LaunchResult] = []
    for result in submit_in_turns(settings, planned.runs):
        if not json and (result.submitted or not turns):
            _print_result(settings, result, "submitted", json, () if turns else planned.notices)
        turns.append(result)
    if json:
        _print_result(settings, _together(turns), "submitted", json, planned.notices)


def _together(turns: Sequence[LaunchResult]) -> LaunchResult:
    return replace(
        turns[-1],
        submitted=[run for turn in turns for run in turn.submitted],
        jobs=[job for turn in turns for job in turn.jobs],
        recovered=[line for turn in turns for line in turn.recovered],
    )


def submit_run(
    config: Path,
    overrides: Sequence[str],
    cluster: str,
    resources: Sequence[str] | None,
    directory: Path,
    *,
    json: bool,
) -> None:
    """Submit one training config as a run of the sweep in `directory`."""
    file = find_cluster(cluster)
    chosen = load_cluster(cluster, parse_resources(resources))
    settings = LaunchSettings(
        name=directory.name,
        sweep_dir=directory,
        cluster=chosen,
        cluster_file=file.absolute(),
        cluster_option=True,
        in_files=cluster_in_files(file, {}, chosen),
    )
    run = plan_run(config, overrides, settings.cluster.world_size)
    result = submit_missing(settings, [run])
    require_place(result, "submitted")
    _print_result(settings, result, "submitted", json)


def retry_runs(
    target: Path,
    runs: Sequence[str] | None,
    cluster: str | None,
    resources: Sequence[str] | None,
    *,
    json: bool,
) -> None:
    """Submit runs again: failed and vanished ones, or the named ones unless they are finished."""
    sweep_dir = find_sweep_dir(target)
    files = EditedFiles(target, sweep_dir, cluster, resources)
    status = read_sweep_status(sweep_dir)
    selected = select_runs(status.runs, runs)
    warn_of_damage(status, selected)
    result = resubmit(files, selected, named=bool(runs))
    require_place(result, "retried")
    _print_result(files.settings, result, "retried", json, files.lines)


def cancel_runs(target: Path, runs: Sequence[str] | None, *, everything: bool, json: bool) -> None:
    """Cancel queued and running runs.

    Raises UserError unless either runs or `everything` is given.
    """
    if bool(runs) == everything:
        raise UserError("cancel: name the runs, or give --all.")
    sweep_dir, status = find_status(target)
    follow_group_access(sweep_dir)
    chosen = select_runs(status.runs, runs)
    warn_of_damage(status, chosen)
    selected = [run for run in chosen if run.state in _CANCELLABLE]
    for run in selected:
        write_marker(run_dir(sweep_dir, run.run), CANCEL, reason="launch cancel")
    jobs = _cancel_queued_jobs(status, {run.run for run in selected})
    if json:
        print_json({"cancelled": [run.run for run in selected], "jobs": jobs})
    else:
        removed = counted(len(jobs), "queued job")
        print(f"{counted(len(selected), 'run')} cancelled, {removed} removed")


def _cancel_queued_jobs(status: SweepStatus, cancelled: set[str]) -> list[str]:
    # A running job's worker sees the marker and ends the run; a queued job has no worker yet.
    queued: dict[str, list[RunState]] = {}
    for run in status.runs:
        if slurm.TaskInfo(run.slurm).active and run.slurm not in ("RUNNING", "COMPLETING"):
            queued.setdefault(run.job, []).append(run)
    jobs = [
        job
        for job, members in queued.items()
        if any(m.run in cancelled for m in members)
        and all(m.run in cancelled or m.state in _WITHOUT_WORK for m in members)
    ]
    names = {submission.token: submission.job_name for submission in status.submissions}
    slurm.cancel_jobs(slurm.JobName(job, names[queued[job][0].token]) for job in jobs)
    return jobs


def _print_result(
    settings: LaunchSettings,
    result: LaunchResult,
    verb: str,
    json: bool,
    notices: Sequence[str] = (),
) -> None:
    if json:
        print_json(
            {
                "submitted": result.submitted,
                "waiting": result.waiting,
                "limit": result.limit,
                "left": result.others,
                "jobs": [{"token": job.token, "job": job.job} for job in result.jobs],
                "recovered": result.recovered,
                "notices": list(notices),
                "directory": settings.sweep_dir,
            }
        )
        return
    for line in (*notices, *result.recovered):
        print(line)
    jobs = ", ".join(job.job for job in result.jobs)
    others = ", ".join(f"{count} {state}" for state, count in result.others.items())
    print(
        f"{counted(len(result.submitted), 'run')} {verb}"
        + (f" as {settings.cluster.executor} jobs {jobs}" if jobs else "")
        + (f"; other runs: {others}" if others else "")
    )
    if result.waiting:
        print(describe_waiting(result, verb))
    print(f"gantrain launch status {settings.sweep_dir}")
