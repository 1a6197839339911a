"""The plan command: the runs of a sweep, their states, and a forecast."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from gantrain.common.text import counted
from launch.forecast import Forecast, cost_from_probe, cost_of_earlier_runs, forecast
from launch.launcher import job_spec, pack_runs
from launch.plan import PlannedRun, SweepPlan, differences, differing_keys, plan_sweep, short_names
from launch.probe import PACKS, probe
from launch.settings import LaunchSettings, settings_from_file
from launch.states import SUBMITTABLE, State, read_sweep_status
from launch.submission import job_script
from launch.sweepdir import RUNS
from launch.sweepfile import load_sweep
from launch.tables import print_json, print_omitted, print_table
from launch.throttle import next_place
from launch.values import format_value

# Settings on which the speed of a run depends most.
_COSTLY_KEYS = (
    *("data.size", "data.channels", "data.mode", "training.batch_size", "training.updates"),
    *("training.grad_accum_steps", "training.mixed_precision", "training.compile"),
    *(f"{n}.{k}" for n in ("generator", "discriminator") for k in ("width", "kernel", "norm")),
    *("generator.upsampling", "discriminator.spectral_norm", "objective.kind"),
    *("objective.n_critic", "objective.penalty_every", "augment.diffaugment"),
)


def show_plan(
    sweep_file: Path,
    cluster: str | None,
    resources: Sequence[str] | None,
    *,
    with_probe: bool,
    script: bool,
    limit: int,
    json: bool,
) -> None:
    """Print the runs of a sweep, how many would be submitted, and a forecast. Submits nothing."""
    sweep = load_sweep(sweep_file)
    settings = settings_from_file(sweep, sweep_file, cluster, resources)
    planned = plan_sweep(sweep, sweep_file, settings.cluster.world_size)
    runs = planned.runs
    states = _read_states(settings.sweep_dir)
    missing = [run for run in runs if states.get(run.id, "planned") in SUBMITTABLE]
    if with_probe and missing:
        cost, notices = _forecast_by_probe(settings, missing)
        planned = replace(planned, notices=[*planned.notices, *notices])
    else:
        cost = _forecast(settings, runs, missing)
    text = ""
    if script and settings.cluster.executor == "slurm":
        text = _example_script(settings, missing)
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
        content |= {"points": planned.points, "notices": planned.notices}
        print_json({"sweep": settings.name, "directory": settings.sweep_dir, **content})
        return
    _print_runs(settings, planned, keys, states, limit)
    _print_forecast(settings, missing, cost)
    if text:
        print("\n" + text)


def _read_states(sweep_dir: Path) -> dict[str, State]:
    if not (sweep_dir / RUNS).exists():
        return {}
    return {run.run: run.state for run in read_sweep_status(sweep_dir).runs}


def _forecast(
    settings: LaunchSettings, runs: Sequence[PlannedRun], missing: Sequence[PlannedRun]
) -> Forecast | None:
    """Return the forecast from the sweep's own runs so far."""
    cost = cost_of_earlier_runs(settings.sweep_dir, [run.id for run in runs], settings.pack)
    if cost is None:
        return None
    devices, at_a_time = settings.cluster.devices, jobs_at_a_time(settings)
    return forecast(missing, devices, settings.pack, at_a_time, cost)


def _forecast_by_probe(
    settings: LaunchSettings, missing: Sequence[PlannedRun]
) -> tuple[Forecast | None, list[str]]:
    """Return the forecast from a probe on this machine, and what a user should know about it."""
    cluster = settings.cluster
    side_by_side = _side_by_side(settings)
    packs = {1, side_by_side, *(PACKS if cluster.world_size == 1 else ())}
    cores = cluster.cpus_per_rank if cluster.executor == "slurm" else None
    measured = probe(missing[0], sorted(packs), side_by_side, cores, settings.project or Path.cwd())
    source = f"a probe of run {measured.run} on this machine, one rank"
    notices = []
    if cluster.gpus and measured.alone.on_cpu:
        notices.append("the probe ran on the CPU; call plan --probe on a node with a GPU")
    if dear := [key for key in differing_keys([r.flat for r in missing]) if key in _COSTLY_KEYS]:
        notices.append(f"the runs differ in {', '.join(dear)}; the probe is of one of them")
    cost = cost_from_probe(measured, side_by_side, source)
    if cost is None:
        failed = measured.packs[-1]
        notices.append(f"{failed.pack} runs do not run side by side: {failed.problem}")
        return None, notices
    devices, at_a_time = cluster.devices, jobs_at_a_time(settings)
    return forecast(missing, devices, settings.pack, at_a_time, cost, measured), notices


def _side_by_side(settings: LaunchSettings) -> int:
    """Return how many runs share a device: those of a job, and of all jobs on this machine."""
    local = settings.cluster.executor == "local"
    return settings.pack * (settings.cluster.workers if local else 1)


def jobs_at_a_time(settings: LaunchSettings) -> int:
    """Return how many jobs run at the same time if none waits in a queue."""
    match settings.cluster.executor:
        case "slurm":
            return settings.throttle
        case "local":
            return settings.cluster.workers
        case "debug":
            return 1


def _example_script(settings: LaunchSettings, missing: Sequence[PlannedRun]) -> str:
    spec = job_spec(settings, settings.sweep_dir.absolute() / "code" / "DIGEST")
    return job_script(
        spec, "TOKEN", next_place([], _count_jobs(settings, missing) or 1, settings.throttle)
    )


def _print_runs(
    settings: LaunchSettings,
    planned: SweepPlan,
    keys: Sequence[str],
    states: dict[str, State],
    limit: int,
) -> None:
    runs = planned.runs
    shown = limit or len(runs)
    rows = [
        [
            run.id,
            states.get(run.id, "planned"),
            *(format_value(value) for value in differences(run.flat, keys).values()),
        ]
        for run in runs[:shown]
    ]
    print_table(["run", "state", *short_names(keys).values()], rows)
    print_omitted(len(runs), shown)
    for notice in planned.notices:
        print(notice)
    print(f"{counted(len(runs), 'run')} in {settings.sweep_dir}/runs")


def _print_forecast(
    settings: LaunchSettings, missing: Sequence[PlannedRun], cost: Forecast | None
) -> None:
    device = "GPU" if settings.cluster.gpus else "CPU"
    print(_describe_jobs(settings, len(missing), device))
    if cost is None:
        print("forecast: none yet; --probe measures the speed on this machine")
        return
    if cost.packs:
        _print_packs(settings, cost, device)
    print(
        f"forecast: {cost.device_hours:,.2f} {device} hours, longest run "
        f"{_duration(cost.longest_run_hours)}, {_duration(cost.wall_hours)} in all if no job "
        f"waits, at {cost.images_per_second:,.0f} images/s ({cost.source})"
    )


def _describe_jobs(settings: LaunchSettings, missing: int, device: str) -> str:
    """Return how many runs are to be trained, as how many jobs, and how many of them at a time."""
    cluster, jobs = settings.cluster, -(-missing // settings.pack)
    if cluster.executor == "slurm":
        packed = f" of {settings.pack} runs each" if settings.pack > 1 else ""
        devices = counted(cluster.devices, device)
        return (
            f"{missing:,} to submit as {counted(jobs, 'job')}{packed} (slurm, {devices} per job, "
            f"at most {settings.throttle} at a time)"
        )
    workers = min(jobs_at_a_time(settings), jobs)
    together = min(workers * settings.pack, missing)
    where = "in the launcher's own process" if cluster.executor == "debug" else "on this machine"
    rest = f": pack {settings.pack}, workers {workers}" if cluster.executor == "local" else ""
    return f"{missing:,} to train {where}, {together:,} at a time ({cluster.executor}{rest})"


def _duration(hours: float) -> str:
    if hours >= 1:
        return f"{hours:,.1f} h"
    return f"{hours * 60:.0f} min" if hours * 60 >= 2 else f"{hours * 3600:.0f} s"


def _print_packs(settings: LaunchSettings, cost: Forecast, device: str) -> None:
    rows = [
        [str(each.pack), f"{each.each:,.0f}", f"{each.total:,.0f}", each.problem]
        for each in cost.packs
    ]
    columns = ["side by side", "images/s each", "images/s in all", ""]
    print_table(columns, rows, f"Runs that share this machine's {device}")
    if cost.best_pack in (None, _side_by_side(settings)) or settings.cluster.world_size > 1:
        return
    own = f"this sweep has pack: {settings.pack}"
    if _side_by_side(settings) > settings.pack:
        own += f" and workers: {settings.cluster.workers}, {_side_by_side(settings)} in all"
    print(f"{cost.best_pack} runs side by side give the most images/s; {own}")


def _count_jobs(settings: LaunchSettings, missing: Sequence[PlannedRun]) -> int:
    return len(pack_runs([run.id for run in missing], settings.pack))
