"""A run that resumes notices that its set was replaced."""

import hashlib
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from gantrain.cli.main import app
from gantrain.common.errors import UserError
from gantrain.data.shards.samples import Sample
from gantrain.data.shards.writer import write_shards
from gantrain.runs.checkpoint import read_newest
from tests.conftest import small_tree
from tests.curves import events
from tests.launching import Train, write_config


def noise(count: int, classes: int, seed: int) -> Iterator[Sample]:
    random = np.random.default_rng(seed)
    for i in range(count):
        file = io.BytesIO()
        Image.fromarray(random.integers(0, 255, (32, 32), np.uint8)).save(file, "PNG")
        yield Sample(f"noise-{i}", file.getvalue(), {"part": f"c{i % classes}", "name": "noise"})


def write_set(folder: Path, *, count: int = 48, classes: int = 3, seed: int = 0) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    write_shards(folder, noise(count, classes, seed), size=32, channels=1, source="noise")


@pytest.fixture
def run(tmp_path: Path, train: Train) -> Path:
    """A run of 0.16 kimg on the set in `tmp_path/set`."""
    write_set(tmp_path / "set")
    tree = small_tree(tmp_path / "set", tmp_path / "run", metrics={"every_kimg": 0})
    done = train(write_config(tmp_path / "config.yaml", tree))
    assert done.returncode == 0, done.stderr
    return tmp_path / "run"


def test_another_set_at_the_same_path_is_said_and_other_classes_are_refused(
    run: Path, tmp_path: Path, train: Train
) -> None:
    config, shards = tmp_path / "config.yaml", tmp_path / "set"

    def resume(kimg: float, *overrides: str) -> str:
        done = train(config, f"training.total_kimg={kimg}", *overrides)
        assert done.returncode == (2 if "gantrain: " in done.stderr else 0), done.stderr
        return done.stderr

    write_set(shards, seed=0)  # the same images again
    assert "the data set changed" not in resume(0.192)
    write_set(shards, seed=1)
    said = "the data set changed since the checkpoint: 48 images, others or in another order"
    assert f"{said} ({shards})\n" in resume(0.224)
    assert any(said in notice for e in events(run, "resumes") for notice in e["notices"])
    write_set(shards, count=40, seed=1)
    assert "48 images -> 40" in resume(0.256)
    assert "the data set changed" not in resume(0.288)  # since the last checkpoint
    write_set(shards, classes=4)
    before = sorted(run.rglob("*"))
    refused = resume(0.32)
    assert f"gantrain: {shards}: another set than the checkpoint in {run}" in refused
    assert "40 images -> 48; new classes c3" in refused
    assert "data.on_change=accept" in refused
    assert sorted(run.rglob("*")) == before
    assert "new classes c3" in resume(0.32, "data.on_change=accept")


def test_a_checkpoint_without_the_identity_of_its_set_resumes_silently(
    run: Path, tmp_path: Path, train: Train
) -> None:
    snapshot, _ = read_newest(run)
    assert snapshot is not None
    assert snapshot.state.data is not None
    assert snapshot.state.data.classes == ["c0", "c1", "c2"]
    for folder in (run / "checkpoints").glob("images-*"):
        forget_set(folder)
    write_set(tmp_path / "set", classes=2, seed=5)
    done = train(tmp_path / "config.yaml", "training.total_kimg=0.192")
    assert done.returncode == 0, done.stderr
    assert "the data set changed" not in done.stderr


def forget_set(checkpoint: Path) -> None:
    """Make a checkpoint one of version 0.1, which does not know its set."""
    state = json.loads((checkpoint / "state.json").read_text())
    del state["data"]
    (checkpoint / "state.json").write_text(json.dumps(state))
    hashes = json.loads((checkpoint / "manifest.json").read_text())
    hashes["state.json"] = hashlib.sha256((checkpoint / "state.json").read_bytes()).hexdigest()
    (checkpoint / "manifest.json").write_text(json.dumps(hashes))


def test_a_moved_set_is_found_by_what_the_error_names(
    run: Path,
    tmp_path: Path,
    train: Train,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "set").rename(tmp_path / "moved")
    for words in (["evaluate", str(run)], ["nearest", str(run), "--out", str(tmp_path / "n.png")]):
        with pytest.raises(UserError, match=r"no such folder.*--shards FOLDER"):
            CliRunner().invoke(app, words, catch_exceptions=False)
    words = ["nearest", str(run), "--shards", str(tmp_path / "moved")]
    result = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "n.png")])
    assert result.exit_code == 0, result.output
    assert "not the set" not in caplog.text
    for words in (["report", str(run)], ["sample", str(run), "--out", str(tmp_path / "s.png")]):
        assert CliRunner().invoke(app, words).exit_code == 0
    played = CliRunner().invoke(app, ["play", str(run), "--export", str(tmp_path / "page")])
    assert played.exit_code == 0
    assert "no sliders for directions" in played.output
    assert "--shards FOLDER" in played.output
    write_set(tmp_path / "other", count=40)
    other = ["--shards", str(tmp_path / "other"), "--out", str(tmp_path / "n.png")]
    result = CliRunner().invoke(app, ["nearest", str(run), *other])
    assert result.exit_code == 0
    assert "not the set that run at 0.16 kimg was trained on: 48 images -> 40" in caplog.text
    config = tmp_path / "config.yaml"
    done = train(config, "training.total_kimg=0.192")
    assert done.returncode == 2
    assert "data.shards=FOLDER" in done.stderr
    done = train(config, "training.total_kimg=0.192", f"data.shards={tmp_path / 'moved'}")
    assert done.returncode == 0
    assert "the data set changed" not in done.stderr
