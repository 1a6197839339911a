"""From a plan to jobs: what is missing, packed and submitted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gantrain.common.errors import UserError
from launch import attempts, ledger
from launch.cluster import Cluster
from launch.ledger import Element, Submission
from launch.plan import PlannedRun, differing_keys, run_name
from launch.snapshot import snapshot_code
from launch.states import (
    DEAD,
    OVER,
    TO_SUBMIT,
    RunState,
    Standing,
    State,
    alive_arrays,
    read_standing,
)
from launch.submission import Order, recover, submit_all
from launch.sweepdir import KnownRun, add_runs, run_dir, write_config, write_settings


@dataclass(frozen=True)
class Launch:
    """A sweep, ready to be launched."""

    name: str
    sweep_dir: Path
    cluster: Cluster
    pack: int = 1
    throttle: int = 64
    metric: str | None = None
    direction: str = "min"
    early_stop: dict[str, Any] | None = None


@dataclass(frozen=True)
class Launched:
    """What a launch did."""

    submitted: list[str]
    left: dict[str, int]
    jobs: list[Submission]
    recovered: list[str] = field(default_factory=list)


def launch_runs(launch: Launch, planned: Sequence[PlannedRun]) -> Launched:
    """Submit the runs that were never submitted, and those that were interrupted."""
    with ledger.locked(launch.sweep_dir) as lock:
        recovered = recover_all(launch.sweep_dir)
        everything = add_runs(launch.sweep_dir, planned)
        write_settings(launch.sweep_dir, _settings(launch))
        standing = _certain_standing(launch.sweep_dir)
        wanted = {run.id for run in planned}
        states = {run.run: run.state for run in standing.runs if run.run in wanted}
        missing = [run for run in planned if states[run.id] in TO_SUBMIT]
        jobs = _submit(launch, missing, everything, standing, lock)
    return Launched([run.id for run in missing], _count(states, missing), jobs, recovered)


def retry_runs(
    launch: Launch, runs: Sequence[PlannedRun], states: Sequence[State], named: bool
) -> Launched:
    """Submit again the runs that are in one of these states, and no other.

    A run that the user named is retried even where it was cancelled or stopped.
    """
    with ledger.locked(launch.sweep_dir) as lock:
        recovered = recover_all(launch.sweep_dir)
        standing = _certain_standing(launch.sweep_dir)
        found = {run.run: run for run in standing.runs}
        again = [run for run in runs if _may_retry(found[run.id], states, named)]
        for run in again:
            for mark in (attempts.CANCEL, attempts.EARLY_STOP):
                (run_dir(launch.sweep_dir, run.id) / mark).unlink(missing_ok=True)
        everything = [KnownRun(run.run, run.flat) for run in standing.runs]
        jobs = _submit(launch, again, everything, standing, lock)
    left = {run.run: run.state for run in standing.runs if run.run in {r.id for r in runs}}
    return Launched([run.id for run in again], _count(left, again), jobs, recovered)


def recover_all(sweep_dir: Path) -> list[str]:
    """Settle the submissions of launchers that died; the caller holds the lock."""
    recovered = []
    for submission in ledger.read_ledger(sweep_dir):
        if submission.fate == "intent":
            found = recover(sweep_dir, submission)
            what = f"is job {found.job}" if found else "never reached the cluster"
            recovered.append(f"submission {submission.token} of a launcher that died {what}")
    return recovered


def packs_of(runs: Sequence[str], size: int) -> list[Element]:
    """Jobs of one pack each, in the order of the runs."""
    return [[list(runs[i : i + size])] for i in range(0, len(runs), size)]


def order_for(launch: Launch, code: Path) -> Order:
    """How this launch's jobs are submitted."""
    worker = {"early_stop": launch.early_stop}
    return Order(launch.sweep_dir, launch.name, launch.cluster, code, launch.throttle, worker)


def _submit(
    launch: Launch,
    runs: Sequence[PlannedRun],
    everything: Sequence[KnownRun],
    standing: Standing,
    lock: int,
) -> list[Submission]:
    if not runs:
        return []
    keys = differing_keys([run.flat for run in everything])
    for run in runs:
        write_config(launch.sweep_dir, run, launcher_settings(launch, run, keys))
    code = snapshot_code(launch.sweep_dir).absolute()
    alive = alive_arrays(standing)
    elements = packs_of([run.id for run in runs], launch.pack)
    return submit_all(order_for(launch, code), elements, lock, alive[-1] if alive else None)


def launcher_settings(launch: Launch, run: PlannedRun, keys: Sequence[str]) -> dict[str, Any]:
    """What the launcher sets in the trainer's config: nothing that changes what is learnt."""
    return {
        "output.run_dir": str(run_dir(launch.sweep_dir, run.id).absolute()),
        "output.resume": "auto",
        "training.world_size": launch.cluster.world_size,
        "wandb.group": run.flat["wandb.group"] or launch.name,
        "wandb.name": run_name(run.flat, keys) or run.id,
    }


def _settings(launch: Launch) -> dict[str, Any]:
    return {
        "name": launch.name,
        "cluster": launch.cluster.model_dump(mode="json"),
        "pack": launch.pack,
        "throttle": launch.throttle,
        "metric": launch.metric,
        "direction": launch.direction,
        "early_stop": launch.early_stop,
    }


def _certain_standing(sweep_dir: Path) -> Standing:
    standing = read_standing(sweep_dir)
    if standing.trouble:
        raise UserError(
            f"Slurm could not be asked what runs already ({standing.trouble}); nothing was "
            "submitted. Try again when it answers."
        )
    return standing


def _may_retry(run: RunState, states: Sequence[State], named: bool) -> bool:
    return run.state in states or (named and (run.state in DEAD or run.state in OVER[1:]))


def _count(states: Mapping[str, str], taken: Sequence[PlannedRun]) -> dict[str, int]:
    gone = {run.id for run in taken}
    counts: dict[str, int] = {}
    for run, state in states.items():
        if run not in gone:
            counts[state] = counts.get(state, 0) + 1
    return counts
