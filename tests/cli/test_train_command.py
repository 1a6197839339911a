"""`gantrain train` as a user calls it: real processes, on one rank and on two."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest
from typer.testing import CliRunner

from gantrain.cli.main import app
from gantrain.common.command_line import as_typed
from gantrain.runs.paths import METRICS
from gantrain.runs.provenance import read_attempts
from tests.conftest import small_tree
from tests.curves import assert_same_end, assert_similar_curves, status
from tests.launching import Train, environment, write_config
from tests.waiting import wait_until

COMMAND = Path(sys.executable).with_name("gantrain")


def config_of(shards: Path, run_dir: Path) -> Path:
    norms = {"generator": {"norm": "layer"}, "discriminator": {"norm": "layer"}}
    tree = small_tree(shards, run_dir, **norms)
    return write_config(run_dir.with_suffix(".yaml"), tree)


def start(config: Path, *words: str, cwd: Path | None = None) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [str(COMMAND), "train", str(config), *words],
        env=environment(),
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    stdout, stderr = process.communicate(timeout=400)
    return process.returncode, stdout, stderr


def test_one_rank_and_two_train_as_the_script_does(
    shards: Path, tmp_path: Path, train: Train
) -> None:
    config = config_of(shards, tmp_path / "script")
    assert train(config).returncode == 0
    one, two = tmp_path / "one", tmp_path / "two"
    # From another directory, which has no gantrain/train.py in it.
    single = start(config, f"output.run_dir={one}", cwd=tmp_path)
    several = start(config, f"output.run_dir={two}", "--ranks", "2", cwd=tmp_path)
    for process in (single, several):
        code, stdout, stderr = ended(process)
        assert code == 0, stderr
        assert stdout == ""
        assert stderr.splitlines()[-1].startswith("next: gantrain sample ")
        assert "Warning" not in stderr
    assert "2 rank(s) on cpu" in stderr
    assert_same_end(tmp_path / "script", one)
    assert_similar_curves(tmp_path / "script", two, lines=5)
    (attempt,) = read_attempts(two)
    assert attempt["ranks"] == attempt["ranks_here"] == 2
    assert as_typed(attempt["launcher"]).startswith("gantrain train ")
    assert attempt["launcher"][-2:] == ["--ranks", "2"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_command_saves_and_ends_all_ranks(
    number: signal.Signals, shards: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    process = start(config_of(shards, run), "training.total_kimg=1000", "--ranks", "2")
    wait_until(lambda: (run / METRICS).exists() or process.poll() is not None)
    ranks = psutil.Process(process.pid).children()
    process.send_signal(number)
    code, _, stderr = ended(process)
    expected = {signal.SIGINT: (130, "interrupted"), signal.SIGTERM: (75, "preempted")}
    assert (code, status(run)["state"]) == expected[number], stderr
    assert "Traceback" not in stderr
    assert not any(rank.is_running() for rank in ranks)


def test_a_rank_that_is_killed_asks_for_a_new_start(shards: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = start(config_of(shards, run), "training.total_kimg=1000", "--ranks", "2")
    wait_until(lambda: (run / METRICS).exists() or process.poll() is not None)
    children = psutil.Process(process.pid).children()
    (victim,) = [c for c in children if c.environ().get("RANK") == "1"]
    os.kill(victim.pid, signal.SIGKILL)
    code, _, stderr = ended(process)
    assert code == 75
    assert "Another rank is gone" in stderr


@pytest.mark.parametrize("words", [(), ("--ranks", "2")])
def test_a_mistake_is_the_last_line_and_its_status_the_commands(
    words: tuple[str, ...], shards: Path, tmp_path: Path
) -> None:
    config = config_of(shards, tmp_path / "run")
    process = start(config, "data.shards=missing", *words, cwd=tmp_path)
    code, _, stderr = ended(process)
    assert code == 2
    assert "missing: no such folder" in stderr.splitlines()[-1], stderr
    assert "Traceback" not in stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("training.seed=1", "--ranks", "2"), "unknown key 'training.seed'"),
        (("training.world_size=4", "--ranks", "2"), "4 ranks requested, but 2 started"),
        (("--ranks", "2", "--gpus", "2"), "--ranks and --gpus: expected one of them"),
    ],
)
def test_mistakes_that_need_no_rank_are_one_line(
    words: tuple[str, ...], expected: str, shards: Path, tmp_path: Path
) -> None:
    result = CliRunner().invoke(app, ["train", str(config_of(shards, tmp_path / "run")), *words])
    assert expected in str(result.exception)
    assert not (tmp_path / "run").exists()


def test_without_gpus_training_on_gpus_is_one_line(
    shards: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    config = config_of(shards, tmp_path / "run")
    result = CliRunner().invoke(app, ["train", str(config), "--gpus", "1"])
    assert result.exit_code == 2
    assert "'cuda' requested, but torch finds no GPU" in result.stderr + capfd.readouterr().err


def test_keys_are_completed_in_the_shell() -> None:
    words = {"COMP_WORDS": "gantrain train x.yaml training.total", "COMP_CWORD": "3"}
    variables = {"_GANTRAIN_COMPLETE": "complete_bash", **words}
    done = subprocess.run(
        [str(COMMAND)], env=environment(**variables), capture_output=True, text=True, check=False
    )
    assert "training.total_kimg=" in done.stdout.split()


def test_the_launcher_is_a_command_too() -> None:
    done = CliRunner().invoke(app, ["launch", "leaderboard", "missing.yaml"])
    assert done.exit_code == 2
    assert "launch: missing.yaml" in done.stderr
