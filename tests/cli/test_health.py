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
    assert [x["training"] for x in found] == ["no fault seen", "quality falling", "mode collapse"]
    assert [(x["quality"]["level"], x["quality"]["trend"]) for x in found] == [
        ("far from the data", "improving"),
        ("far from the data", "worse than its best"),
        ("far from the data", "flat"),
    ]
    assert found[0]["diagnoses"][0]["g_steps"] == 250
    assert found[0]["diagnoses"][0]["images_seen"] == 250 * 64
    assert found[1]["quality"]["best_images_seen"] == 400 * 32
    assert found[1]["diagnoses"][-1]["code"] == 6
    status, out, _ = run(capsys, fell)
    assert status == 0
    assert "80 lines; quality falling\n  training: quality falling\n" in out
    assert "\n  quality: far from the data, worse than its best (FID 143 at 25.6 kimg, 5.5 " in out
    assert "times worse than its best, 26 at 12.8 kimg; floor unknown)\n" in out
    assert "  quality falling: use the best checkpoint" in out


@pytest.mark.parametrize(
    ("flips", "found"),
    [("", "uninformative labels"), ("0.45", "uninformative labels"), ("0.0", "no fault seen")],
)
def test_the_label_flips_of_the_config_count(
    flips: str, found: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    guessing = HEALTHY | {"loss/discriminator": 0.692, "health/d_logit_margin": 0.1}
    folder = write_run(tmp_path / "run", guessing, [300, 100])
    config = folder / "config.yaml"
    if flips:
        config.write_text(config.read_text().replace("n_critic", f"label_flips: {flips}, n_critic"))
    assert [x["training"] for x in records(capsys, folder)] == [found]


def test_a_table_of_fids_has_its_steps_and_names_from_the_options(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "log.csv"
    table.write_text("epoch,Fid!\n1,300\n2,26\n3,90\n4,143\n")
    words = (table, "--column", "step=epoch", "--column", "fid=Fid!", "--images-per-step", 50_000)
    (found,) = records(capsys, *words)
    assert found["training"] == "quality falling"
    assert found["diagnoses"][-1]["g_steps"] == 200_000 // 64
    assert found["quality"]["level"] == "unknown distance from the data"
    assert (found["quality"]["best"], found["quality"]["best_images_seen"]) == (26, 100_000)
    (found,) = records(capsys, *words, "--batch-size", 500)
    assert found["diagnoses"][-1]["g_steps"] == 400


def test_the_places_in_a_table_of_steps_are_steps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "log.csv"
    table.write_text("step,fid\n1000,300\n2000,26\n3000,90\n4000,143\n")
    status, out, _ = run(capsys, table)
    assert status == 0
    assert "quality: unknown distance from the data, worse than its best (FID 143 at step" in out
    assert "5.5 times worse than its best, 26 at step 2,000; floor unknown)" in out
    assert " kimg" not in out
    (found,) = records(capsys, table)
    assert (found["quality"]["images_seen"], found["quality"]["step"]) == (None, 4000)
    (found,) = records(capsys, table, "--batch-size", 10)
    assert found["quality"]["best_images_seen"] == 20_000


def test_a_run_is_judged_by_its_floor_and_its_own_metric(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.yaml").write_text("output: {keep_best: quality/kid}\n")
    lines = [
        {"images_seen": 1000 * i, "quality/fid_lite0": 200.0, "quality/kid_lite0": kid}
        for i, kid in enumerate((0.5, 0.01), 1)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    marks = {"scores": {"quality/kid_lite0": 0.01}, "spread": {"quality/kid_lite0": 1.0}}
    (folder / "events.jsonl").write_text(json.dumps({"event": "floor", **marks}) + "\n")
    assert "quality: at the floor of real images, improving (KID 0.01; " in run(capsys, folder)[1]
    (folder / "config.yaml").write_text("metrics: {every_kimg: 0}\n")
    (folder / "metrics.jsonl").write_text('{"images_seen": 5, "loss/generator": 1.0}\n')
    assert "quality: not measured (metrics.every_kimg is 0)" in run(capsys, folder)[1]


def test_a_table_of_losses_says_that_quality_is_not_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "log.csv"
    table.write_text("step,d_loss,g_loss\n100,1.2,0.8\n200,1.3,0.9\n")
    assert "quality: not measured (no column of FID or another quality is" in run(capsys, table)[1]


def test_losses_of_a_table_have_thresholds_only_with_an_objective(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "log.csv"
    table.write_text("step,loss_d\n" + "".join(f"{100 * i},4.0\n" for i in range(1, 9)))
    assert records(capsys, table)[0]["training"] == "no fault seen"
    assert records(capsys, table, "--objective", "dcgan")[0]["training"] == "diverging"


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
