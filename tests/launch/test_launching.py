"""The ledger under launchers that die at every point, against a Slurm that is played."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from gantrain.common.errors import UserError
from launch import ledger, slurm, submission
from launch.cluster import Cluster
from launch.launching import Launch, Launched, launch_runs
from launch.ledger import latest_places, read_ledger
from launch.plan import plan_runs
from launch.states import read_standing
from launch.sweepfile import load_sweep
from tests.launch.conftest import base_tree


class KilledError(BaseException):
    """The launcher is gone."""


@dataclass
class PlayedSlurm:
    """Takes jobs, lists them, counts its calls, and dies where it is told to."""

    jobs: dict[str, tuple[str, int]] = field(default_factory=dict)  # job to name and tasks
    calls: list[str] = field(default_factory=list)
    steps: int = 0
    die_at: int = -1
    refuse: bool = False
    max_array: int = 4

    def step(self) -> None:
        """A point at which a launcher may die."""
        self.steps += 1
        if self.steps == self.die_at:
            raise KilledError

    def sbatch(self, text: str) -> str:
        """Take an array."""
        self.step()
        if self.refuse:
            raise UserError("sbatch: error: QOSMaxSubmitJobPerUserLimit")
        name = text.split("--job-name=")[1].split()[0]
        last = int(text.split("--array=0-")[1].split("%")[0])
        self.jobs[str(100 + len(self.jobs))] = (name, last + 1)
        self.step()
        return list(self.jobs)[-1]

    def call(self, command: list[str]) -> str:
        """Answer as Slurm's commands do."""
        self.calls.append(command[0])
        if command[:2] == ["scontrol", "show"]:
            size = f"MaxArraySize = {self.max_array}"
            return f"AccountingStorageType = accounting_storage/none\n{size}\n"
        assert command[0] == "squeue"
        names = [part.removeprefix("--name=") for part in command if part.startswith("--name=")]
        if names:
            return "\n".join(job for job, (name, _) in self.jobs.items() if name == names[0])
        rows = [f"{j}|{i}|PENDING|Priority|" for j, (_, n) in self.jobs.items() for i in range(n)]
        return "\n".join(rows)


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> PlayedSlurm:
    """No real Slurm is asked."""
    game = PlayedSlurm()
    append = ledger._append

    def writing(sweep_dir: Path, line: dict[str, Any]) -> None:
        game.step()
        append(sweep_dir, line)
        game.step()

    def sbatch(self: object, text: str, script: Path) -> str:
        return game.sbatch(text)

    monkeypatch.setattr(ledger, "_append", writing)
    monkeypatch.setattr(slurm, "call", game.call)
    monkeypatch.setattr(submission._WaitingExecutor, "sbatch", sbatch)
    monkeypatch.setattr(submission._WaitingExecutor, "affinity", classmethod(lambda cls: 2))
    monkeypatch.setattr("launch.launching.snapshot_code", lambda folder: folder / "code")
    return game


@pytest.fixture
def launch_ten(tmp_path: Path) -> Callable[[], Launched]:
    """Launches a sweep of ten runs: arrays of 4, 4 and 2."""
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base_tree(Path("squares"))))
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump({"name": "s", "base": "base.yaml", "seeds": 10}))
    runs = plan_runs(load_sweep(path), path, 1)
    launch = Launch("s", tmp_path / "sweep", Cluster(executor="slurm"), throttle=3)
    return lambda: launch_runs(launch, runs)


def check_everything_once(played: PlayedSlurm, sweep_dir: Path) -> None:
    places = latest_places(read_ledger(sweep_dir))
    jobs = [place.job for place in places.values()]
    assert len(places) == len(set(jobs)) == 10
    known = {f"{job}_{i}" for job, (_, count) in played.jobs.items() for i in range(count)}
    assert set(jobs) == known  # nothing lost, nothing that the ledger does not know


@pytest.mark.parametrize("point", range(1, 19))
def test_killed_at_every_point(
    played: PlayedSlurm, launch_ten: Callable[[], Launched], tmp_path: Path, point: int
) -> None:
    played.die_at = point
    with pytest.raises(KilledError):
        launch_ten()
    launch_ten()
    assert launch_ten().submitted == []
    check_everything_once(played, tmp_path / "sweep")


def test_there_are_no_more_points(
    played: PlayedSlurm, launch_ten: Callable[[], Launched], tmp_path: Path
) -> None:
    done = launch_ten()
    assert played.steps == 18  # three arrays: intent, sbatch, submitted, before and after each
    assert len(done.submitted) == 10
    assert [len(job.elements) for job in done.jobs] == [4, 4, 2]
    check_everything_once(played, tmp_path / "sweep")


def test_a_line_cut_short_by_a_crash(
    played: PlayedSlurm, launch_ten: Callable[[], Launched], tmp_path: Path
) -> None:
    launch_ten()
    path = tmp_path / "sweep" / "ledger.jsonl"
    text = path.read_text().rstrip("\n")
    path.write_text(text[: -len(text.splitlines()[-1]) // 2])
    again = launch_ten()
    assert again.submitted == []
    assert len(again.recovered) == 1
    check_everything_once(played, tmp_path / "sweep")


def test_a_refusal_leaves_what_was_taken(
    played: PlayedSlurm, launch_ten: Callable[[], Launched], tmp_path: Path
) -> None:
    played.refuse = True
    with pytest.raises(UserError, match="QOSMaxSubmitJob"):
        launch_ten()
    assert played.jobs == {}
    played.refuse = False
    assert len(launch_ten().submitted) == 10
    check_everything_once(played, tmp_path / "sweep")


def test_later_arrays_wait_for_earlier_ones(
    played: PlayedSlurm,
    launch_ten: Callable[[], Launched],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    texts: list[str] = []
    take = played.sbatch

    def noting(text: str) -> str:
        texts.append(text)
        return take(text)

    monkeypatch.setattr(played, "sbatch", noting)
    launch_ten()
    assert ["--dependency" in text for text in texts] == [False, True, True]
    assert "--dependency=afterany:100" in texts[1]
    assert "--array=0-3%3" in texts[0]
    assert "--array=0-1%2" in texts[2]


def test_slurm_silent_submits_nothing(
    played: PlayedSlurm, launch_ten: Callable[[], Launched], monkeypatch: pytest.MonkeyPatch
) -> None:
    launch_ten()

    def silent(command: list[str]) -> str:
        raise UserError("squeue: Unable to contact slurm controller")

    monkeypatch.setattr(slurm, "call", silent)
    with pytest.raises(UserError, match="nothing was submitted"):
        launch_ten()


def test_status_of_a_thousand_runs_in_two_calls(played: PlayedSlurm, tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base_tree(Path("squares"))))
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump({"name": "s", "base": "base.yaml", "seeds": 1000}))
    runs = plan_runs(load_sweep(path), path, 1)
    launch = Launch("s", tmp_path / "sweep", Cluster(executor="slurm"))
    played.max_array = 300
    launch_runs(launch, runs)
    for run in runs[:500]:
        folder = tmp_path / "sweep" / "runs" / run.id
        folder.mkdir(parents=True)
        (folder / "status.json").write_text(json.dumps({"state": "finished", "images_seen": 160}))
    assert len(played.jobs) == 4
    played.calls.clear()
    standing = read_standing(tmp_path / "sweep")
    assert played.calls == ["scontrol", "squeue"]  # and sacct, where there are accounts
    states = [run.state for run in standing.runs]
    assert states.count("finished") == states.count("pending") == 500
