"""What retry takes from a sweep's files as they are now."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from launch.__main__ import app
from launch.attempts import Attempt, write_end, write_start
from launch.submission import submit_tasks
from tests.launch.conftest import base_tree

CLUSTER = {"executor": "local", "mem": "200M", "time": 30, "exclude": "n1"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sweep of two runs, both failed; nothing is started."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("launch.local_job.start", lambda *_, **__: "1")
    write(tmp_path / "base.yaml", base_tree(Path("squares")))
    write(tmp_path / "cluster.yaml", CLUSTER)
    sweep = {"name": "s", "base": "base.yaml", "cluster": "cluster.yaml", "seeds": 2}
    write(tmp_path / "sweep.yaml", {**sweep, "dir": "sweep", "set": {"data.workers": 1}})
    return tmp_path


def write(path: Path, tree: dict[str, Any]) -> None:
    path.write_text(yaml.safe_dump(tree))


def edit(path: Path, **changes: Any) -> None:
    write(path, {**yaml.safe_load(path.read_text()), **changes})


def invoke(*arguments: str, status: int = 0) -> str:
    result = CliRunner().invoke(app, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == status, result.output
    return result.output


def launch(folder: Path, *options: str) -> list[str]:
    """Launch the sweep and let its runs fail; return their ids."""
    runs = json.loads(invoke("sweep", "sweep.yaml", *options, "--json"))["submitted"]
    fail(folder / "sweep", runs)
    return list(runs)


def fail(sweep: Path, runs: list[str]) -> None:
    for run in runs:
        write_start(sweep / "runs" / run, Attempt(job="1_0", token=newest(sweep), time=1.0))
        write_end(sweep / "runs" / run, "failed", 1)


def newest(sweep: Path) -> str:
    lines = [json.loads(line) for line in (sweep / "ledger.jsonl").read_text().split("\n") if line]
    return str(lines[-1]["token"])


def cluster_of(folder: Path) -> dict[str, Any]:
    tree: dict[str, Any] = json.loads((folder / "sweep" / "sweep.json").read_text())["cluster"]
    return tree


def config_of(folder: Path, run: str) -> dict[str, Any]:
    tree: dict[str, Any] = yaml.safe_load(
        (folder / "sweep" / "configs" / f"{run}.yaml").read_text()
    )
    return tree


@pytest.fixture
def submitted(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The job specifications that are submitted."""
    specs: list[Any] = []

    def record(spec: Any, tasks: Any, *others: Any) -> Any:
        specs.append((spec, tasks))
        return submit_tasks(spec, tasks, *others)

    monkeypatch.setattr("launch.launcher.submit_tasks", record)
    return specs


@pytest.mark.parametrize("target", ["sweep.yaml", "sweep"])
def test_retry_takes_the_edited_cluster_file(
    folder: Path, submitted: list[Any], target: str
) -> None:
    runs = launch(folder)
    edit(folder / "cluster.yaml", mem="2G", exclude="n1,n7", time=60, setup=["true"])
    output = invoke("retry", target)
    assert "2 runs retried" in output
    for line in ("mem: 200M → 2G", "exclude: n1 → n1,n7", "time: 30 → 60", "setup: [] → [true]"):
        assert line in output, output
    (spec, tasks) = submitted[-1]
    assert (spec.cluster.mem, spec.cluster.exclude, spec.cluster.time) == ("2G", "n1,n7", 60)
    assert sorted(run for task in tasks for pack in task for run in pack) == sorted(runs)
    # What has been taken is not a change any more.
    assert "mem" not in invoke("retry", target)


def test_the_command_line_wins_over_the_files_and_is_not_kept(
    folder: Path, submitted: list[Any]
) -> None:
    launch(folder)
    edit(folder / "cluster.yaml", mem="2G")
    output = invoke("retry", "sweep", "-r", "mem=8G")
    assert "mem: 2G → 8G in --resource" in output
    assert submitted[-1][0].cluster.mem == "8G"
    invoke("retry", "sweep")
    assert submitted[-1][0].cluster.mem == "2G"


def test_options_of_the_launch_stay_unless_the_file_changes_them(
    folder: Path, submitted: list[Any]
) -> None:
    launch(folder, "-r", "mem=1G", "-r", "time=45")
    edit(folder / "cluster.yaml", time=90)
    invoke("retry", "sweep")
    assert submitted[-1][0].cluster.mem == "1G"
    assert submitted[-1][0].cluster.time == 90


def test_the_cluster_of_the_launch_stays_if_the_command_line_named_it(
    folder: Path, submitted: list[Any]
) -> None:
    write(folder / "other.yaml", {**CLUSTER, "mem": "1G"})
    launch(folder, "-c", "other.yaml")
    edit(folder / "cluster.yaml", mem="3G")
    edit(folder / "other.yaml", time=50)
    invoke("retry", "sweep.yaml")
    assert (submitted[-1][0].cluster.mem, submitted[-1][0].cluster.time) == ("1G", 50)
    # The sweep file's own cluster, edited there.
    shutil.copy(folder / "other.yaml", folder / "third.yaml")
    edit(folder / "third.yaml", mem="5G")
    edit(folder / "sweep.yaml", cluster="third.yaml")
    invoke("retry", "sweep.yaml", "-c", "third.yaml")
    assert submitted[-1][0].cluster.mem == "5G"


def test_edits_of_the_sweep_file(folder: Path, submitted: list[Any]) -> None:
    runs = launch(folder)
    write(folder / "third.yaml", {**CLUSTER, "mem": "5G"})
    edit(folder / "sweep.yaml", cluster="third.yaml", resources={"time": 77}, pack=2, throttle=3)
    output = invoke("retry", "sweep")
    assert "pack: 1 → 2" in output
    assert "throttle: 64 → 3" in output
    spec, tasks = submitted[-1]
    assert (spec.cluster.mem, spec.cluster.time, spec.throttle) == ("5G", 77, 3)
    assert tasks == [[runs]]


@pytest.mark.parametrize("place", ["set", "base"])
def test_retry_takes_settings_outside_the_identity(
    folder: Path, submitted: list[Any], place: str
) -> None:
    runs = launch(folder)
    if place == "set":
        changes = {"output.checkpoint_every_kimg": 0.2, "data.workers": 3, "wandb.tags": ["again"]}
        edit(folder / "sweep.yaml", set=changes)
    else:
        tree = base_tree(Path("squares"))
        tree["output"]["checkpoint_every_kimg"] = 0.2
        tree["wandb"] = {"tags": ["again"]}
        write(folder / "base.yaml", tree)
        edit(folder / "sweep.yaml", set={"data.workers": 3})
    output = invoke("retry", "sweep")
    assert "output.checkpoint_every_kimg: 0.4 → 0.2 (2 runs)" in output
    assert "data.workers: 1 → 3 (2 runs)" in output
    assert "ignored" not in output
    assert submitted[-1][1] == [[[run]] for run in runs]
    for run in runs:
        config = config_of(folder, run)
        assert config["output"]["checkpoint_every_kimg"] == 0.2
        assert config["data"]["workers"] == 3
        assert config["wandb"]["tags"] == ["again"]
    assert "→" not in invoke("retry", "sweep")
    # Without the files, the runs stay as they are now.
    (folder / "sweep.yaml").unlink()
    output = invoke("retry", "sweep")
    assert "sweep.yaml is gone" in output
    assert config_of(folder, runs[0])["data"]["workers"] == 3


def test_settings_of_the_identity_are_named_as_ignored(folder: Path, submitted: list[Any]) -> None:
    runs = launch(folder)
    edit(folder / "sweep.yaml", set={"training.batch_size": 8, "data.workers": 2})
    output = invoke("retry", "sweep.yaml", runs[0])
    assert "ignored: training.batch_size: 16 → 8 (1 run)" in output
    assert "makes another run" in output
    assert "data.workers: 1 → 2 (1 run)" in output
    assert submitted[-1][1] == [[[runs[0]]]]
    config = config_of(folder, runs[0])
    assert config["training"]["batch_size"] == 16
    assert config["data"]["workers"] == 2
    again = json.loads(invoke("sweep", "sweep.yaml", "--json"))
    assert len(again["submitted"]) == 2
    assert not set(again["submitted"]) & set(runs)


def test_a_run_that_was_submitted_alone_follows_its_config(folder: Path) -> None:
    (run,) = json.loads(
        invoke("submit", "base.yaml", "seed=5", "-c", "cluster.yaml", "--dir", "sweep", "--json")
    )["submitted"]
    fail(folder / "sweep", [run])
    tree = base_tree(Path("squares"), batch_size=8)
    tree["output"]["keep_checkpoints"] = 1
    write(folder / "base.yaml", tree)
    edit(folder / "cluster.yaml", mem="2G")
    output = invoke("retry", "sweep")
    assert "output.keep_checkpoints: 2 → 1 (1 run)" in output
    assert "ignored: training.batch_size: 16 → 8" in output
    assert config_of(folder, run)["output"]["keep_checkpoints"] == 1
    assert config_of(folder, run)["training"]["batch_size"] == 16
    assert cluster_of(folder)["mem"] == "2G"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("cluster.yaml", "executor: slurm\nmemory: 4G\n", "cluster.yaml: unknown key 'memory'"),
        ("cluster.yaml", "executor: [\n", "cluster.yaml: not valid YAML"),
        ("sweep.yaml", "name: s\nbase: gone.yaml\ncluster: cluster.yaml\n", "gone.yaml"),
    ],
)
def test_an_invalid_edit_is_one_error_and_nothing_is_submitted(
    folder: Path,
    submitted: list[Any],
    name: str,
    text: str,
    message: str,
) -> None:
    launch(folder)
    before = (folder / "sweep" / "sweep.json").read_bytes()
    (folder / name).write_text(text)
    assert message in invoke("retry", "sweep", status=2)
    assert len(submitted) == 1  # the launch
    assert (folder / "sweep" / "sweep.json").read_bytes() == before


def test_retry_from_another_directory(
    folder: Path,
    submitted: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    launch(folder)
    edit(folder / "cluster.yaml", mem="2G")
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    invoke("retry", str(folder / "sweep"))
    assert submitted[-1][0].cluster.mem == "2G"
