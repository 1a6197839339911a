"""The launcher on a newer Slurm than the operating system's, with preemption and scancel."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.launch.conftest import (
    ROOT,
    SLURM_CLUSTER,
    SlurmCluster,
    Sweep,
    base_tree,
    run_cluster,
)
from tests.waiting import wait_until

pytestmark = pytest.mark.slurm
PREFIX = ROOT / ".slurm"  # where `make system` puts it


@pytest.fixture(scope="module")
def newest_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmCluster]:
    """The newest Slurm that was to be had, with accounting."""
    yield from run_cluster(tmp_path_factory, "newest", "mariadbd", prefix=str(PREFIX))


def test_array_preempted_and_cancelled(
    newest_cluster: SlurmCluster, make_sweep: Callable[..., Sweep], squares: Path
) -> None:
    sweep = make_sweep(
        SLURM_CLUSTER,
        base=base_tree(squares, kimg=8),
        environment=newest_cluster.environment,
        grid={"training.batch_size": [8, 16, 32]},
    )
    sweep.run("sweep", str(sweep.file))
    first, second, _ = [row["run"] for row in sweep.runs()]
    sweep.wait_images(first, 480)
    newest_cluster.call(
        *("sbatch", "-p", "high", "--exclusive", "-N2", "-o", "/dev/null", "--wrap", "srun sleep 1")
    )
    wait_until(lambda: len(sweep.starts(first)) == 2, 480, lambda: f"{sweep.runs()}{sweep.logs()}")
    sweep.run("cancel", str(sweep.file), second)
    rows = {row["run"]: row for row in sweep.wait("finished", "cancelled")}
    assert rows.pop(second)["state"] == "cancelled"
    assert {row["state"] for row in rows.values()} == {"finished"}
    assert [start["images"] > 0 for start in sweep.starts(first)] == [False, True]
    assert sweep.json("doctor")["diagnoses"] == []
