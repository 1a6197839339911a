"""What fails beside the training: at the start it is an error, later an event."""

import math
import shutil
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

import gantrain.metrics.evaluator
import gantrain.training.loop
from gantrain.data.shards.writer import write_shards
from gantrain.models.networks import Generator
from gantrain.runs.checkpoint import read_newest
from tests.conftest import draw_squares, small_tree
from tests.curves import assert_same_end, curve, events, status
from tests.launching import Train, launch, write_config

MEASURE = {"every_kimg": 0.032, "samples": 16, "features": "random"}


@pytest.fixture
def from_images(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], object]], None]:
    """Makes something happen once, before the D step at so many images seen."""

    def arrange(images: int, happen: Callable[[], object]) -> None:
        original, waiting = gantrain.training.loop.d_step, [happen]

        def d_step(gan: Any, objective: Any, batch: Any) -> Any:
            if batch.rng.start >= images and waiting:
                waiting.pop()()
            return original(gan, objective, batch)

        monkeypatch.setattr(gantrain.training.loop, "d_step", d_step)

    return arrange


def config_of(tmp_path: Path, shards: Path, name: str, **sections: Any) -> Path:
    output = {"checkpoint_every_kimg": 0.032, "sample_every_kimg": 0.032}
    tree = small_tree(shards, tmp_path / name, output=output, **sections)
    return write_config(tmp_path / f"{name}.yaml", tree)


def put_in_place(path: Path, *, by_folder: bool) -> None:
    """Put something of the wrong kind in the place of a file or folder."""
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    path.mkdir() if by_folder else path.touch()


def test_services_that_fail_in_turn_do_not_end_the_training(
    shards: Path,
    tmp_path: Path,
    train: Train,
    from_images: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = tmp_path / "run"

    def harm() -> None:
        put_in_place(run / "samples", by_folder=False)
        put_in_place(run / "ranks", by_folder=False)
        put_in_place(run / "status.json", by_folder=True)
        put_in_place(run / "metrics.jsonl", by_folder=True)
        monkeypatch.setattr(gantrain.metrics.evaluator, "measure", lambda *_: 1 / 0)

    def repair() -> None:
        (run / "status.json").rmdir()
        (run / "metrics.jsonl").rmdir()

    assert train(config_of(tmp_path, shards, "undisturbed")).returncode == 0
    from_images(64, harm)
    from_images(128, repair)
    done = train(config_of(tmp_path, shards, "run", metrics=MEASURE))
    assert done.returncode == 0, done.stderr
    failed = [(e["service"], e["reason"].partition(":")[0]) for e in events(run, "service_failed")]
    services = ["metrics", "metrics.jsonl", "samples", "status.json"]
    assert sorted(set(failed)) == sorted(failed), "each is recorded once"
    assert sorted(s for s, _ in failed if s != "heartbeat") == services
    for service in services:
        assert done.stderr.count(f"{service} failed, and the training continues") == 1
    (metrics,) = (e for e in events(run, "service_failed") if e["service"] == "metrics")
    assert "ZeroDivisionError" in metrics["reason"]
    assert "in <lambda>" in metrics["traceback"]
    assert status(run)["state"] == "finished"
    # What could not be written meanwhile is written later.
    assert [line["images_seen"] for line in curve(run)] == [96, 128, 160]
    shutil.copy(tmp_path / "undisturbed" / "metrics.jsonl", run / "metrics.jsonl")
    assert_same_end(tmp_path / "undisturbed", run)


def test_images_of_nan_are_not_measured_which_is_said_once(
    shards: Path,
    tmp_path: Path,
    train: Train,
    from_images: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = tmp_path / "run"

    def break_generators() -> None:
        generate = gantrain.metrics.evaluator.generate_images

        def generate_broken(generator: Generator, *arguments: int) -> Tensor:
            broken = deepcopy(generator)
            for parameter in broken.parameters():
                parameter.data.fill_(math.nan)
            return generate(broken, *arguments)

        monkeypatch.setattr(gantrain.metrics.evaluator, "generate_images", generate_broken)

    from_images(64, break_generators)
    done = train(config_of(tmp_path, shards, "run", metrics=MEASURE))
    assert done.returncode == 0, done.stderr
    assert [line["images_seen"] for line in curve(run) if "quality/swd" in line] == [32, 64]
    warning = "metrics failed, and the training continues: the generator is broken: it makes images"
    assert done.stderr.count(warning) == 1


def test_metrics_that_fail_on_one_rank_are_given_up_on_all(shards: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    config = config_of(tmp_path, shards, "run", metrics=MEASURE)
    done = launch(config, ranks=2, fault="metrics@64@1")
    assert done.returncode == 0, done.stderr
    assert status(run)["state"] == "finished"
    measured = [line["images_seen"] for line in curve(run) if "quality/swd" in line]
    assert measured == [32, 64]
    failed = {event.get("rank", 0): event["reason"] for event in events(run, "service_failed")}
    assert set(failed) == {0, 1}
    assert set(failed.values()) == {"rank 1: MemoryError: no memory for the images"}


def without_classes(tmp_path: Path) -> list[str]:
    folder = tmp_path / "no-classes"
    samples = (replace(sample, label={}) for sample in draw_squares(20))
    write_shards(folder, samples, size=32, channels=1, source="squares")
    return [f"data.shards={folder}", "metrics.features=classifier"]


def no_package(tmp_path: Path) -> list[str]:
    return ["metrics.features=inception"]


def stream_without_classifier(tmp_path: Path) -> list[str]:
    return ["data.mode=stream", "data.workers=0", "metrics.features=classifier"]


@pytest.mark.parametrize(
    ("arrange", "fragment"),
    [
        (without_classes, "at least two classes"),
        (no_package, "torch-fidelity"),
        (stream_without_classifier, "gantrain data features"),
    ],
)
def test_metrics_that_cannot_be_measured_are_an_error_at_the_start(
    arrange: Callable[[Path], list[str]], fragment: str, shards: Path, tmp_path: Path, train: Train
) -> None:
    tree = small_tree(shards, tmp_path / "run", metrics={"every_kimg": 50})
    config = write_config(tmp_path / "config.yaml", tree)
    done = train(config, *arrange(tmp_path))
    assert done.returncode == 2
    assert fragment in done.stderr
    assert "metrics.every_kimg=0" in done.stderr
    assert not (tmp_path / "run").exists()
    assert train(config, *arrange(tmp_path / "again"), "metrics.every_kimg=0").returncode == 0


@pytest.mark.parametrize("name", ["samples", "checkpoints", "ranks"])
def test_a_run_directory_in_which_something_is_in_the_way_is_an_error_at_the_start(
    name: str, shards: Path, tmp_path: Path, train: Train
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / name).touch()
    done = train(config_of(tmp_path, shards, "run"))
    assert done.returncode == 2
    assert str(run / name) in done.stderr
    assert read_newest(run) == (None, [])
