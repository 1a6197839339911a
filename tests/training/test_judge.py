"""What a run says of its training and of its quality, wherever people look at it."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gantrain.cli.main import app
from gantrain.health.verdict import judge, recorded_floor
from gantrain.runs.metrics_file import read_metrics
from gantrain.runs.records import read_events, read_status
from tests.conftest import small_tree
from tests.curves import events
from tests.launching import Train, write_config
from tests.wandb_files import inspect

MEASURED = {"every_kimg": 0.064, "samples": 32, "features": "random"}


def test_training_and_quality_are_said_apart_wherever_a_run_is_shown(
    shards: Path, tmp_path: Path, train: Train
) -> None:
    run = tmp_path / "run"
    tree = small_tree(shards, run, metrics=MEASURED, wandb={"mode": "offline"})
    config = write_config(tmp_path / "config.yaml", tree)
    done = train(config)
    assert done.returncode == 0, done.stderr
    (marks,) = events(run, "floor")
    verdict = judge(read_metrics(run), recorded_floor(read_events(run)))
    assert verdict.metric == "quality/kid_random"  # of too few images for FID
    assert verdict.level == "far from the data"
    assert verdict.floor == marks["scores"]["quality/kid_random"]
    assert "quality/kid_random" in marks["spread"]
    status = read_status(run)
    assert (status["training"], status["quality"]) == ("too early to say", verdict.words)
    assert status["quality_evidence"] == verdict.evidence
    assert status["quality_floor"] == verdict.floor
    both = ["training: too early to say", f"quality: {verdict.sentence}"]
    assert "\n".join(both) in done.stderr
    progress = [line for line in done.stderr.splitlines() if "images/s" in line]
    assert "training: too early to say  quality: not measured" in progress[0]
    assert progress[-1].endswith(f"training: too early to say  quality: {verdict.words}")
    assert re.search(r"^quality: far from the data \(KID .*; floor ", done.stderr, re.MULTILINE)
    (segment,) = (run / "wandb").glob("offline-run-*")
    assert f'"{verdict.words}"' in inspect(segment, "--summary")
    assert "wall_hours" in inspect(segment, "--summary")
    assert verdict.sentence in " ".join(shown(run, "watch", "--once").split())
    assert shown(run, "report")
    assert json.dumps(verdict.sentence)[1:-1] in page(run)
    assert f"\n  quality: {verdict.sentence}\n" in shown(run, "health")
    replayed = json.loads(shown(run, "health", "--json"))
    assert replayed["training"] == "too early to say"
    assert replayed["quality"]["floor"] == verdict.floor
    written = [
        path for kind in ("json", "jsonl", "yaml", "html") for path in run.rglob(f"*.{kind}")
    ]
    assert len(written) > 5
    assert not [path for path in written if "healthy" in path.read_text(encoding="utf-8")]
    # A longer run has the same floor, from the scratch, and the measurements before it.
    more = train(config, "training.total_kimg=0.192", "wandb.mode=disabled")
    assert more.returncode == 0, more.stderr
    assert len(events(run, "floor")) == 1
    assert len([x for x in read_metrics(run) if "quality/kid_random" in x]) == 3
    again = train(config, "training.total_kimg=0.192", "wandb.mode=disabled")
    assert again.stderr.splitlines()[-6:] == more.stderr.splitlines()[-6:]


def test_a_run_without_measurements_says_so(shards: Path, tmp_path: Path, train: Train) -> None:
    done = train(write_config(tmp_path / "config.yaml", small_tree(shards, tmp_path / "run")))
    assert "\nquality: not measured (metrics.every_kimg is 0)\n" in done.stderr
    assert events(tmp_path / "run", "floor") == []


@pytest.mark.parametrize("word", ["healthy", "no fault seen"])
def test_old_events_are_shown_in_todays_words(word: str, tmp_path: Path) -> None:
    lines = [
        {"images_seen": 1000 * i, "quality/fid_brick": fid}
        for i, fid in enumerate((200.0, 41.0, 61.0), 1)
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    event = {
        "event": "diagnosis",
        "diagnosis": "healthy",
        "reason": f"{word}: no sign of a problem in the last lines",
    }
    (tmp_path / "events.jsonl").write_text(json.dumps(event) + "\n")
    text = " ".join(shown(tmp_path, "watch", "--once").replace("│", " ").split())
    assert "training: no fault seen: no sign of a problem" in text
    assert "quality: far from the data, worse than its best (FID 61 at 3 kimg, 1.49 times" in text
    assert "floor unknown" in text
    assert shown(tmp_path, "report")
    for output in (text, page(tmp_path), shown(tmp_path, "health")):
        assert "healthy" not in output


def shown(run: Path, command: str, *options: str) -> str:
    result = CliRunner().invoke(app, [command, str(run), *options])
    assert result.exit_code == 0, result.output
    return result.output


def page(run: Path) -> str:
    return (run / "report.html").read_text(encoding="utf-8")
