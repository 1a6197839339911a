"""The plan command: the runs of a sweep, their states, and a forecast."""

from collections.abc import Sequence
from pathlib import Path

from launch.forecast import Forecast, forecast, measured_speed, probe_speed
from launch.launcher import job_spec, pack_runs
from launch.plan import PlannedRun, SweepPlan, differences, differing_keys, plan_sweep, short_names
from launch.settings import LaunchSettings, settings_from_file
from launch.states import SUBMITTABLE, State, read_sweep_status
from launch.submission import job_script
from launch.sweepdir import RUNS
from launch.sweepfile import load_sweep
from launch.tables import print_json, print_omitted, print_table
from launch.values import format_value


def show_plan(
    sweep_file: Path,
    cluster: str | None,
    resources: Sequence[str] | None,
    *,
    probe: bool,
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
    cost = _forecast(settings, runs, missing, probe)
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
    settings: LaunchSettings, runs: Sequence[PlannedRun], missing: Sequence[PlannedRun], probe: bool
) -> Forecast | None:
    speed = measured_speed(settings.sweep_dir, [run.id for run in runs])
    if speed is None and probe and missing:
        speed = probe_speed(missing[0])
    if speed is None:
        return None
    return forecast(missing, settings.cluster.devices, settings.pack, *speed)


def _example_script(settings: LaunchSettings, missing: Sequence[PlannedRun]) -> str:
    spec = job_spec(settings, settings.sweep_dir.absolute() / "code" / "DIGEST")
    return job_script(spec, "TOKEN", _count_jobs(settings, missing) or 1)


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
    print(f"{len(runs):,} runs in {settings.sweep_dir}/runs")


def _print_forecast(
    settings: LaunchSettings, missing: Sequence[PlannedRun], cost: Forecast | None
) -> None:
    cluster = settings.cluster
    device = "GPU" if cluster.gpus_per_node else "CPU"
    packed = f" of {settings.pack} runs each" if settings.pack > 1 else ""
    print(
        f"{len(missing):,} to submit as {_count_jobs(settings, missing):,} jobs{packed} "
        f"({cluster.executor}, {cluster.devices} {device}s per job, at most {settings.throttle} "
        "at a time)"
    )
    if cost is None:
        print("forecast: none yet; --probe measures the speed on this machine")
        return
    print(
        f"forecast: {cost.device_hours:,.2f} {device} hours, longest run "
        f"{cost.longest_run_hours:,.2f} h, at {cost.images_per_second:,.0f} images/s "
        f"({cost.source})"
    )


def _count_jobs(settings: LaunchSettings, missing: Sequence[PlannedRun]) -> int:
    return len(pack_runs([run.id for run in missing], settings.pack))
