"""Files that version 0.1 wrote (tests/data/v0.1) still resume, evaluate and report.

The run trained 4.8 kimg with its config's old key names, gradient accumulation, augmentation and a
remedy that had doubled G's learning rate. `resumed-metrics.jsonl` is what version 0.1 itself logged
when it resumed the run for another 0.64 kimg; `evaluated.json` is its `gantrain evaluate`.
"""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gantrain.cli.main import app
from gantrain.data.shards.verify import verify_shards
from gantrain.runs.checkpoint import read_newest
from gantrain.runs.metrics_file import read_metrics
from tests.curves import events
from tests.launching import Train

OLD = Path(__file__).parent / "data" / "v0.1"


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the old files, as the working directory: their paths are relative."""
    folder = tmp_path / "old"
    shutil.copytree(OLD, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("SLURM_TMPDIR", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    return folder


def test_an_old_run_resumes_as_its_own_version_resumed_it(
    old: Path, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = train(old / "run.yaml", "training.total_kimg=5.44", f"data.cache_dir={old}/scratch")
    assert done.returncode == 0, done.stderr
    assert "dcgan resumes at 4,800 of 5,440 images" in done.stderr
    assert "accumulate" not in done.stderr  # a key that only changed its name is not a change
    assert "data.on_change" not in done.stderr  # nor is a new one at its default
    expected = [json.loads(line) for line in (old / "resumed-metrics.jsonl").open()]
    lines = read_metrics(old / "run")
    assert "quality/kid_random" in lines[-1]  # version 0.1 did not measure the end of a run
    assert "measures no FID" in done.stderr  # of 16 images, as version 0.1 did
    for name in set(lines[-1]) - set(expected[-1]):
        later = ("quality/", "interval/", "health/", "speed/seconds_of_metrics")
        assert name.startswith(later)
    assert [line["images_seen"] for line in lines] == [line["images_seen"] for line in expected]
    for line, before in zip(lines, expected, strict=True):
        assert set(before) <= set(line)  # later versions log more
        # Rules of diagnosis change: 40 images are unsuitable data since version 0.3.
        steady = {k: v for k, v in before.items() if not k.startswith(("speed/", "health/diag"))}
        assert {key: line[key] for key in steady} == pytest.approx(steady, rel=1e-3, abs=1e-5)
    assert lines[-1]["remedy/g_rate"] == 2


def test_an_old_run_evaluates_to_what_its_own_version_said(old: Path) -> None:
    options = ["--samples", "64", "--features", "random", "--json"]
    result = CliRunner().invoke(app, ["evaluate", "run", *options])
    assert result.exit_code == 0, result.output
    expected = json.loads((old / "evaluated.json").read_text())
    scores = json.loads(result.stdout)
    assert expected.pop("quality/fid_random") > 0
    assert any("not measured: fid_random" in line for line in scores["notices"])  # of 64 images
    for name in [name for name in expected if name.startswith("quality/")]:
        assert scores[name] == pytest.approx(expected[name], rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("source", ["run", "run/generator.safetensors"])
def test_old_checkpoints_and_exports_sample(old: Path, source: str) -> None:
    result = CliRunner().invoke(app, ["sample", source, "--n", "4", "--out", "samples.png"])
    assert result.exit_code == 0, result.output
    assert (old / "samples.png").stat().st_size > 100


def test_an_old_run_reports_its_events_and_curves(old: Path) -> None:
    result = CliRunner().invoke(app, ["report", "run"])
    assert result.exit_code == 0, result.output
    page = (old / "run" / "report.html").read_text(encoding="utf-8")
    assert "discriminator too strong" in page
    assert "g_rate" in page
    watched = CliRunner().invoke(app, ["watch", "run", "--once"])
    assert "finished" in watched.output


def test_old_shards_verify(old: Path) -> None:
    assert verify_shards(old / "shards").ok


def test_the_old_files_are_what_they_are_said_to_be() -> None:
    snapshot, skipped = read_newest(OLD / "run")
    assert snapshot is not None
    assert skipped == []
    assert snapshot.images_seen == 4800
    assert snapshot.state.config["training"]["accumulate"] == 2
    assert [e["event"] for e in events(OLD / "run", "remedy")] == ["remedy"]
