"""What of W&B's environment can be used, tried before W&B reads it."""

import re
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any, Literal

from gantrain.common.errors import UserError
from gantrain.config import WandbConfig

Mode = Literal["online", "offline", "disabled"]
_MODES: dict[str, Mode] = {"offline": "offline", "dryrun": "offline", "disabled": "disabled"}
# They would make another run of this one, or connect to another process's W&B.
_NOT_OURS = ("WANDB_FORK_FROM", "WANDB_RESUME_FROM", "WANDB_SERVICE")
_SECRET = re.compile("KEY|TOKEN|PROXY|HEADERS|PASSWORD|SECRET")
_FIELDS = {"project": "project", "entity": "entity", "group": "run_group", "name": "run_name"}


def check_wandb_settings(config: WandbConfig) -> None:
    """Raise UserError if W&B rejects a setting of the config."""
    if config.mode == "disabled":
        return
    import wandb

    values = {key: (field, getattr(config, key)) for key, field in _FIELDS.items()}
    for key, (field, value) in {**values, "tags": ("run_tags", config.tags)}.items():
        try:
            if value:
                wandb.Settings(**{field: value})
        except Exception as error:
            raise UserError(f"wandb.{key}: {value!r} found; {_reason(error)}.") from None


def clean_environment(mode: Mode, environment: MutableMapping[str, str]) -> tuple[Mode, list[str]]:
    """Remove the variables that W&B would reject, and apply WANDB_MODE.

    mode: of the config, not disabled.

    Return the mode to use, and a line for each variable or settings file that was ignored. Without
    a usable address of the server it is offline: the data must not go to another server.
    """
    notices = []
    asked = environment.pop("WANDB_MODE", mode)
    if asked in _MODES and _MODES[asked] != mode:
        notices.append(f"WANDB_MODE={asked} is used instead of wandb.mode={mode}")
        mode = _MODES[asked]
    elif asked not in (mode, *(known for known, m in _MODES.items() if m == mode)):
        notices.append(f"WANDB_MODE={asked} is ignored; wandb.mode={mode} decides")
    rejected = {
        name: _rejects_variable(name, environment[name])
        for name in sorted(environment)
        if name.startswith("WANDB_")
    }
    rejected |= {name: "it is of another run" for name in _NOT_OURS if name in environment}
    for name, reason in rejected.items():
        if reason:
            value = environment.pop(name)
            shown = name if _SECRET.search(name) else f"{name}={value}"
            notices.append(f"{shown} is ignored; {reason}")
    for path, key, value, reason in _rejected_settings(environment):
        notices.append(f"{path}: {key} = {value} is ignored; {reason}")
        rejected["WANDB_BASE_URL"] = rejected.get("WANDB_BASE_URL") or (
            reason if key == "base_url" else ""
        )
    if rejected.get("WANDB_BASE_URL") and mode == "online":
        notices.append("without the server's address the run is recorded offline")
        mode = "offline"
    return mode, notices


def _rejects_variable(name: str, value: str) -> str:
    import wandb

    try:
        wandb.Settings().update_from_env_vars({name: value})
    except Exception as error:
        return _reason(error)
    return ""


def _rejected_settings(environment: MutableMapping[str, str]) -> list[tuple[Path, str, str, str]]:
    """Return file, key, value and reason for each setting in W&B's settings files."""
    import wandb

    folder = Path(environment.get("WANDB_CONFIG_DIR") or "~/.config/wandb").expanduser()
    found = []
    for path in (folder / "settings", Path(wandb.Settings().settings_workspace)):
        for key, value in _settings_in(path).items():
            try:
                setattr(wandb.Settings(), key, value)
            except Exception as error:
                found.append((path, key, value, _reason(error)))
    return found


def _settings_in(path: Path) -> dict[str, Any]:
    import configparser

    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(path, encoding="utf-8")
    except (configparser.Error, UnicodeError):
        return {}
    return dict(parser["default"]) if parser.has_section("default") else {}


def _reason(error: Exception) -> str:
    """Return what W&B or pydantic has against a value, in one line."""
    details = getattr(error, "errors", None)
    text = str(details()[0]["msg"]) if callable(details) else str(error).splitlines()[0]
    return text.removeprefix("Value error, ").rstrip(".")
