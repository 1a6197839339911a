"""Sweeps are the same from every working directory; `~` and variables in their paths."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from gantrain.common.errors import UserError
from launch.__main__ import app
from launch.launcher import submit_missing
from launch.plan import plan_sweep
from launch.settings import settings_from_directory, settings_from_file
from launch.sweepdir import config_file, directory_of
from launch.sweepfile import load_sweep
from tests.launch.conftest import base_tree


@pytest.fixture(autouse=True)
def signal_handlers() -> Iterator[None]:
    """Restores the handlers that the worker of the debug executor installs in this process."""
    numbers = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGCONT)
    handlers = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, handlers, strict=True):
        signal.signal(number, handler)


def write_project(folder: Path, shards: str = "data/squares", **content: Any) -> Path:
    """Write a project with a cluster, a base config and a sweep; return the sweep file."""
    for name in ("clusters", "sweeps"):
        (folder / "configs" / name).mkdir(parents=True)
    (folder / "configs" / "clusters" / "here.yaml").write_text("executor: debug\n")
    (folder / "configs" / "base.yaml").write_text(yaml.safe_dump(base_tree(Path(shards))))
    path = folder / "configs" / "sweeps" / "s.yaml"
    tree = {"name": "s", "base": "../base.yaml", "cluster": "here", "seeds": 1}
    path.write_text(yaml.safe_dump({**tree, **content}))
    return path


def launch(file: Path) -> list[str]:
    """Submit a sweep file's runs; they fail at once, without images."""
    sweep = load_sweep(file)
    settings = settings_from_file(sweep, file, None, None)
    return submit_missing(settings, plan_sweep(sweep, file, 1).runs).submitted


def test_second_launch_from_elsewhere_finds_the_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    elsewhere.mkdir()
    file = write_project(project)
    monkeypatch.chdir(project)
    assert directory_of(file) == Path("runs/s")  # as shown to a user in the project
    assert len(launch(Path("configs/sweeps/s.yaml"))) == 1
    for folder, path in ((elsewhere, file), (file.parent, Path("s.yaml")), (Path("/"), file)):
        monkeypatch.chdir(folder)
        assert directory_of(path).absolute() == project / "runs" / "s"
        assert launch(path) == []
        done = CliRunner().invoke(app, ["status", str(path), "--json"])
        assert len(json.loads(done.stdout)["runs"]) == 1
        done = CliRunner().invoke(app, ["plan", str(path), "--json"])
        assert json.loads(done.stdout)["missing"] == 0
    assert not (elsewhere / "runs").exists()
    # The trainer looked for the images in the project.
    (elements,) = (project / "runs" / "s" / "jobs").glob("*/elements.json")
    assert json.loads(elements.read_text())["worker"]["cwd"] == str(project)
    assert settings_from_directory(project / "runs" / "s", None, None).project == project


@pytest.mark.parametrize("content", [{}, {"dir": "mine"}])
def test_file_without_a_project_has_its_sweep_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: dict[str, Any]
) -> None:
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base_tree(Path("squares"))))
    (tmp_path / "c.yaml").write_text("executor: debug\n")
    tree = {"name": "s", "base": "base.yaml", "cluster": "c.yaml", "seeds": 1, **content}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(tree))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert len(launch(tmp_path / "s.yaml")) == 1
    monkeypatch.chdir(tmp_path)
    assert launch(Path("s.yaml")) == []
    assert (tmp_path / (content.get("dir") or "runs/s") / "sweep.json").exists()
    # Jobs keep the working directory of the first launch.
    settings = settings_from_file(load_sweep(Path("s.yaml")), Path("s.yaml"), None, None)
    assert settings.project == elsewhere


def test_sweep_of_an_earlier_version_stays_where_it_was_launched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_project(tmp_path / "project")
    old = tmp_path / "work" / "runs" / "s"
    old.mkdir(parents=True)
    (old / "sweep.json").write_text(json.dumps({"name": "s", "cluster": {"executor": "debug"}}))
    monkeypatch.chdir(tmp_path / "work")
    assert directory_of(file) == Path("runs/s")
    (old / "sweep.json").write_text(json.dumps({"name": "other"}))
    assert directory_of(file) == tmp_path / "project" / "runs" / "s"


def test_sweep_that_could_not_be_launched_today_is_found(tmp_path: Path) -> None:
    # Earlier versions accepted a key in `exclude` that no point has.
    file = write_project(tmp_path, exclude=[{"generator.width": 4}])
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())  # with a byte order mark
    with pytest.raises(UserError, match=r"exclude: generator\.width: no point"):
        load_sweep(file)
    assert directory_of(file) == tmp_path / "runs" / "s"


def test_home_and_variables_in_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SWEEP_TEST", str(tmp_path / "scratch"))
    monkeypatch.delenv("SWEEP_TEST_UNSET", raising=False)
    file = write_project(
        tmp_path / "home" / "project",
        shards="$SWEEP_TEST/squares",
        base="~/project/configs/base.yaml",
        cluster="~/project/configs/clusters/here.yaml",
        dir="${SWEEP_TEST}/a [b] $$",
        set={"data.cache_dir": "$SWEEP_TEST_UNSET/cache"},  # of the node
    )
    (run,) = plan_sweep(load_sweep(file), file, 1).runs
    assert run.flat["data.shards"] == "$SWEEP_TEST/squares"  # ids are of paths as written
    assert directory_of(file) == tmp_path / "scratch" / "a [b] $"
    assert launch(file) == [run.id]
    written = yaml.safe_load(config_file(directory_of(file), run.id).read_text())
    assert written["data"]["shards"] == str(tmp_path / "scratch" / "squares")
    assert written["data"]["cache_dir"] == "$SWEEP_TEST_UNSET/cache"
    assert written["output"]["run_dir"].endswith(f"/a [b] $$/runs/{run.id}")
    for content in (
        {"base": "$SWEEP_TEST_UNSET/base.yaml"},
        {"dir": "$SWEEP_TEST_UNSET/s"},
        {"cluster": "${SWEEP_TEST_UNSET}/c.yaml"},
        {"set": {"data.shards": "$SWEEP_TEST_UNSET/x"}},
        {"grid": {"data.shards": ["a", "~nobody-of-this-name/x"]}},
    ):
        tree = {"name": "s", "base": str(tmp_path / "home/project/configs/base.yaml"), "seeds": 1}
        file.write_text(yaml.safe_dump({**tree, **content}))
        with pytest.raises(UserError, match=r"SWEEP_TEST_UNSET|nobody-of-this-name") as caught:
            plan_sweep(load_sweep(file), file, 1)
        key = next(iter(content)).replace("set", "data.shards").replace("grid", "data.shards")
        assert str(caught.value).startswith(f"{file}: {key}: ")


def test_clusters_are_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_project(tmp_path / "project", cluster="unknown")
    monkeypatch.chdir(os.path.sep)
    with pytest.raises(UserError, match=r"project/configs/clusters/unknown\.yaml.* one of:.*here"):
        settings_from_file(load_sweep(file), file, None, None)
    assert settings_from_file(load_sweep(file), file, "here", None).cluster.executor == "debug"
    (file.parent / "mine.yaml").write_text("executor: local\n")
    file.write_text("name: s\nbase: ../base.yaml\ncluster: mine.yaml\n")
    assert settings_from_file(load_sweep(file), file, None, None).cluster.executor == "local"
