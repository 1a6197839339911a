"""The launcher's command line: entry points, help, and the packages that each command imports."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

import gantrain
from launch import __main__ as command_line
from tests.launch.conftest import ROOT

OLD_SWEEP = str(ROOT / "tests" / "data" / "v0.1" / "sweep")
QUICKSTART = str(ROOT / "configs" / "sweeps" / "quickstart.yaml")
COMMANDS = (
    *("plan", "sweep", "submit", "status", "tail", "doctor", "leaderboard", "report", "retry"),
    "cancel",
)


def test_console_script_is_the_main_function() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    module, _, function = scripts["gantrain-launch"].partition(":")
    assert module == command_line.__name__
    assert callable(getattr(command_line, function))


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_lists_every_command(option: str) -> None:
    text = CliRunner().invoke(command_line.app, [option]).stdout
    assert all(f" {command} " in text for command in COMMANDS)
    for command in COMMANDS:
        assert CliRunner().invoke(command_line.app, [command, option]).exit_code == 0


def test_version() -> None:
    result = CliRunner().invoke(command_line.app, ["--version"])
    assert result.exit_code == 0
    assert result.stdout == f"gantrain {gantrain.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "unneeded"),
    [
        (["--help"], {"torch", "submitit", "PIL", "pydantic", "yaml"}),
        (["status", OLD_SWEEP], {"torch", "submitit", "PIL"}),
        (["leaderboard", OLD_SWEEP], {"torch", "submitit", "PIL"}),
        (["plan", QUICKSTART], {"torch", "submitit", "PIL"}),
        # The pages of runs need torch for their images.
        (["report", OLD_SWEEP, "--out", "page.html", "--no-run-pages"], {"torch", "submitit"}),
    ],
)
def test_command_imports_only_what_it_needs(
    arguments: list[str], unneeded: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    code = (
        "import sys; from launch.__main__ import app\n"
        "try: app(sys.argv[1:])\n"
        "finally: print('imported', *sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    imported = set(done.stdout.splitlines()[-1].split())
    assert "launch.__main__" in imported
    assert not imported & unneeded


@pytest.mark.parametrize(
    ("resources", "said"),
    [
        ([], "12 to train on this machine, 1 at a time (local: pack 1, workers 1)"),
        (["workers=5"], "12 to train on this machine, 5 at a time (local: pack 1, workers 5)"),
        (["workers=99"], "12 to train on this machine, 12 at a time (local: pack 1, workers 12)"),
        (["executor=debug"], "12 to train in the launcher's own process, 1 at a time (debug)"),
        (["executor=slurm"], "12 to submit as 12 jobs (slurm, 1 CPU per job, at most 4 at a "),
    ],
)
def test_plan_says_how_many_runs_train_at_a_time(resources: list[str], said: str) -> None:
    options = [word for each in resources for word in ("-r", each)]
    result = CliRunner().invoke(command_line.app, ["plan", QUICKSTART, "-c", "local", *options])
    assert said in result.stdout, result.output
