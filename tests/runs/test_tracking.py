"""What a run logs to W&B, read back from real offline runs, and to its own files."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gantrain.runs.metrics_file import read_metrics
from gantrain.runs.wandb_environment import clean_environment
from tests.conftest import small_tree
from tests.launching import FAULTY_TRAIN, Train, environment, train_alone, write_config
from tests.wandb_files import assert_complete, history, inspect


def test_an_offline_run_has_config_curves_and_grids_and_continues_after_a_resume(
    shards: Path, tmp_path: Path, train: Train
) -> None:
    run = tmp_path / "run"
    wandb = {"mode": "offline", "group": "grid", "tags": ["a"]}
    tree = small_tree(shards, run, wandb=wandb, conditioning={"kind": "concat"})
    config = write_config(tmp_path / "config.yaml", tree)
    for overrides in (["training.total_kimg=0.08"], []):
        done = train(config, *overrides)
        assert done.returncode == 0
        assert "wandb" not in done.stderr
    first, second = sorted((run / "wandb").glob("offline-run-*"))
    (file,), (other,) = (list(folder.glob("run-*.wandb")) for folder in (first, second))
    assert file.name == other.name
    before, after = history(first), history(second)
    # Steps only grow, so that nothing is refused as too old.
    assert before[-1]["_step"] + 1 == after[0]["_step"]
    for segment in (before, after):
        assert [x["_step"] for x in segment] == sorted({x["_step"] for x in segment})
        assert all("images_seen" in line for line in segment)
    losses = [line["images_seen"] for line in after if "loss/generator" in line]
    assert losses == [96, 128, 160]
    assert after[0]["events/resumes"] == 1
    grids = [line for line in [*before, *after] if "samples/fake._type" in line]
    assert [line["images_seen"] for line in grids] == [0, 80, 160]
    assert (second / "files" / grids[-1]["samples/fake.path"]).is_file()
    assert "samples/real.path" in before[0]
    captions = {line["samples/fake.caption"] for line in grids} | {
        before[0]["samples/real.caption"]
    }
    assert captions == {"rows from the top: part0, part2"}
    for line in read_metrics(run):
        at = line["images_seen"]
        sent = next(
            s for s in [*after, *before] if s["images_seen"] == at and "loss/generator" in s
        )
        assert {k: sent[k] for k in line} == line
    summary = json.loads(inspect(second, "--summary"))
    assert summary["config"]["training"]["batch_size"] == 16


@pytest.mark.parametrize("key", ["", "0123456789" * 4])
def test_without_a_login_or_a_network_the_run_continues_offline_with_one_log_line(
    key: str, shards: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    tree = small_tree(shards, run, wandb={"mode": "online", "connect_seconds": 2})
    config = write_config(tmp_path / "config.yaml", tree)
    # Nothing listens there: W&B's cloud cannot be reached, by whatever name it goes.
    nowhere = {"WANDB_BASE_URL": "http://127.0.0.1:9", "HOME": str(tmp_path)}
    done = train_alone(config, changes={**nowhere, **({"WANDB_API_KEY": key} if key else {})})
    assert done.returncode == 0, done.stderr
    notices = [line for line in done.stderr.splitlines() if "W&B" in line or "wandb" in line]
    assert len(notices) == 1, done.stderr
    assert "W&B is offline" in notices[0]
    assert "wandb sync" in notices[0]
    (offline,) = (run / "wandb").glob("offline-run-*")
    assert [line["images_seen"] for line in history(offline)] == [0, 32, 64, 96, 128, 160]
    written = b"".join(path.read_bytes() for path in run.rglob("*") if path.is_file())
    assert not key or key not in done.stdout + done.stderr
    assert not key or key.encode() not in written


def descendants(pid: int) -> list[int]:
    """The process and its children, youngest first, as Slurm signals them."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [*(p for child in children for p in descendants(int(child))), pid]


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 75), (signal.SIGINT, 130), (signal.SIGKILL, -9)]
)
def test_signals_to_every_process_of_a_run_cost_wandb_nothing(
    number: signal.Signals, status: int, shards: Path, tmp_path: Path, train: Train
) -> None:
    run = tmp_path / "run"
    output = {"checkpoint_every_kimg": 0.064, "sample_every_kimg": 0.064}
    tree = small_tree(shards, run, wandb={"mode": "offline"}, output=output)
    config = write_config(tmp_path / "config.yaml", tree)
    command = [sys.executable, str(FAULTY_TRAIN), "--config", str(config)]
    with subprocess.Popen(
        command,
        env=environment(GANTRAIN_FAULT="SIGSTOP@96"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        for pid in descendants(process.pid):
            os.kill(pid, number)
        process.send_signal(signal.SIGCONT)
        printed, _ = process.communicate()
    assert process.returncode == status
    assert "Traceback" not in printed
    if number != signal.SIGKILL:  # nothing is missing even if the run never resumes
        assert_complete(run)
    done = train(config)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert_complete(run)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("WANDB_MODE", "none", "wandb.mode=offline decides"),
        ("WANDB_MODE", "", "wandb.mode=offline decides"),
        ("WANDB_MODE", "online", "wandb.mode=offline decides"),
        ("WANDB_BASE_URL", "foo", "valid URL"),
        ("WANDB_SILENT", "maybe", "valid boolean"),
        ("WANDB_INIT_TIMEOUT", "soon", "valid number"),
        ("WANDB_RESUME_FROM", "other?_step=3", "another run"),
    ],
)
def test_a_variable_that_wandb_rejects_is_named_in_one_line_and_ignored(
    name: str,
    value: str,
    said: str,
    shards: Path,
    tmp_path: Path,
    train: Train,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(name, value)
    run = tmp_path / "run"
    tree = small_tree(shards, run, wandb={"mode": "offline"}, training={"total_kimg": 0.032})
    done = train(write_config(tmp_path / "config.yaml", tree))
    assert done.returncode == 0
    (line,) = (line for line in done.stderr.splitlines() if "W&B" in line or "wandb:" in line)
    assert line.startswith(f"W&B: {name}={value} is ignored; ")
    assert said in line
    (segment,) = (run / "wandb").glob("offline-run-*")
    assert [row["images_seen"] for row in history(segment)] == [0, 32]


def test_a_mode_in_the_environment_that_sends_less_is_used() -> None:
    environment = {"WANDB_MODE": "offline"}
    mode, (notice,) = clean_environment("online", environment)
    assert mode == "offline"
    assert "instead of wandb.mode=online" in notice
    assert clean_environment("offline", {"WANDB_MODE": "disabled"})[0] == "disabled"
    assert clean_environment("online", {}) == ("online", [])


def test_metrics_do_not_go_to_another_server_than_the_one_that_was_meant(tmp_path: Path) -> None:
    assert clean_environment("online", {"WANDB_BASE_URL": "server.example"})[0] == "offline"
    (tmp_path / "settings").write_text("[default]\nbase_url = server.example\n")
    mode, notices = clean_environment("online", {"WANDB_CONFIG_DIR": str(tmp_path)})
    assert mode == "offline"
    assert f"{tmp_path / 'settings'}: base_url = server.example is ignored" in notices[0]


def test_a_secret_is_not_repeated() -> None:
    _, notices = clean_environment("online", {"WANDB_HTTP_PROXY": "user:secret@proxy"})
    assert "WANDB_HTTP_PROXY is ignored" in notices[0]
    assert "secret" not in " ".join(notices)


@pytest.mark.parametrize(
    ("key", "value"), [("project", "a/b"), ("project", "x" * 200), ("tags", ["x" * 65])]
)
def test_a_setting_that_wandb_rejects_is_an_error_at_the_start(
    key: str, value: object, shards: Path, tmp_path: Path, train: Train
) -> None:
    tree = small_tree(shards, tmp_path / "run", wandb={"mode": "offline", key: value})
    done = train(write_config(tmp_path / "config.yaml", tree))
    assert done.returncode == 2
    assert f"wandb.{key}" in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_truncated_last_line_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"images_seen": 1}\n{"images_se')
    assert read_metrics(tmp_path) == [{"images_seen": 1}]
    assert read_metrics(tmp_path / "nowhere") == []
