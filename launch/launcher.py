"""Submit the runs of a sweep that need it: find them, pack them into jobs, record the jobs."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gantrain.common.errors import UserError
from launch import ledger
from launch.attempts import CANCEL, EARLY_STOP
from launch.code_snapshot import snapshot_code
from launch.edited_files import EditedFiles
from launch.ledger import ArrayTask, Submission
from launch.plan import PlannedRun, differing_keys, run_name
from launch.settings import LaunchSettings
from launch.states import (
    ENDED_EARLY,
    SUBMITTABLE,
    RunState,
    State,
    SweepStatus,
    active_arrays,
    read_sweep_status,
)
from launch.submission import JobSpec, settle_intent, submit_tasks
from launch.sweepdir import StoredRun, add_runs, run_dir, write_config, write_settings

_RETRIED: tuple[State, ...] = ("failed", "vanished")
_RETRIED_BY_NAME: tuple[State, ...] = (*ENDED_EARLY, "stopped", "cancelled")


@dataclass(frozen=True)
class LaunchResult:
    """The runs that were submitted, in which jobs, and the states of the other runs.

    others: state to number of runs. recovered: what became of unfinished submissions of launchers
    that died, one line each for display. waiting: the runs for which Slurm has no place now,
    because of `limit`. active: jobs of the sweep that Slurm has.
    """

    submitted: list[str]
    others: dict[str, int]
    jobs: list[Submission]
    recovered: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    limit: str = ""
    active: int = 0


def submit_missing(settings: LaunchSettings, planned: Sequence[PlannedRun]) -> LaunchResult:
    """Submit the planned runs that were never submitted, and those that were interrupted.

    Raises UserError if the cluster refuses a job, or if Slurm does not respond.
    """
    sweep_dir = settings.sweep_dir
    with ledger.locked(sweep_dir) as lock:
        recovered = settle_intents(sweep_dir)
        every_run = add_runs(sweep_dir, planned)
        write_settings(sweep_dir, settings.to_json())
        status = _require_status(sweep_dir)
        ids = {run.id for run in planned}
        states = {run.run: run.state for run in status.runs if run.run in ids}
        missing = [run for run in planned if states[run.id] in SUBMITTABLE]
        submitted = _submit(settings, missing, every_run, status, lock)
    return replace(submitted, others=_count(states, missing), recovered=recovered)


def resubmit(files: EditedFiles, chosen: Sequence[RunState], *, named: bool) -> LaunchResult:
    """Submit the chosen runs that failed or vanished again, with what their files say now.

    named: the user named the runs, so retry cancelled, stopped and interrupted ones as well.

    Raises UserError if the cluster refuses a job, or if Slurm does not respond.
    """
    settings = files.settings
    sweep_dir = settings.sweep_dir
    with ledger.locked(sweep_dir) as lock:
        recovered = settle_intents(sweep_dir)
        status = _require_status(sweep_dir)
        current = {run.run: run for run in status.runs}
        runs = [current[run.run] for run in chosen]
        retried = _RETRIED_BY_NAME if named else _RETRIED
        # Without its config, which a damaged line had, a run cannot be submitted.
        again = files.plan([run for run in runs if run.state in retried and run.flat])
        if again and files.to_store is not None:
            write_settings(sweep_dir, files.to_store.to_json())
        every_run = [StoredRun(run.run, run.flat) for run in status.runs]
        with _without_markers(sweep_dir, again):
            submitted = _submit(settings, again, every_run, status, lock)
    states = {run.run: run.state for run in runs}
    return replace(submitted, others=_count(states, again), recovered=recovered)


@contextmanager
def _without_markers(sweep_dir: Path, runs: Sequence[PlannedRun]) -> Iterator[None]:
    # A worker that started while a marker is there would end the run. Runs that found no place in
    # the queue stay stopped or cancelled.
    before = {s.token for s in ledger.read_ledger(sweep_dir)}
    removed: dict[Path, bytes] = {}
    for run in runs:
        for marker in (CANCEL, EARLY_STOP):
            path = run_dir(sweep_dir, run.id) / marker
            with suppress(FileNotFoundError):
                removed[path] = path.read_bytes()
                path.unlink()
    try:
        yield
    finally:
        new = [s for s in ledger.read_ledger(sweep_dir) if s.token not in before]
        submitted = ledger.latest_tasks(new).keys()
        for path, content in removed.items():
            if path.parent.name not in submitted:
                path.write_bytes(content)


def settle_intents(sweep_dir: Path) -> list[str]:
    """Settle the submissions of launchers that died; return one line for display for each.

    The caller holds the ledger's lock.
    """
    lines = []
    for submission in ledger.read_ledger(sweep_dir):
        if submission.status != "intent":
            continue
        settled = settle_intent(sweep_dir, submission)
        if settled is submission:
            outcome = f"is left open: only {submission.cluster}, where it was made, knows its job"
        else:
            outcome = f"is job {settled.job}" if settled else "never reached the cluster"
        lines.append(f"submission {submission.token} of a launcher that died {outcome}")
    return lines


def pack_runs(runs: Sequence[str], size: int) -> list[ArrayTask]:
    """Return array tasks of one pack of at most `size` runs each, in the order of the runs."""
    return [[list(runs[i : i + size])] for i in range(0, len(runs), size)]


def job_spec(settings: LaunchSettings, code: Path) -> JobSpec:
    """Return the job specification of a launch; `code` is the snapshot that its jobs import."""
    return JobSpec(
        sweep_dir=settings.sweep_dir,
        name=settings.name,
        cluster=settings.cluster,
        code=code,
        throttle=settings.throttle,
        worker_settings={"early_stop": settings.early_stop},
        cwd=(settings.project or Path()).absolute(),
    )


def trainer_overrides(
    settings: LaunchSettings, run: PlannedRun, keys: Sequence[str]
) -> dict[str, Any]:
    """Return the config keys that the launcher sets; none of them affects the trained weights."""
    return {
        "output.run_dir": str(run_dir(settings.sweep_dir, run.id).absolute()),
        "output.resume": "auto",
        "training.world_size": settings.cluster.world_size,
        "wandb.group": run.flat["wandb.group"] or settings.name,
        "wandb.name": run_name(run.flat, keys) or run.id,
    }


def _submit(
    settings: LaunchSettings,
    runs: Sequence[PlannedRun],
    every_run: Sequence[StoredRun],
    status: SweepStatus,
    lock: int,
) -> LaunchResult:
    active = active_arrays(status, settings.throttle)
    count = sum(array.tasks for array in active)
    if not runs:
        return LaunchResult([], {}, [], active=count)
    keys = differing_keys([run.flat for run in every_run])
    for run in runs:
        write_config(settings.sweep_dir, run, trainer_overrides(settings, run, keys))
    code = snapshot_code(settings.sweep_dir).absolute()
    tasks = pack_runs([run.id for run in runs], settings.pack)
    jobs, limit = submit_tasks(job_spec(settings, code), tasks, lock, active)
    done = ledger.latest_tasks(jobs)
    return LaunchResult(
        [run.id for run in runs if run.id in done],
        {},
        jobs,
        waiting=[run.id for run in runs if run.id not in done],
        limit=limit,
        active=count + sum(len(job.tasks) for job in jobs),
    )


def _require_status(sweep_dir: Path) -> SweepStatus:
    status = read_sweep_status(sweep_dir)
    if status.slurm_error:
        raise UserError(
            f"Slurm does not report which runs it has already ({status.slurm_error}), so nothing "
            "was submitted. Try again when it responds."
        )
    return status


def _count(states: Mapping[str, str], excluded: Sequence[PlannedRun]) -> dict[str, int]:
    ids = {run.id for run in excluded}
    counts: dict[str, int] = {}
    for run, state in states.items():
        if run not in ids:
            counts[state] = counts.get(state, 0) + 1
    return counts
