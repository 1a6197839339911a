"""The command that started a process, for people who want to know or repeat it; without secrets."""

import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

MASK = "***"
_SECRET = r"api[-_]?key|access[-_]?key|secret|token|passw(or)?d|credential|signature|auth"
_SECRET_NAME = re.compile(rf"({_SECRET})", re.IGNORECASE)
_ASSIGNED = re.compile(rf"([\w.-]*({_SECRET})[\w.-]*=)[^&\s]+", re.IGNORECASE)
_URL_LOGIN = re.compile(r"(\w+://)[^/@\s]+@")
_KEY_LIKE = re.compile(r"[0-9a-f]{40}|(wandb_v\d_|hf_|ghp_|github_pat_|sk-|AKIA)\w{12,}")
_MIN_SECRET = 8  # characters; a shorter value of a variable may stand in any word by chance
_LAUNCHERS = ("gantrain", "accelerate", "torchrun")
_LAUNCHER_MODULES = (
    *("gantrain", "accelerate.commands.launch", "torch.distributed.run", "launch.worker"),
)


def command_of(pid: int) -> list[str]:
    """Return the command line of a process; empty if it cannot be read."""
    with suppress(OSError):
        content = Path(f"/proc/{pid}/cmdline").read_bytes()
        return [os.fsdecode(part) for part in content.split(b"\0")[:-1]]
    return []


def own_command() -> list[str]:
    """Return the words that started this process, Python itself included, without secrets."""
    return mask_secrets(sys.orig_argv)


def launcher_command() -> list[str]:
    """Return the command of the launcher that started this rank, without secrets; empty if none.

    Of any other parent process, such as a shell, nothing is read.
    """
    words = command_of(os.getppid())
    names = [Path(word).name for word in words[:2]]
    modules = {*_LAUNCHER_MODULES} & {*words[1:6]}
    return mask_secrets(words) if modules or {*names} & {*_LAUNCHERS} else []


def mask_secrets(words: Sequence[str], environment: Mapping[str, str] | None = None) -> list[str]:
    """Return the words of a command line with what looks like a secret replaced by `***`.

    That are values of keys and options with such names, logins in URLs, words like an API key, and
    the values of environment variables with such names.

    environment: by default that of this process.
    """
    environment = os.environ if environment is None else environment
    secrets = [
        value
        for name, value in environment.items()
        if (_SECRET_NAME.search(name) or name.endswith("_KEY")) and len(value) >= _MIN_SECRET
    ]
    masked: list[str] = []
    after_option = False
    for word in words:
        clean = MASK if after_option and not word.startswith("-") else word
        after_option = word.startswith("--") and "=" not in word and bool(_SECRET_NAME.search(word))
        for secret in secrets:
            clean = clean.replace(secret, MASK)
        clean = _ASSIGNED.sub(rf"\1{MASK}", clean)
        clean = _URL_LOGIN.sub(rf"\1{MASK}@", clean)
        masked.append(_KEY_LIKE.sub(MASK, clean))
    return masked


def as_typed(words: Sequence[str]) -> str:
    """Return a command as a person would type it: quoted, without Python before a script of its
    own and without the folder of either."""
    if len(words) > 1 and _is_python(words[0]):
        script = Path(words[1])
        if script.parent == Path(words[0]).parent != Path() and not words[1].startswith("-"):
            words = [script.name, *words[2:]]
        else:
            words = ["python", *words[1:]]
    return shlex.join(words)


def _is_python(word: str) -> bool:
    return re.fullmatch(r"python[\d.]*", Path(word).name) is not None
