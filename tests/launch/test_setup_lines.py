"""The set-up of a job ends it at the first line that fails."""

import subprocess

import pytest

from gantrain.common.errors import UserError
from launch.setup_lines import setup_script


def run(modules: list[str], *setup: str) -> subprocess.CompletedProcess[str]:
    script = "\n".join([*setup_script(modules, setup), "echo started $NAME"])
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("modules", "setup", "culprit"),
    [
        (["cuda/12.4"], [], "module load cuda/12.4"),
        ([], ["true", "ls /nonexistent", "echo after"], "ls /nonexistent"),
        ([], ["false\necho after"], "false"),  # several lines in one entry
        ([], ["source /nonexistent/activate"], "source /nonexistent/activate"),
        ([], ["if true; then", "  ls /nonexistent", "fi"], "ls /nonexistent"),
        ([], ["exit_with() { return 3; }", "exit_with"], "exit_with"),
    ],
)
def test_the_first_failing_line_ends_the_job(
    modules: list[str], setup: list[str], culprit: str
) -> None:
    done = run(modules, *setup)
    assert done.returncode == 1
    assert "started" not in done.stdout
    assert "after" not in done.stdout
    assert "launch: set-up failed with status" in done.stderr
    assert culprit in done.stderr


@pytest.mark.parametrize(
    "setup",
    [
        [],
        ["# a comment", ""],
        ["false || true"],
        ["if test -d /nonexistent; then", "  false", "fi"],
        ["cat <<END", "false", "END"],
        ["echo a \\", "  b"],
        ["f() {", "  true", "}", "f", "set -e"],
    ],
)
def test_everything_that_bash_allows_is_allowed(setup: list[str]) -> None:
    done = run([], "export NAME=name", *setup)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("started name\n")


def test_what_is_not_bash_is_an_error_before_the_submission() -> None:
    with pytest.raises(UserError, match="setup: 'if true; then' is not valid bash"):
        setup_script([], ["true", "if true; then", "echo"])
