"""`gantrain health` of runs and of other tools' tables."""

import json
from pathlib import Path
from typing import Any

import pytest

from gantrain.cli import main as cli
from tests.health.signals import CRITIC, HEALTHY


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        cli.main(["health", *map(str, words)])
    printed = capsys.readouterr()
    return int(ended.value.code or 0), printed.out, printed.err


def records(capsys: pytest.CaptureFixture[str], *words: object) -> list[dict[str, Any]]:
    status, out, errors = run(capsys, *words, "--json")
    assert status == 0, errors
    return [json.loads(line) for line in out.splitlines()]


def write_run(folder: Path, line: dict[str, float], fids: list[float], batch: int = 32) -> Path:
    """Write a run that logs every 10 generator steps, and measures every 200."""
    folder.mkdir()
    kind = "wgan-gp" if "loss/wasserstein" in line else "dcgan"
    n_critic = 2 if kind == "wgan-gp" else 1
    (folder / "config.yaml").write_text(
        f"training: {{batch_size: {batch}}}\nobjective: {{kind: {kind}, n_critic: {n_critic}}}\n"
    )
    lines = []
    for i in range(20 * len(fids)):
        images = 10 * batch * n_critic * (i + 1)
        measured = {"quality/fid_brick": fids[i // 20]} if i % 20 == 19 else {}
        lines.append({"images_seen": images, **line, **measured})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    return folder


def test_a_run_is_replayed_by_its_config(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = write_run(tmp_path / "good", CRITIC, [300, 100, 50])
    fell = write_run(tmp_path / "fell", HEALTHY, [300, 26, 90, 143])
    alike = write_run(tmp_path / "alike", CRITIC | {"health/fake_spread": 0.001}, [300, 300])
    found = records(capsys, good, fell, alike / "metrics.jsonl")
    assert [x["final"] for x in found] == ["no fault seen", "quality falling", "mode collapse"]
    assert found[0]["diagnoses"][0]["g_steps"] == 250
    assert found[0]["diagnoses"][0]["images_seen"] == 250 * 64
    assert found[1]["best"]["images_seen"] == 400 * 32
    assert found[1]["diagnoses"][-1]["code"] == 6
    status, out, _ = run(capsys, fell)
    assert status == 0
    assert "quality falling; at the end quality falling" in out
    assert "fid_brick: best 26 at 12.8 kimg, last 143" in out
    assert "  quality falling: use the best checkpoint" in out


def test_a_table_of_fids_has_its_steps_and_names_from_the_options(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "log.csv"
    table.write_text("epoch,Fid!\n1,300\n2,26\n3,90\n4,143\n")
    words = (table, "--column", "step=epoch", "--column", "fid=Fid!", "--images-per-step", 50_000)
    (found,) = records(capsys, *words)
    assert found["final"] == "quality falling"
    assert found["best"] == {
        "value": 26,
        "g_steps": 100_000 // 64,
        "images_seen": 100_000,
        "high": None,
    }
    (found,) = records(capsys, *words, "--batch-size", 500)
    assert found["best"]["g_steps"] == 200


def test_losses_of_a_table_have_thresholds_only_with_an_objective(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "log.csv"
    table.write_text("step,loss_d\n" + "".join(f"{100 * i},4.0\n" for i in range(1, 9)))
    assert records(capsys, table)[0]["final"] == "no fault seen"
    assert records(capsys, table, "--objective", "dcgan")[0]["final"] == "diverging"


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ([], "METRICS: no file given"),
        (["log.csv", "--objective", "gan"], "--objective is 'gan'; expected one of dcgan"),
        (["log.csv", "--column", "x"], "--column 'x': expected NAME=COLUMN"),
        (["."], "no metrics.jsonl in this folder"),
        (["log.csv"], "log.csv:3: the line has no step"),
    ],
)
def test_a_mistake_is_one_line(
    words: list[str],
    error: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("log.csv").write_text("step,fid\n1,2\n,3\n")
    status, _, errors = run(capsys, *words)
    assert status == 2
    assert errors.count("gantrain: ") == 1
    assert error in errors


def test_the_columns_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "--columns")
    assert status == 0
    assert "quality/fid: fid, " in out
