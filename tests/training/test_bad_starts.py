"""A training that is started with paths that are wrong, or on a run that was tidied up."""

import shutil
from pathlib import Path

import pytest

from gantrain.common.yaml_core import dump_yaml
from gantrain.train import main
from tests.bad_paths import bad_inputs, bad_outputs, escape_output
from tests.conftest import small_tree
from tests.launching import Train, write_config


@pytest.fixture(scope="module")
def config(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config whose run `run`, beside it, is finished."""
    folder = tmp_path_factory.mktemp("finished")
    tree = small_tree(shards, folder / "run", metrics={"every_kimg": 0})
    path = write_config(folder / "config.yaml", tree)
    assert main(["--config", str(path)]) == 0
    return path


def bad_start(train: Train, config: Path, *overrides: str) -> str:
    """Start a training that must fail before it begins; return its one line on stderr."""
    escape_output()
    done = train(config, *overrides)
    message = f"{config} {overrides}: {done.returncode} {done.stderr}"
    assert done.returncode == 2, message
    assert "Traceback" not in done.stderr, message
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("gantrain: ")]
    return line


def test_a_bad_config_file_is_named(
    config: Path, shards: Path, tmp_path: Path, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for bad in bad_inputs(config.parent / "run", shards, tmp_path).values():
        assert str(bad)[:100].rstrip("\udcff") in bad_start(train, bad)


def test_a_bad_set_is_named_and_nothing_is_written(
    config: Path, shards: Path, tmp_path: Path, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "set.yaml"
    for kind, bad in bad_inputs(config.parent / "run", shards, tmp_path).items():
        if kind == "not UTF-8":  # YAML has no such text
            continue
        tree = small_tree(bad, tmp_path / "run")
        file.write_text(dump_yaml(tree), encoding="utf-8")
        assert str(bad)[:100] in bad_start(train, file)
        assert not (tmp_path / "run").exists()


def test_an_unwritable_run_directory_is_named_and_nothing_is_written(
    config: Path, tmp_path: Path, train: Train
) -> None:
    for kind, bad in (bad_outputs(tmp_path) | {"a file": tmp_path / "file"}).items():
        if kind == "a folder with files":
            continue
        before = sorted(tmp_path.rglob("*"))
        assert str(bad.parent) in bad_start(train, config, f"output.run_dir={bad}")
        assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "file").read_bytes() == b"kept"


def test_a_finished_run_that_was_tidied_up_starts_again_or_says_what_is_in_the_way(
    config: Path, tmp_path: Path, train: Train
) -> None:
    original, run = config.parent / "run", tmp_path / "run"
    place = f"output.run_dir={run}"
    for entry in sorted(path.name for path in original.iterdir()):
        for replacement in ("nothing", "a folder", "a file", "a link to itself"):
            shutil.rmtree(run, ignore_errors=True)
            shutil.copytree(original, run)
            path = run / entry
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
            if replacement == "a folder":
                (path / "inner").mkdir(parents=True)
            elif replacement == "a file":
                path.write_bytes(bytes(range(256)))
            elif replacement == "a link to itself":
                path.symlink_to(path.name)
            done = train(config, place)
            message = f"{entry}, {replacement}: {done.returncode} {done.stderr}"
            assert "Traceback" not in done.stderr, message
            lines = [line for line in done.stderr.splitlines() if line.startswith("gantrain: ")]
            assert len(lines) == (1 if done.returncode == 2 else 0), message
            if replacement == "nothing" and entry != "checkpoints":
                assert done.returncode == 0, message
            elif done.returncode == 2:
                assert str(path if entry != "checkpoints" else run) in lines[0], message
            if entry == "checkpoints":
                assert done.returncode == 2, message
                same = (run / "metrics.jsonl").read_bytes()
                assert same == (original / "metrics.jsonl").read_bytes()


@pytest.mark.parametrize("kimg", ["0.001", "1e-9", "0.015"])
def test_a_run_of_less_than_a_batch_is_refused(config: Path, kimg: str, train: Train) -> None:
    line = bad_start(train, config, f"training.total_kimg={kimg}")
    assert "training.total_kimg" in line
    assert "fewer than one batch of 16 (training.batch_size); choose 0.016 or more" in line


def test_a_working_directory_that_is_gone_is_one_line(
    config: Path, tmp_path: Path, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert "No such file or directory" in bad_start(train, config, "output.run_dir=run")
    monkeypatch.chdir(tmp_path)
