"""The set-up of a job: modules to load and shell lines to run before the worker starts."""

import shlex
import subprocess
from collections.abc import Sequence

from gantrain.common.errors import UserError

FAILED = "launch: set-up failed"
_FUNCTION = (
    f'set_up_failed() {{ echo "{FAILED} with status $1 at: $2" >&2; exit 1; }}'  # shown by doctor
)


def setup_script(modules: Sequence[str], setup: Sequence[str]) -> list[str]:
    """Return lines of bash that run the set-up and end the job at the first one that fails.

    A line that is part of a longer command, such as the lines of an `if`, belongs to that command.

    Raises UserError naming the first line of a command that is not valid bash.
    """
    lines = [f"module load {shlex.quote(module)}" for module in modules]
    lines += [line for entry in setup for line in entry.splitlines()]
    script, command = [_FUNCTION], ""
    for line in lines:
        command += line + "\n"
        if not command.strip() or not (command.endswith("\\\n") or _problem(command)):
            script.append(_guarded(command))
            command = ""
    if command:
        first, problem = command.split("\n")[0], _problem(command)
        raise UserError(f"setup: {first!r} is not valid bash, or does not end: {problem}.")
    return script if lines else []


def _guarded(command: str) -> str:
    text = f'{{ {command}}} || set_up_failed "$?" {shlex.quote(command.strip())}'
    return command.rstrip("\n") if _problem(text) else text  # a comment is no command


def _problem(command: str) -> str:
    """Return bash's message about a command that is incomplete or invalid, else an empty string."""
    try:
        done = subprocess.run(
            ["bash", "-n", "-c", command], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return ""
    # A here-document without its end is only a warning.
    return done.stderr.strip().split("\n")[-1].removeprefix("bash: ")
