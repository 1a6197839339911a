"""Every command with every path that is wrong in some way: one line that names the path.

The commands and their paths are read from `gantrain` itself; a new command must be added
to WORDS below.
"""

import inspect
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from PIL import Image

from gantrain.cli import main as cli
from gantrain.common.errors import USER_ERROR_STATUS
from gantrain.train import main as train
from tests.bad_paths import bad_inputs, bad_outputs, bad_sources, escape_output
from tests.conftest import small_tree
from tests.foreign_tars import numbered_tars
from tests.launching import write_config
from tests.ldraw import CUBE, write_library

# For each command: its arguments and options as a user writes them, with {name} for each path.
WORDS = {
    "train": "{config}",
    "init": "{target} --shards {shards}",
    "sample": "{run} --n 1 --out {out}.png",
    "interpolate": "{run} 0 1 --steps 1 --out {out}.png",
    "walk": "{run} --n 2 --steps 1 --out {out}.webp",
    "arithmetic": "{run} 0+part=part0 --shards {shards} --out {out}.png",
    "grid": "{run} --direction part=part0 --rows 1 --columns 2 --shards {shards} --out {out}.png",
    "project": "{run} {images} --steps 1 --starts 1 --out {out}.png --latents {latents}",
    "nearest": "{run} 0 --shards {shards} --out {out}.png",
    "evaluate": "{runs} --samples 16 --features random --shards {shards}",
    "health": "{metrics}",
    "show": "{run}",
    "report": "{run} --out {out}",
    "watch": "{runs} --once",
    "export": "{run} --out {out}.onnx",
    "play": "{run} --export {folder} --shards {shards}",
    "workspace": None,  # has no path
    "schema": None,
    "config": None,
    "data render": "{target} --size 32 --views 1 --parts a --ldraw {ldraw} --workers 1",
    "data import": "{source} {target} --validation-list {validation_list} --workers 1",
    "data index": "{tars} --size 32 --workers 1 --overwrite",
    "data verify": "{folder} --workers 1",
    "data show": "{folder} --grid {grid}",
    "data features": "{folder} --cache-dir {cache_dir}",
}
OUTPUTS = {"out", "latents", "target", "grid", "play folder"}
# Wrong inputs that a command can do without, and says so.
OPTIONAL = {"data features cache_dir", "play shards"}
# Why a command may fail although its paths are right: the run was trained for a second, and the
# JavaScript packages are optional.
OTHER_REASONS = {
    **dict.fromkeys(("arithmetic", "grid"), "no attribute in its labels"),
    "play": "onnxruntime-web",
}


def commands(app: typer.Typer = cli.app, prefix: str = "") -> Iterator[tuple[str, set[str]]]:
    """Yield the name of each command and the names of its paths."""
    for command in app.registered_commands:
        function: Callable[..., Any] = command.callback  # type: ignore[assignment]
        name = command.name or function.__name__.strip("_").replace("_", "-")
        parameters = inspect.signature(function).parameters.values()
        yield (
            prefix + name,
            {p.name for p in parameters if "Path" in str(p.annotation) or p.name == "shards"},
        )
    for group in app.registered_groups:
        if group.name == "launch":  # see tests/launch
            continue
        assert group.typer_instance is not None
        yield from commands(group.typer_instance, f"{prefix}{group.name} ")


COMMANDS = dict(commands())


@dataclass(frozen=True)
class Good:
    """A run, a set, a folder of images, one of other tools' tars, and the working directory."""

    run: Path
    shards: Path
    images: Path
    tars: Path
    here: Path

    def words(self, command: str, **changed: str) -> list[str]:
        """Return the words of a command whose paths are right, except those in `changed`."""
        values = {
            "run": str(self.run),
            "config": str(self.here / "c.yaml"),
            "runs": str(self.run),
            "metrics": str(self.run),
            "shards": str(self.shards),
            "images": str(next(self.images.iterdir())),
            "out": str(self.here / "out"),
            "latents": str(self.here / "latents.npy"),
            "target": str(self.here / "target"),
            "grid": str(self.here / "sheet.png"),
            "cache_dir": str(self.here / "cache"),
            "source": str(self.images),
            "validation_list": str(self.here / "validation.txt"),
            "tars": str(self.tars),
            "ldraw": str(self.here / "library"),
            "folder": str(self.here / "page" if command == "play" else self.shards),
        }
        words = WORDS[command]
        assert words is not None
        return [*command.split(), *(word.format(**values | changed) for word in words.split())]


@pytest.fixture(scope="module")
def good(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Good:
    folder = tmp_path_factory.mktemp("paths")
    tree = small_tree(shards, folder / "run", metrics={"every_kimg": 0})
    assert train(["--config", str(write_config(folder / "c.yaml", tree))]) == 0
    (folder / "images").mkdir()
    for i in range(3):
        Image.new("L", (32, 32), 40 * i).save(folder / "images" / f"{i}.png")
    tars = numbered_tars(folder / "tars", (2,))
    write_library(folder / "library", parts__a=CUBE)
    return Good(folder / "run", shards, folder / "images", tars, folder)


@pytest.fixture
def run_words(
    good: Good,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    short_classifier_training: None,
) -> Callable[..., tuple[int, str, str]]:
    (good.here / "validation.txt").write_text("0.png\n")
    monkeypatch.setenv("SLURM_TMPDIR", str(good.here))
    monkeypatch.chdir(tmp_path)

    def run(command: str, **changed: str) -> tuple[int, str, str]:
        for made in ("target", "page"):
            shutil.rmtree(good.here / made, ignore_errors=True)
        capsys.readouterr()
        escape_output()
        with pytest.raises(SystemExit) as ended:
            cli.main(good.words(command, **changed))
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    return run


def test_every_command_is_swept() -> None:
    assert set(COMMANDS) == set(WORDS), "add the command to WORDS"
    for command, paths in COMMANDS.items():
        words = WORDS[command] or ""
        missing = {path for path in paths if f"{{{path}}}" not in words}
        assert not missing, f"{command}: add {missing} to its WORDS"


@pytest.mark.parametrize("command", [name for name, words in WORDS.items() if words])
def test_the_right_paths_are_accepted(
    command: str, run_words: Callable[..., tuple[int, str, str]]
) -> None:
    status, printed, errors = run_words(command)
    reason = OTHER_REASONS.get(command)
    assert status == 0 or (reason is not None and reason in errors), printed + errors


INPUTS = [
    (command, path)
    for command, paths in COMMANDS.items()
    for path in sorted(paths)
    if not {path, f"{command} {path}"} & OUTPUTS
]


@pytest.mark.parametrize(("command", "path"), INPUTS)
def test_a_bad_input_is_one_error_that_names_it(
    command: str,
    path: str,
    good: Good,
    tmp_path: Path,
    run_words: Callable[..., tuple[int, str, str]],
) -> None:
    wrong: list[str] = []
    for kind, bad in bad_inputs(good.run, good.shards, tmp_path).items():
        if is_good(command, path, kind):
            continue
        status, printed, errors = run_words(command, **{path: str(bad)})
        lines = [line for line in errors.splitlines() if line.startswith("gantrain: ")]
        right = "Traceback" not in errors
        right &= bad.name[:60].rstrip("\udcff") in printed + errors
        if f"{command} {path}" not in OPTIONAL:
            right &= status == USER_ERROR_STATUS and len(lines) == 1
        right &= not (good.here / "target").exists()
        if not right:
            wrong.append(f"{kind}: {status} {printed} {errors}")
    assert not wrong, "\n".join(wrong)


def test_a_source_that_cannot_be_imported_is_one_error_that_names_it(
    good: Good, tmp_path: Path, run_words: Callable[..., tuple[int, str, str]]
) -> None:
    for kind, bad in bad_sources(tmp_path).items():
        for command, path in (("data import", "source"), ("data index", "tars")):
            status, printed, errors = run_words(command, **{path: str(bad)})
            message = f"{command} {kind}: {status} {printed} {errors}"
            assert status == USER_ERROR_STATUS, message
            (line,) = errors.splitlines()
            assert line.startswith(f"gantrain: {bad}"), message
        assert not (good.here / "target").exists(), message
    assert not (tmp_path / "manifest.json").exists()


def is_good(command: str, path: str, kind: str) -> bool:
    """Return whether a path is a right one for this command after all."""
    return (path, kind) in {
        ("validation_list", "empty file"),
        ("validation_list", "device"),
        ("cache_dir", "missing"),
        ("cache_dir", "not UTF-8"),
        ("cache_dir", "empty folder"),
        ("cache_dir", "broken set"),
        ("cache_dir", "broken run"),
    }


UNWRITABLE = [
    (command, path)
    for command, paths in COMMANDS.items()
    for path in sorted(paths)
    if {path, f"{command} {path}"} & OUTPUTS
]


@pytest.mark.parametrize(("command", "path"), UNWRITABLE)
def test_an_unwritable_output_is_one_error_that_names_it(
    command: str,
    path: str,
    tmp_path: Path,
    run_words: Callable[..., tuple[int, str, str]],
) -> None:
    for kind, bad in bad_outputs(tmp_path).items():
        if (command, kind) == ("init", "a folder with files"):
            continue  # where a project may be
        before = sorted(tmp_path.rglob("*"))
        status, printed, errors = run_words(command, **{path: str(bad)})
        message = f"{kind}: {status} {printed} {errors}"
        assert status == USER_ERROR_STATUS, message
        assert "Traceback" not in errors, message
        (line,) = [line for line in errors.splitlines() if line.startswith("gantrain: ")]
        assert str(bad)[:60] in line, message
        assert sorted(tmp_path.rglob("*")) == before, message
    assert (tmp_path / "file").read_bytes() == b"kept"


def test_a_bug_is_called_one_and_keeps_its_traceback(
    good: Good, monkeypatch: pytest.MonkeyPatch, run_words: Callable[..., tuple[int, str, str]]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr("gantrain.inference.export.open_generator", fail)
    status, _, errors = run_words("sample")
    assert status == 70
    assert errors.startswith("Traceback")
    assert errors.endswith(
        "gantrain: this is a bug of gantrain (ZeroDivisionError); please report it, with the lines "
        "above and the command.\n"
    )


def test_exhausted_memory_is_no_bug(
    monkeypatch: pytest.MonkeyPatch, run_words: Callable[..., tuple[int, str, str]]
) -> None:
    def allocate(*_: object, **__: object) -> object:
        return np.empty(2**62, np.uint8)

    monkeypatch.setattr("gantrain.inference.export.open_generator", allocate)
    assert run_words("sample")[::2] == (
        USER_ERROR_STATUS,
        "gantrain: not enough memory; ask for fewer or smaller images, or free some memory.\n",
    )

    def allocate_tensor(*_: object, **__: object) -> object:
        return torch.empty(2**60, dtype=torch.uint8)

    monkeypatch.setattr("gantrain.inference.export.open_generator", allocate_tensor)
    assert run_words("sample")[0] == USER_ERROR_STATUS


def test_debug_prints_the_traceback_of_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    for words, shown in (
        (["sample", "nowhere"], False),
        (["--debug", "sample", "nowhere"], True),
        (["sample", "nowhere", "--debug"], True),
    ):
        with pytest.raises(SystemExit):
            cli.main(words)
        errors = capsys.readouterr().err
        assert ("Traceback" in errors) == shown
        assert "gantrain: nowhere: " in errors


def test_the_home_folder_is_found_after_an_equals_sign(
    good: Good, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        cli.main(["sample", str(good.run), "--n", "1", "--out=~/made/s.png"])
    assert ended.value.code == 0
    assert (tmp_path / "made" / "s.png").is_file()


@pytest.fixture
def as_nobody(good: Good, tmp_path: Path) -> Callable[[Callable[[], int]], int]:
    """Call a function as a user who may read everything here and write nothing."""
    if os.getuid() != 0:
        pytest.skip("only root can become another user")
    for folder in (good.here, *good.here.rglob("*"), good.shards, *good.shards.iterdir(), tmp_path):
        folder.chmod(folder.stat().st_mode | 0o555)
    for parent in {*good.here.parents, *good.shards.parents, *tmp_path.parents}:
        if parent.is_relative_to(tempfile.gettempdir()):
            parent.chmod(parent.stat().st_mode | 0o111)

    def call(function: Callable[[], int]) -> int:
        os.setresuid(65534, 65534, 0)
        try:
            return function()
        finally:
            os.setresuid(0, 0, 0)

    return call


def test_a_working_directory_of_somebody_else_is_one_line(
    good: Good,
    as_nobody: Callable[[Callable[[], int]], int],
    run_words: Callable[..., tuple[int, str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def sample() -> int:
        with pytest.raises(SystemExit) as ended:
            cli.main(["sample", str(good.run), "--n", "1"])
        return int(ended.value.code or 0)

    def start() -> int:
        return train(["--config", str(good.here / "c.yaml"), "output.run_dir=run"])

    run_words("sample")  # imports what another user may not be allowed to
    scratch = good.here / "scratch-of-all"
    scratch.mkdir()
    scratch.chmod(0o777)
    monkeypatch.setenv("SLURM_TMPDIR", str(scratch))
    monkeypatch.chdir(tmp_path)
    for function, line in (
        (sample, "samples.png: Permission denied; give a file that can be written with --out.\n"),
        (start, "run: Permission denied; "),
    ):
        capsys.readouterr()
        assert as_nobody(function) == USER_ERROR_STATUS
        errors = capsys.readouterr().err
        assert f"gantrain: {line}" in errors
        assert "Traceback" not in errors
        assert errors.count("gantrain: ") == 1
    assert not list(tmp_path.iterdir())


def test_tars_that_cannot_have_a_manifest_beside_them_are_one_line(
    good: Good,
    as_nobody: Callable[[Callable[[], int]], int],
    run_words: Callable[..., tuple[int, str, str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    def index() -> int:
        with pytest.raises(SystemExit) as ended:
            cli.main(good.words("data index"))
        return int(ended.value.code or 0)

    run_words("data index")  # imports what another user may not be allowed to
    before = {path: path.read_bytes() for path in good.tars.iterdir()}
    capsys.readouterr()
    assert as_nobody(index) == USER_ERROR_STATUS
    errors = capsys.readouterr().err
    assert errors.startswith(
        f"gantrain: {good.tars}/manifest.json: Permission denied, but the manifest has to be beside"
    )
    assert "ln -s" in errors
    assert {path: path.read_bytes() for path in good.tars.iterdir()} == before
