"""The best measurement of a run: found again where the run resumes, and exported."""

import json
from pathlib import Path

import pytest

from gantrain.common.errors import UserError
from gantrain.config import OutputConfig
from gantrain.config.quality import Ruler
from gantrain.runs.best import export_best, restore_best
from gantrain.runs.checkpoint import write_checkpoint
from gantrain.runs.generator_file import Measured, read_generator, read_measured
from gantrain.runs.paths import GENERATOR_BEST, checkpoint_dir, list_checkpoints
from gantrain.runs.saver import Saver
from tests.runs.test_checkpoint import snapshot

FID = Ruler("quality/fid", "lowest")


def measured(images_seen: int, value: float) -> Measured:
    return Measured(FID.metric, value, images_seen)


def write_run(run: Path, values: dict[int, float], checkpoints: list[int]) -> None:
    """Write metrics and checkpoints; the weights of each checkpoint are its images seen."""
    for images_seen in checkpoints:
        write_checkpoint(snapshot(images_seen, float(images_seen)), run)
    lines = [{"images_seen": images, FID.metric: value} for images, value in values.items()]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def exported_weight(run: Path) -> float:
    return float(read_generator(run / GENERATOR_BEST).tensors["weight"][0, 0])


def test_the_best_is_searched_among_the_checkpoints_that_were_measured(tmp_path: Path) -> None:
    values = {100: 9.0, 200: 3.0, 300: 1.0, 400: 4.0, 600: 0.5}
    write_run(tmp_path, values, [100, 200, 350, 400, 500, 600])
    assert restore_best(tmp_path, FID, 500) == measured(200, 3.0)
    assert exported_weight(tmp_path) == 200
    assert read_measured(tmp_path / GENERATOR_BEST) == measured(200, 3.0)
    assert restore_best(tmp_path, FID, 150) == measured(100, 9.0)
    assert exported_weight(tmp_path) == 100
    assert restore_best(tmp_path, FID, 50) is None
    assert not (tmp_path / GENERATOR_BEST).exists()


def test_a_broken_checkpoint_is_passed_over(tmp_path: Path) -> None:
    write_run(tmp_path, {100: 9.0, 200: 3.0}, [100, 200])
    (checkpoint_dir(tmp_path, 200) / "ema.safetensors").write_bytes(b"broken")
    assert restore_best(tmp_path, FID, 300) == measured(100, 9.0)
    assert exported_weight(tmp_path) == 100
    with pytest.raises(UserError, match="truncated or changed"):
        export_best(tmp_path, measured(200, 3.0))


def test_an_exported_generator_outlives_its_checkpoint_and_its_line_but_not_its_past(
    tmp_path: Path,
) -> None:
    write_run(tmp_path, {100: 9.0}, [100, 200])
    export_best(tmp_path, measured(200, 3.0))
    before = (tmp_path / GENERATOR_BEST).read_bytes()
    assert restore_best(tmp_path, FID, 200) == measured(200, 3.0)
    assert (tmp_path / GENERATOR_BEST).read_bytes() == before
    # Another metric does not take the value of this one for its own.
    assert restore_best(tmp_path, Ruler("quality/kid", "lowest"), 200) is None
    assert restore_best(tmp_path, FID, 150) == measured(100, 9.0)
    export_best(tmp_path, measured(200, 3.0))
    assert restore_best(tmp_path, None, 150) is None
    assert not (tmp_path / GENERATOR_BEST).exists()


def test_the_saver_exports_the_best_and_keeps_its_checkpoint(tmp_path: Path) -> None:
    saver = Saver(OutputConfig(run_dir=tmp_path, keep_checkpoints=1))
    saver.save(snapshot(100, 100.0), None)
    saver.save(snapshot(200, 200.0), measured(200, 3.0))
    saver.save(snapshot(300, 300.0), measured(200, 3.0))
    saver.finish()
    assert [images for images, _ in list_checkpoints(tmp_path)] == [300, 200]
    assert exported_weight(tmp_path) == 200
    saver.keep(measured(300, 2.0))
    saver.finish()
    assert [images for images, _ in list_checkpoints(tmp_path)] == [300]
    assert exported_weight(tmp_path) == 300
    (tmp_path / GENERATOR_BEST).unlink()
    (tmp_path / GENERATOR_BEST).mkdir()
    saver.keep(measured(300, 2.0))
    with pytest.raises(UserError, match=r"generator-best\.safetensors: cannot be written"):
        saver.finish()
