"""A user's mistakes: one clear error each, exit status not 0, nothing half-written."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from gantrain.data.shards.writer import write_shards
from tests.conftest import draw_squares, small_tree
from tests.launching import Train, launch, train_alone, write_config


def remove_manifest(shards: Path) -> None:
    (shards / "manifest.json").unlink()


def remove_folder(shards: Path) -> None:
    shutil.rmtree(shards)


def empty_folder(shards: Path) -> None:
    for path in shards.iterdir():
        path.unlink()


def add_stranger(shards: Path) -> None:
    shutil.copy(shards / "shard-000000.tar", shards / "stranger.tar")


def cut_short(shards: Path) -> None:
    path = shards / "shard-000001.tar"
    path.write_bytes(path.read_bytes()[:50_000])


def other_size(shards: Path) -> None:
    shutil.rmtree(shards)
    write_shards(shards, draw_squares(8, size=64), size=64, channels=1, source="squares")


@pytest.mark.parametrize(
    ("harm", "fragments"),
    [
        (remove_folder, ["squares", "gantrain data"]),
        (empty_folder, ["squares", "manifest.json"]),
        (remove_manifest, ["manifest.json"]),
        (add_stranger, ["stranger.tar"]),
        (cut_short, ["shard-000001.tar"]),
        (other_size, ["data.size", "32", "64"]),
    ],
)
def test_broken_shards_stop_the_run_before_it_starts(
    harm: Callable[[Path], None], fragments: list[str], shards: Path, tmp_path: Path, train: Train
) -> None:
    mine = tmp_path / "squares"
    shutil.copytree(shards, mine)
    harm(mine)
    run = tmp_path / "run"
    done = train(write_config(tmp_path / "config.yaml", small_tree(mine, run)))
    assert_one_error(done.returncode, done.stderr, fragments)
    assert not run.exists()


@pytest.mark.parametrize(
    ("override", "fragments"),
    [
        ("training.bach_size=8", ["training.bach_size", "training.batch_size"]),
        ("discriminator.dropout=2", ["discriminator.dropout", "2", "less than 1"]),
        ("training.mixed_precision=fp16", ["fp16", "GPU", "bf16"]),
        ("training.compile=graphs", ["training.compile", "graphs", "expected off or on"]),
        ("training.device=cuda", ["training.device", "cuda", "auto"]),
        ("training.world_size=2", ["training.world_size", "2 ranks requested", "1 take part"]),
        ("output.resume=must", ["no intact checkpoint"]),
    ],
)
def test_an_invalid_setting_stops_the_run_before_it_starts(
    override: str, fragments: list[str], shards: Path, tmp_path: Path, train: Train
) -> None:
    run = tmp_path / "run"
    done = train(write_config(tmp_path / "config.yaml", small_tree(shards, run)), override)
    assert_one_error(done.returncode, done.stderr, fragments)
    assert not run.exists()


def assert_one_error(returncode: int, stderr: str, fragments: list[str]) -> None:
    assert returncode == 2, stderr
    assert "Traceback" not in stderr
    errors = [line for line in stderr.splitlines() if line.startswith("gantrain")]
    assert len(errors) == 1
    for fragment in fragments:
        assert fragment in stderr


def test_a_launch_with_fewer_ranks_than_requested_is_refused(shards: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path / "config.yaml", small_tree(shards, tmp_path / "run"))
    # What `accelerate launch --cpu --num_processes 2` does: one process, with an address to meet.
    done = train_alone(config, changes={"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"})
    assert_one_error(done.returncode, done.stderr, ["asked for several processes", "--multi_gpu"])
    assert not (tmp_path / "run").exists()


def test_a_batch_that_does_not_divide_over_the_ranks_is_refused(
    shards: Path, tmp_path: Path
) -> None:
    tree = small_tree(shards, tmp_path / "run")
    tree["training"]["batch_size"] = 15
    done = launch(write_config(tmp_path / "config.yaml", tree), ranks=2)
    assert done.returncode != 0
    assert "training.batch_size: 15 cannot be split over 2 ranks" in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_of_another_architecture_is_refused_and_kept(
    shards: Path, tmp_path: Path, train: Train
) -> None:
    run = tmp_path / "run"
    config = write_config(tmp_path / "config.yaml", small_tree(shards, run))
    assert train(config).returncode == 0
    before = contents(run)
    done = train(config, "generator.width=8", "training.total_kimg=0.32")
    assert_one_error(done.returncode, done.stderr, ["generator.width", "was 4 and is 8"])
    assert contents(run) == before


def contents(run: Path) -> dict[Path, bytes]:
    return {p: p.read_bytes() for p in run.rglob("*") if p.is_file() and p.name != ".lock"}


def test_a_run_is_not_started_over_another_one(shards: Path, tmp_path: Path, train: Train) -> None:
    config = write_config(tmp_path / "config.yaml", small_tree(shards, tmp_path / "run"))
    assert train(config).returncode == 0
    done = train(config, "output.resume=never")
    assert_one_error(done.returncode, done.stderr, ["output.resume", "output.run_dir"])
