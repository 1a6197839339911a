"""The trainer, noting when each phase of its start is over; see startup.py."""

# ruff: noqa: E402 - the imports are what is timed
import time

stamps = [time.time()]

import torch  # noqa: F401

stamps.append(time.time())
import accelerate  # noqa: F401

stamps.append(time.time())
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gantrain.train as trainer
from gantrain.training.run import Run

stamps.append(time.time())


def noting(function: Callable[..., Any], *, before: bool) -> Callable[..., Any]:
    """The same function, whose first call leaves a stamp."""
    called: list[bool] = []

    def noted(*arguments: Any, **named: Any) -> Any:
        first = not called
        called.append(True)
        if first and before:
            stamps.append(time.time())
        result = function(*arguments, **named)
        if first and not before:
            stamps.append(time.time())
        return result

    return noted


for owner, name, before in (
    (trainer, "make_accelerator", True),
    (trainer, "open_dataset", True),
    (trainer, "Gan", True),
    (Run, "begin", True),
    (Run, "begin", False),
    (Run, "after_iteration", True),
):
    setattr(owner, name, noting(getattr(owner, name), before=before))

status = trainer.main()
Path(os.environ["GANTRAIN_STARTUP_STAMPS"]).write_text(json.dumps(stamps), encoding="utf-8")
sys.exit(status)
