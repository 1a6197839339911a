"""Every command takes a run directory, one of its checkpoints or an exported generator."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from gantrain.cli.main import app
from gantrain.cli.options import select_data
from gantrain.common.errors import UserError
from gantrain.inference.export import load_generator, open_generator
from gantrain.runs.checkpoint import read_checkpoint
from gantrain.runs.generator_file import read_measured
from gantrain.runs.metrics_file import read_metrics
from gantrain.runs.paths import GENERATOR, GENERATOR_BEST, checkpoint_dir
from tests.conftest import small_tree
from tests.launching import write_config


@pytest.fixture(scope="module")
def run(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with checkpoints at 48, 96, 144 and 160 images; the best is that at 48."""
    from gantrain.train import main

    folder = tmp_path_factory.mktemp("sources")
    tree = small_tree(
        shards,
        folder / "run",
        metrics={"every_kimg": 0.048, "samples": 32, "features": "random"},
        output={
            "checkpoint_every_kimg": 0.048,
            "log_every_kimg": 0.048,
            "keep_checkpoints": 9,
            "keep_best": "loss/generator",
            "keep_best_is": "highest",
        },
    )
    assert main(["--config", str(write_config(folder / "c.yaml", tree))]) == 0
    best = read_measured(folder / "run" / GENERATOR_BEST)
    assert best is not None
    assert best.images_seen == 48
    return folder / "run"


def invoke(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def weights_at(run: Path, images_seen: int) -> dict[str, torch.Tensor]:
    return read_checkpoint(checkpoint_dir(run, images_seen)).tensors["ema"]


@pytest.mark.parametrize(
    ("where", "options", "images_seen"),
    [
        ("", {}, 160),
        ("checkpoints", {}, 160),
        ("checkpoints/latest", {}, 160),
        ("checkpoints/images-000000096", {}, 96),
        (GENERATOR, {}, 160),
        (GENERATOR_BEST, {}, 48),
        ("", {"best": True}, 48),
        ("checkpoints", {"best": True}, 48),
        ("", {"at": 0.096}, 96),
        ("", {"at": 0.1}, 96),  # as 50 kimg is 50,048 images at batch 128
        ("", {"at": 0.14}, 144),
        ("", {"at": 0.16}, 160),
    ],
)
def test_a_path_and_options_mean_one_generator(
    where: str, options: dict[str, float], images_seen: int, run: Path
) -> None:
    loaded = open_generator(run / where, **options)  # type: ignore[arg-type]
    assert (loaded.images_seen, loaded.run_dir) == (images_seen, run)
    assert loaded.name == f"run at {images_seen / 1000:g} kimg"
    for name, tensor in weights_at(run, images_seen).items():
        assert torch.equal(loaded.generator.state_dict()[name], tensor)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["", "--at", "0.12"], r"--at 0\.12: nearest checkpoints are 0\.096 and 0\.144 kimg"),
        (["", "--at", "12"], r"--at 12: nearest checkpoint is 0\.16 kimg"),
        (["", "--at", "0"], r"--at 0: nearest checkpoint is 0\.048 kimg"),
        (["", "--at", "0.096", "--best"], "expected one of them"),
        ([GENERATOR, "--best"], "is one generator; expected a run directory"),
        (["checkpoints/images-000000096", "--at", "0.048"], "is one generator"),
        (["checkpoints/images-000000099"], "does not exist; expected images-000000048, images-"),
        (["checkpoints/images-000000096/ema.safetensors"], "expected its folder"),
        (["nowhere"], "does not exist; expected a run directory, a checkpoint in it"),
        (["samples"], "no checkpoint yet; expected a run directory"),
    ],
)
def test_errors_name_what_is_there(words: list[str], message: str, run: Path) -> None:
    with pytest.raises(UserError, match=message):
        invoke("sample", run / words[0], *words[1:])


def test_a_copied_checkpoint_and_a_tidied_run_have_a_generator(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(checkpoint_dir(run, 96), tmp_path / "copy")
    assert open_generator(copy).name == "copy at 0.096 kimg"
    tidied = shutil.copytree(run, tmp_path / "tidied")
    shutil.rmtree(tidied / "checkpoints")
    assert open_generator(tidied).images_seen == 160
    assert open_generator(tidied, best=True).images_seen == 48
    assert open_generator(tidied, at=0.048).images_seen == 48


def test_a_run_without_an_exported_best_finds_it_among_its_checkpoints(
    run: Path, tmp_path: Path
) -> None:
    old = shutil.copytree(run, tmp_path / "old")
    (old / GENERATOR_BEST).unlink()
    assert open_generator(old, best=True).images_seen == 48
    shutil.rmtree(checkpoint_dir(old, 48))
    with pytest.raises(UserError, match=r"measured at 0\.048 kimg, of which no generator was kept"):
        open_generator(old, best=True)
    (old / "metrics.jsonl").unlink()
    with pytest.raises(UserError, match=r"has no loss/generator \(yet\)"):
        open_generator(old, best=True)


def test_a_broken_newest_checkpoint_is_passed_over(run: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(run, tmp_path / "broken")
    (checkpoint_dir(broken, 160) / "ema.safetensors").write_bytes(b"")
    assert open_generator(broken).images_seen == 144
    with pytest.raises(UserError, match="truncated or changed"):
        open_generator(broken, at=0.16)


@pytest.mark.parametrize("options", [["--best"], ["--at", "0.048"], []])
def test_every_command_uses_the_generator_that_was_asked_for(
    options: list[str], run: Path, tmp_path: Path
) -> None:
    source = run if options else checkpoint_dir(run, 48)
    Image.new("L", (40, 40), 200).save(tmp_path / "target.png")
    out = ["--out", tmp_path / "out.png"]
    for words in (
        ["sample", source, "--n", 4, *out],
        ["interpolate", source, 1, 2, *out],
        ["walk", source, "--n", 2, "--steps", 2, "--out", tmp_path / "w.gif"],
        ["arithmetic", source, "1 + 2", *out],
        ["grid", source, "--corners", "0,1,2,3", *out],
        ["project", source, tmp_path / "target.png", "--steps", 2, *out],
        ["nearest", source, 1, *out],
    ):
        assert "run at 0.048 kimg" in invoke(*words, *options), words[0]
    words = ["evaluate", source, "--samples", 32, "--features", "random", "--json"]
    scores = json.loads(invoke(*words, *options))
    (line,) = (line for line in read_metrics(run) if line["images_seen"] == 48)
    assert scores["images_seen"] == 48
    assert scores["quality/swd"] == pytest.approx(line["quality/swd"], rel=1e-3)


def test_export_and_play_use_the_generator_that_was_asked_for(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gantrain.report import playground

    exported: list[torch.nn.Module] = []

    def export(generator: torch.nn.Module, data: object, folder: Path) -> Path:
        exported.append(generator)
        return Path(__file__)

    # The page itself needs a package from npm.
    monkeypatch.setattr(playground, "export_playground", export)
    invoke("play", run, "--best", "--export", tmp_path / "page")
    (generator,) = exported
    for name, tensor in weights_at(run, 48).items():
        assert torch.equal(generator.state_dict()[name], tensor)
    pytest.importorskip("onnxruntime")
    output = invoke("export", run, "--at", 0.096, "--out", tmp_path / "g.onnx")
    assert "images of run at 0.096 kimg" in output


def test_a_report_shows_the_generator_with_what_was_measured_of_it(
    run: Path, tmp_path: Path
) -> None:
    def page_data(*words: object) -> dict[str, object]:
        invoke("report", *words, "--out", tmp_path / "report.html")
        page = (tmp_path / "report.html").read_text(encoding="utf-8")
        start = page.index('{"name"')
        data: dict[str, object] = json.JSONDecoder().raw_decode(page[start:])[0]
        return data

    lines = {line["images_seen"]: line for line in read_metrics(run)}
    data = page_data(run)
    assert data["generator"] is None
    expected = {"metric": "loss/generator", "value": lines[48]["loss/generator"], "images_seen": 48}
    assert data["best"] == expected
    for words, images_seen in (((run, "--at", 0.096), 96), ((run / GENERATOR_BEST,), 48)):
        shown = page_data(*words)["generator"]
        assert isinstance(shown, dict)
        assert shown["images_seen"] == images_seen
        assert shown["samples"].startswith("data:image/webp")
        assert shown["measured"]["quality/swd"] == lines[images_seen]["quality/swd"]
    shutil.copy(run / GENERATOR, tmp_path / "lone.safetensors")
    with pytest.raises(UserError, match="not in a run directory"):
        invoke("report", tmp_path / "lone.safetensors")


def test_the_public_loader_takes_the_same(run: Path) -> None:
    best: Callable[..., torch.nn.Module] = load_generator
    for name, tensor in weights_at(run, 48).items():
        assert torch.equal(best(run, best=True).state_dict()[name], tensor)


def test_a_relative_data_set_is_found_from_another_folder(
    run: Path, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "project"
    shutil.copytree(shards, project / "data" / "set")
    moved = project / "runs" / "one"
    shutil.copytree(run, moved)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for folder in (project, elsewhere, moved):
        monkeypatch.chdir(folder)
        loaded = open_generator(moved)
        data = loaded.config.data.model_copy(update={"shards": Path("data/set")})
        config = loaded.config.model_copy(update={"data": data})
        place = select_data(replace(loaded, config=config), None).shards
        assert isinstance(place, Path)
        assert place.samefile(project / "data" / "set")
    data = loaded.config.data.model_copy(update={"shards": Path("gone")})
    gone = replace(loaded, config=loaded.config.model_copy(update={"data": data}))
    with pytest.raises(UserError, match="gone: no such folder"):
        select_data(gone, None)
