"""Every advice of doctor, followed to the letter: edit the key in the file, run the commands."""

import json
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from launch.__main__ import app
from launch.attempts import Attempt, write_end, write_start
from launch.causes import _IN_LOGS, _IN_QUEUE
from launch.cluster import Cluster
from launch.doctor import diagnose
from launch.plan import NOT_IN_ID
from launch.states import RunState, State, read_sweep_status
from launch.submission import submit_tasks
from tests.launch.conftest import base_tree

# What a user might set a key to.
VALUES: dict[str, Any] = {
    "mem": "9G",
    "exclude": "n8",
    "modules": ["m/1"],
    "setup": ["true"],
    "time": 99,
    "signal_seconds": 77,
    "account": "a",
    "qos": "q",
    "partition": "p",
    "constraint": "c",
    "cpus_per_rank": 3,
    "gpus_per_node": 1,
    "ranks_per_node": 1,
    "nodes": 1,
    "pack": 1,
    "output.checkpoint_every_kimg": 0.1,
    "output.keep_checkpoints": 1,
    "training.batch_size": 8,
    "training.clip_norm": 2.0,
    "training.mixed_precision": "bf16",
}
OTHER_COMMANDS = ("scontrol release 12_0", "sinfo -R", "|| true", "set:")


@dataclass
class Launched:
    """A sweep of two runs in one job, and the specifications of the jobs submitted since."""

    folder: Path
    runs: list[str]
    specs: list[Any] = field(default_factory=list)

    @property
    def sweep(self) -> Path:
        """The sweep directory."""
        return self.folder / "sweep"

    def config(self, run: str) -> dict[str, Any]:
        """Return the config that a run was last submitted with."""
        tree: dict[str, Any] = yaml.safe_load((self.sweep / f"configs/{run}.yaml").read_text())
        return tree


@pytest.fixture
def launched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Launched:
    """A launched sweep; from then on jobs are only recorded."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("launch.local_job.start", lambda *_, **__: "1")
    monkeypatch.setattr("launch.launcher.snapshot_code", lambda folder: folder / "code")
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base_tree(Path("squares"))))
    (tmp_path / "cluster.yaml").write_text("executor: local\nmem: 1G\n")
    tree = {"name": "s", "base": "base.yaml", "cluster": "cluster.yaml", "seeds": 2, "pack": 2}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump({**tree, "dir": "sweep"}))
    made = Launched(tmp_path, invoke("sweep", "sweep.yaml")["submitted"])

    def record(spec: Any, tasks: Any, *others: Any) -> Any:
        made.specs.append((spec, tasks))
        return submit_tasks(spec, tasks, *others)

    monkeypatch.setattr("launch.launcher.submit_tasks", record)
    return made


def invoke(*arguments: str) -> Any:
    result = CliRunner().invoke(app, [*arguments, "--json"])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


Situation = Callable[[Launched], RunState]


def ended(outcome: Any = "failed", log: str = "", **state: Any) -> Situation:
    """The first run started, wrote this log and ended; without an outcome, no end is recorded."""

    def make(launched: Launched) -> RunState:
        run = read_sweep_status(launched.sweep).runs[0]
        folder = launched.sweep / "runs" / run.run
        write_start(folder, Attempt(job=run.job, token=run.token, time=1.0, host="n1"))
        if outcome:
            write_end(folder, outcome, -9 if outcome == "killed" else 1)
        (folder / "logs").mkdir()
        (folder / "logs" / "rank0.log").write_text(f"--- job {run.job}, start 1\n{log}\n")
        (folder / "logs" / "rank1.log").write_text(f"--- job {run.job}, start 1\n")
        return read(launched, **state)

    return make


def never_started(log: str = "", **state: Any) -> Situation:
    """The first run's job left this log, and its worker did not start."""

    def make(launched: Launched) -> RunState:
        run = read(launched)
        (launched.sweep / "jobs" / run.token / f"{run.job}_0_log.err").write_text(log)
        logs = launched.sweep / "runs" / run.run / "logs"  # of an earlier start
        logs.mkdir(parents=True)
        (logs / "rank1.log").write_text("--- job 11_0, start 1\n")
        return read(launched, **state)

    return make


def read(launched: Launched, **state: Any) -> RunState:
    return replace(read_sweep_status(launched.sweep).runs[0], **{"nodes": "n1", **state})


# A line for each sign in a log.
LINES = {
    "set-up failed": "launch: set-up failed with status 1 at: module load cuda",
    "out of GPU memory": "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate",
    "out of memory": "slurmstepd: error: Detected 1 oom_kill event in StepId=12.0",
    "world-size mismatch": "gantrain: training.world_size: 4 ranks asked for, but 1 take part.",
    "import error": "ModuleNotFoundError: No module named 'torch'",
    "no Python on the node": "srun: error: execve(): /v/bin/python: No such file or directory",
    "files not visible on the node": "launch.worker: /s/jobs/ab/elements.json: cannot be read, so "
    "this job has no runs; nothing was trained.",
    "disk full": "OSError: [Errno 28] No space left on device",
    "lost connection between ranks": "RuntimeError: [gloo] Connection closed by peer [127.0.0.1]",
    "node without a working GPU": "RuntimeError: CUDA error: no CUDA-capable device is detected",
}
REASONS = {
    "more time than is allowed": "PartitionTimeLimit",
    "account not accepted": "InvalidAccount",
    "QOS not accepted": "InvalidQOS",
    "partition not available": "PartitionDown",
    "more than the partition allows": "PartitionConfig",
    "more than any node has": "BadConstraints",
    "no node that may be used": "ReqNodeNotAvail, UnavailableNodes:n1",
    "held": "launch failed requeued held",
    "waits for a job that failed": "DependencyNeverSatisfied",
}
SITUATIONS: dict[str, tuple[str, Situation]] = {
    **{cause: (cause, ended(log=line)) for cause, line in LINES.items()},
    **{f"{c} at the start": (c, never_started(line)) for c, line in LINES.items()},
    "divergence": ("divergence", ended("diverged")),
    "hang": ("hang", ended("hung")),
    "no progress": ("no progress between interruptions", ended("no-progress")),
    "interrupted": ("interrupted", ended("preempted")),
    "killed by a signal": ("killed by a signal", ended("killed")),
    "killed from outside": ("killed from outside", ended(None)),
    "error": ("error", ended(log="KeyError: 'x'")),
    "error without a line": ("error", ended()),
    "never started": ("never started", never_started("something odd\n")),
    "no log": ("never started", never_started()),
    "no node": ("no node that may be used", never_started(slurm="FAILED", nodes="")),
    **{
        slurm: (cause, ended(None, slurm=slurm))
        for slurm, cause in {
            "OUT_OF_MEMORY": "out of memory",
            "TIMEOUT": "time limit",
            "PREEMPTED": "preempted",
            "NODE_FAIL": "node failure",
        }.items()
    },
}


def test_every_sign_has_a_situation() -> None:
    assert LINES.keys() == {sign.cause for sign in _IN_LOGS}
    assert REASONS.keys() == {sign.cause for sign in _IN_QUEUE}


@pytest.mark.parametrize("name", SITUATIONS)
def test_following_the_advice_works(launched: Launched, name: str) -> None:
    cause, situation = SITUATIONS[name]
    run = situation(launched)
    diagnosis = diagnose(launched.sweep, run)
    assert diagnosis.cause == cause
    follow(launched, run, diagnosis.advice)


@pytest.mark.parametrize("cause", REASONS)
def test_following_the_advice_for_a_job_that_waits_works(launched: Launched, cause: str) -> None:
    waiting: State = "pending"
    run = read(launched, state=waiting, slurm="PENDING", reason=REASONS[cause], job="12_0")
    diagnosis = diagnose(launched.sweep, run)
    assert diagnosis.cause == cause
    follow(launched, run, diagnosis.advice)


def follow(launched: Launched, run: RunState, advice: str) -> None:
    """Make each change that the advice names, one after another, and run its commands after it."""
    quoted = re.findall(r"`([^`]+)`", advice)
    commands = [text for text in quoted if text.startswith("gantrain launch ")]
    assert commands, advice
    edits = [text for text in quoted if text not in (*commands, *OTHER_COMMANDS)]
    for text in edits or [""]:
        key = text.split(":")[0]
        if key:
            edit(launched, key, advice)
        launched.specs.clear()
        for command in commands:
            invoke(*shlex.split(command)[2:])
        if any(" retry " in f"{command} " or " sweep " in command for command in commands):
            assert_submitted(launched, run, key)
        if key.startswith(NOT_IN_ID) or key in Cluster.model_fields:
            assert any(" retry " in command for command in commands), advice


def edit(launched: Launched, key: str, advice: str) -> None:
    in_cluster = key in Cluster.model_fields
    path = launched.folder / ("cluster.yaml" if in_cluster else "sweep.yaml")
    assert f" in {path}" in advice, f"{advice}: the file of {key} is not named"
    tree = yaml.safe_load(path.read_text())
    if "." in key:
        assert f"under `set:` in {path}" in advice
        tree.setdefault("set", {})[key] = VALUES[key]
    else:
        tree[key] = VALUES[key]
    path.write_text(yaml.safe_dump(tree))


def assert_submitted(launched: Launched, run: RunState, key: str) -> None:
    submitted = [(s, pack) for s, tasks in launched.specs for task in tasks for pack in task]
    if "." in key and not key.startswith(NOT_IN_ID):
        others = [run for _, pack in submitted for run in pack if run not in launched.runs]
        assert len(others) == 2
        section, name = key.split(".")
        assert launched.config(others[0])[section][name] == VALUES[key]
        return
    spec, pack = next((s, pack) for s, pack in submitted if run.run in pack)
    if key == "pack":
        assert pack == [run.run]
    elif key in Cluster.model_fields:
        assert getattr(spec.cluster, key) == VALUES[key]
    elif key:
        section, name = key.split(".")
        assert launched.config(run.run)[section][name] == VALUES[key]
