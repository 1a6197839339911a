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
        (["report", OLD_SWEEP, "--out", "page.html"], {"torch", "submitit"}),
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
