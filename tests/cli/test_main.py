"""The `gantrain` command itself."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

import gantrain
from gantrain.cli import main as cli
from gantrain.common.errors import UserError
from gantrain.common.yaml_core import dump_yaml
from gantrain.report import wandb_workspace
from tests.conftest import small_tree


def _run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gantrain", *words], capture_output=True, text=True, check=False
    )


def test_python_dash_m_gantrain_prints_the_version() -> None:
    result = _run("--version")
    assert (result.returncode, result.stdout) == (0, f"gantrain {gantrain.__version__}\n")


@pytest.mark.parametrize("words", [["-h"], ["--help"], ["grid", "-h"], ["data", "render", "-h"]])
def test_help_has_a_short_option(words: list[str]) -> None:
    result = CliRunner().invoke(cli.app, words)
    assert result.exit_code == 0
    assert "Usage:" in result.output


def test_a_mistake_is_one_line_on_stderr() -> None:
    result = _run("sample", "nowhere")
    assert result.returncode == 2
    assert result.stderr.startswith("gantrain: nowhere: ")
    assert result.stderr.count("\n") == 1


def test_help_does_not_import_torch() -> None:
    code = (
        "import sys\n"
        "sys.argv = ['gantrain', '--help']\n"
        "from gantrain.cli.main import main\n"
        "try:\n    main()\n"
        "except SystemExit:\n    pass\n"
        "sys.exit('torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert result.returncode == 0


def test_the_workspace_command_prints_the_url(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(entity: str, project: str) -> object:
        return SimpleNamespace(save=lambda: None, url=f"https://wandb.test/{entity}/{project}")

    monkeypatch.setattr(wandb_workspace, "build_workspace", build)
    result = CliRunner().invoke(cli.app, ["workspace", "someone", "bricks"])
    assert result.output == "https://wandb.test/someone/bricks\n"


def test_a_workspace_that_wandb_rejects_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ValueError("no such project")

    rejected = SimpleNamespace(save=fail, url="")
    monkeypatch.setattr(wandb_workspace, "build_workspace", lambda *_: rejected)
    with pytest.raises(UserError, match=r"rejects .*no such project.*wandb login"):
        wandb_workspace.save_workspace("someone", "bricks")


def test_a_terminal_without_unicode_gets_escapes(shards: Path, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "PYTHONIOENCODING": "ascii",
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
    }
    code = (
        "import sys; from gantrain.cli import main; main.app.command('say')(lambda: "
        "(print('a \\u00d7 \\u2026'), print('\\u2192', file=sys.stderr))); main.main(['say'])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, check=False
    )
    assert (result.returncode, result.stdout, result.stderr) == (
        *(0, b"a \\xd7 \\u2026\n"),
        b"\\u2192\n",
    )
    for words in (["output.run_dir=r\u00e9"], []):
        config = tmp_path / "config.yaml"
        tree = small_tree(tmp_path / "s\u00e9t", tmp_path / "run")
        config.write_text(dump_yaml(tree), encoding="utf-8")
        trained = subprocess.run(
            [sys.executable, "-m", "gantrain.train", "--config", str(config), *words],
            env=environment,
            capture_output=True,
            check=False,
        )
        assert trained.returncode == 2, trained.stderr
        assert trained.stderr.startswith(b"gantrain: ")
        assert b"locale's encoding; use a UTF-8 locale" in trained.stderr
    shown = subprocess.run(
        [sys.executable, "-m", "gantrain", "data", "show", str(shards)],
        env=environment,
        capture_output=True,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    assert b"200 of 32x32" in shown.stdout
