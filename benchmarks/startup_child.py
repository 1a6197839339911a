"""The trainer, recording when each phase of its start ends; see startup.py."""

# ruff: noqa: E402 - the imports are timed
import time

timestamps = [time.time()]

import torch  # noqa: F401

timestamps.append(time.time())
import accelerate  # noqa: F401

timestamps.append(time.time())
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gantrain.train
from gantrain.training.schedule import Schedule

timestamps.append(time.time())


def record_first_call(function: Callable[..., Any], *, before: bool) -> Callable[..., Any]:
    """Wrap a function to record when its first call starts or, without `before`, ends."""
    called = False

    def recording(*arguments: Any, **named: Any) -> Any:
        nonlocal called
        first, called = not called, True
        if first and before:
            timestamps.append(time.time())
        result = function(*arguments, **named)
        if first and not before:
            timestamps.append(time.time())
        return result

    return recording


for owner, name, before in (
    (gantrain.train, "make_accelerator", True),
    (gantrain.train, "open_dataset", True),
    (gantrain.train, "Gan", True),
    (Schedule, "start", True),
    (Schedule, "start", False),
    (Schedule, "after_iteration", True),
):
    setattr(owner, name, record_first_call(getattr(owner, name), before=before))

status = gantrain.train.main()
Path(os.environ["GANTRAIN_STARTUP_TIMESTAMPS"]).write_text(json.dumps(timestamps), encoding="utf-8")
sys.exit(status)
