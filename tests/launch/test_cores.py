"""The cores that the launcher gives to each of the runs that it trains side by side."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from gantrain.training.threads import share_of_cores
from launch.ranks import RankInfo
from launch.trainer_process import trainer_environment
from launch.worker_job import WorkerJob


def job_of(cores: int, ranks: int, *, under_slurm: bool) -> WorkerJob:
    info = RankInfo("1", 0, 0, 0, ranks, ranks, "localhost", 4000, 0, under_slurm)
    return WorkerJob(Path(), "token", info, [], "", None, cores=cores)


@pytest.mark.parametrize(
    ("job", "pack", "variables", "share"),
    [
        (job_of(8, 1, under_slurm=False), 1, {}, "8"),  # one of several workers
        (job_of(8, 2, under_slurm=False), 1, {}, "4"),
        (job_of(8, 1, under_slurm=False), 3, {}, "2"),
        (job_of(2, 1, under_slurm=False), 3, {}, "1"),
        (job_of(0, 1, under_slurm=False), 3, {}, None),  # a job that an older version submitted
        (job_of(0, 2, under_slurm=True), 2, {"SLURM_CPUS_PER_TASK": "6"}, "3"),
        (job_of(8, 1, under_slurm=False), 1, {"SLURM_CPUS_PER_TASK": "6"}, "8"),  # of another job
        (job_of(8, 1, under_slurm=False), 1, {"GANTRAIN_CORES": "2", "OMP_NUM_THREADS": "2"}, "8"),
    ],
)
def test_each_run_has_its_share_of_the_cores(
    job: WorkerJob,
    pack: int,
    variables: Mapping[str, str],
    share: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("OMP_NUM_THREADS", "GANTRAIN_CORES", "SLURM_CPUS_PER_TASK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    environment = trainer_environment(job, pack)
    assert environment.get("GANTRAIN_CORES") == environment.get("OMP_NUM_THREADS") == share
    if share is not None:
        assert share_of_cores(environment) <= int(share)


def test_omp_num_threads_of_the_user_is_passed_on_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GANTRAIN_CORES", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    environment = trainer_environment(job_of(8, 1, under_slurm=False), 4)
    assert environment["OMP_NUM_THREADS"] == "5"
    assert "GANTRAIN_CORES" not in environment
