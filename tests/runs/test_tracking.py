"""What a run logs to W&B, read back from real offline runs, and to its own files."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gantrain.runs.records import read_metrics
from tests.conftest import small_tree
from tests.launching import Train, train_alone, write_config


def inspect(run: Path, *options: str) -> str:
    """What W&B's own reader makes of an offline run."""
    wandb = str(Path(sys.executable).with_name("wandb"))
    command = [wandb, "leet", "inspect", "--json", *options, str(run)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def history(run: Path) -> list[dict[str, Any]]:
    records = [json.loads(line) for line in inspect(run).splitlines()]
    return [r["history"]["item"] for r in records if r["type"] == "history"]


def test_an_offline_run_has_config_curves_and_grids_and_continues_after_a_resume(
    shards: Path, tmp_path: Path, train: Train
) -> None:
    run = tmp_path / "run"
    wandb = {"mode": "offline", "group": "grid", "tags": ["a"]}
    config = write_config(tmp_path / "config.yaml", small_tree(shards, run, wandb=wandb))
    for overrides in (["training.total_kimg=0.08"], []):
        done = train(config, *overrides)
        assert done.returncode == 0
        assert "wandb" not in done.stderr
    first, second = sorted((run / "wandb").glob("offline-run-*"))
    assert first.name.rpartition("-")[2] == second.name.rpartition("-")[2]
    before, after = history(first), history(second)
    # The second segment begins where the checkpoint was, so that nothing is refused as too old.
    assert before[-2]["_step"] < after[0]["_step"] <= before[-1]["_step"]
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


def test_a_truncated_last_line_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"images_seen": 1}\n{"images_se')
    assert read_metrics(tmp_path) == [{"images_seen": 1}]
    assert read_metrics(tmp_path / "nowhere") == []
