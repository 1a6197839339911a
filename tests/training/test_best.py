"""Quality of a run: measured at its end too, its best generator kept, exported and selected."""

from pathlib import Path
from typing import Any

import pytest
import torch

from gantrain.config import load_config
from gantrain.inference.export import load_generator
from gantrain.metrics.evaluator import Evaluator
from gantrain.models.networks import Generator
from gantrain.runs.checkpoint import read_checkpoint
from gantrain.runs.generator_file import Measured, read_generator, read_measured
from gantrain.runs.metrics_file import read_metrics
from gantrain.runs.paths import GENERATOR, GENERATOR_BEST, checkpoint_dir, list_checkpoints
from gantrain.training.objectives import make_objective, metric_names
from tests.conftest import SNGAN, WGAN_GP, small_tree
from tests.curves import assert_same_end, curve, events, status
from tests.launching import Train, write_config

RANDOM = {"every_kimg": 0.064, "samples": 32, "features": "random"}
# Denser than the measurements, which are at 64, 128, 192 and 256 images.
DENSE = {"log_every_kimg": 0.016, "checkpoint_every_kimg": 0.016, "keep_checkpoints": 1}


def measurements(run: Path, metric: str) -> dict[int, float]:
    return {int(x["images_seen"]): x[metric] for x in read_metrics(run) if metric in x}


def write_tree(folder: Path, shards: Path, name: str = "run", **sections: Any) -> Path:
    settings = {"metrics": RANDOM, "output": DENSE, **sections}
    return write_config(folder / f"{name}.yaml", small_tree(shards, folder / name, **settings))


def assert_best_is(run: Path, metric: str, images_seen: int) -> None:
    value = measurements(run, metric)[images_seen]
    exported = read_generator(run / GENERATOR_BEST)
    assert exported.measured == Measured(metric, value, images_seen)
    snapshot = read_checkpoint(checkpoint_dir(run, images_seen))
    assert exported.images_seen == snapshot.images_seen == images_seen
    for name, tensor in snapshot.tensors["ema"].items():
        assert torch.equal(exported.tensors[name], tensor), name
    load_generator(run / GENERATOR_BEST)


@pytest.mark.parametrize("keep_best", ["quality/checkerboard", "quality/swd"])
def test_the_checkpoint_that_was_measured_best_is_kept_and_exported(
    keep_best: str, shards: Path, tmp_path: Path, train: Train
) -> None:
    output = {**DENSE, "keep_best": keep_best}
    config = write_tree(tmp_path, shards, training={"total_kimg": 0.256}, output=output)
    done = train(config)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "run"
    values = measurements(run, keep_best)
    assert list(values) == [64, 128, 192, 256]
    best = min(
        values, key=lambda n: values[n] if keep_best == "quality/swd" else abs(values[n] - 1)
    )
    assert_best_is(run, keep_best, best)
    assert sorted(n for n, _ in list_checkpoints(run)) == sorted({best, 256})
    assert events(run, "best")[-1]["images_seen"] == best


def test_a_best_in_the_middle_survives_the_end_and_a_resume(
    shards: Path, tmp_path: Path, train: Train
) -> None:
    # G's loss falls in so short a run, so that its highest value is an early one.
    output = {**DENSE, "keep_best": "loss/generator", "keep_best_is": "highest"}
    config = write_tree(tmp_path, shards, output=output)
    run = tmp_path / "run"
    for total in (0.096, 0.16):
        assert train(config, f"training.total_kimg={total}").returncode == 0
        values = measurements(run, "loss/generator")
        best = max(values, key=values.__getitem__)
        assert best < total * 1000
        assert_best_is(run, "loss/generator", best)
        assert sorted(n for n, _ in list_checkpoints(run)) == [best, round(total * 1000)]


def test_the_default_keeps_the_best_kid_of_small_samples_and_nothing_without_measurements(
    shards: Path, tmp_path: Path, train: Train
) -> None:
    run = tmp_path / "run"
    config = write_tree(tmp_path, shards)
    assert train(config, "metrics.every_kimg=0", "training.total_kimg=0.064").returncode == 0
    assert not (run / GENERATOR_BEST).exists()
    done = train(config)
    assert done.returncode == 0
    assert "this run measures no FID, so that the lowest quality/kid_random is kept" in done.stderr
    values = measurements(run, "quality/kid_random")
    assert list(values) == [128, 160]
    assert_best_is(run, "quality/kid_random", min(values, key=values.__getitem__))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("output.keep_best=quality/kdi_random", "nearest that it logs is 'quality/kid_random'"),
        ("output.keep_best=quality/fid_classifier", "Choose one of quality/kid_random"),
        ("output.keep_best=losses/generator", "never logs it"),
        ("output.keep_best=quality/memorisation", "never logs it"),
    ],
)
def test_an_impossible_ruler_is_an_error_before_anything_is_written(
    override: str, message: str, shards: Path, tmp_path: Path, train: Train
) -> None:
    done = train(write_tree(tmp_path, shards), override)
    assert done.returncode == 2
    assert message in done.stderr
    assert not (tmp_path / "run").exists()


def test_the_quality_is_measured_once_at_the_final_image_count(
    shards: Path, tmp_path: Path, train: Train
) -> None:
    run = tmp_path / "run"
    for every, expected in ((0.064, [64, 128, 160]), (0.08, [80, 160]), (50, [160])):
        config = write_tree(tmp_path, shards, metrics={**RANDOM, "every_kimg": every})
        override = f"output.run_dir={run}{every}"
        assert train(config, override).returncode == 0
        lines = read_metrics(Path(f"{run}{every}"))
        measured = [line["images_seen"] for line in lines if "quality/swd" in line]
        assert measured == expected
        final = read_measured(Path(f"{run}{every}") / GENERATOR)
        value = lines[-1]["quality/kid_random"]
        assert final == Measured("quality/kid_random", value, 160)


@pytest.mark.parametrize("total", [0.08, 0.096, 0.144])
def test_a_run_made_longer_is_that_of_one_start(
    total: float, shards: Path, tmp_path: Path, train: Train
) -> None:
    # 80 images are within a log interval; 96 and 144 end one, without and with a measurement due.
    output = {"log_every_kimg": 0.048, "checkpoint_every_kimg": 1}
    metrics = {**RANDOM, "every_kimg": 0.144}
    for name, totals in (("once", (0.192,)), ("twice", (total, 0.192))):
        config = write_tree(tmp_path, shards, name, output=output, metrics=metrics)
        for each in totals:
            assert train(config, f"training.total_kimg={each}").returncode == 0
    assert_same_end(tmp_path / "once", tmp_path / "twice")
    assert [x["images_seen"] for x in curve(tmp_path / "once") if "quality/swd" in x] == [144, 192]


def test_a_run_stopped_at_its_last_measurement_ends_when_it_is_started_again(
    shards: Path, tmp_path: Path, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = write_tree(tmp_path, shards, "killed", metrics={**RANDOM, "every_kimg": 50})

    def stop(evaluator: Evaluator, generator: Generator) -> dict[str, float]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Evaluator, "measure", stop)
        assert train(killed).returncode == 130
    assert not (tmp_path / "killed" / GENERATOR).exists()
    undisturbed = write_tree(tmp_path, shards, "undisturbed", metrics={**RANDOM, "every_kimg": 50})
    for config in (undisturbed, killed, killed):  # the last start finds nothing left to do
        assert train(config).returncode == 0
        run = config.with_suffix("")
        assert status(run)["state"] == "finished"
        assert_best_is(run, "quality/kid_random", 160)
    assert_same_end(tmp_path / "undisturbed", tmp_path / "killed")
    assert (tmp_path / "killed" / GENERATOR).exists()


def test_a_best_after_the_checkpoint_that_a_run_resumes_from_is_forgotten(
    shards: Path, tmp_path: Path, train: Train
) -> None:
    run = tmp_path / "run"
    config = write_tree(tmp_path, shards, output={**DENSE, "keep_checkpoints": 100})
    assert train(config).returncode == 0
    for images_seen, folder in list_checkpoints(run):
        if images_seen > 80:
            (folder / "generator.safetensors").write_bytes(b"broken")
    assert train(config, "training.total_kimg=0.08").returncode == 0
    assert read_generator(run / GENERATOR_BEST).images_seen in (64, 80)
    assert list(measurements(run, "quality/swd")) == [64, 80]


@pytest.mark.parametrize("sections", [{}, WGAN_GP, SNGAN])
def test_the_names_of_the_training_metrics_are_known_before_the_first_line(
    sections: dict[str, dict[str, Any]], shards: Path, tmp_path: Path, train: Train
) -> None:
    config = write_config(tmp_path / "c.yaml", small_tree(shards, tmp_path / "run", **sections))
    objective = make_objective(load_config(config))
    assert train(config, "training.total_kimg=0.032").returncode == 0
    logged = set(curve(tmp_path / "run")[0]) - {"images_seen", "health/diagnosis"}
    assert set(metric_names(objective)) == logged
