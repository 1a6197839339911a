"""The trainer with remedies after 30 generator steps in place of 250: `python
tests/early_remedies.py --config … key=value …`.

Each rank writes its adjustments, and the learning rates after them, to RUN/adjusted-RANK.jsonl.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from gantrain.health import diagnosis, remedies, remedy_state
from gantrain.health.overrides import Overrides
from gantrain.train import main
from gantrain.training import diagnose

QUIET_STEPS, WINDOW_STEPS = 30, 12
original = diagnose.apply_overrides


def recording(overrides: Overrides, gan: Any, objective: Any) -> None:
    original(overrides, gan, objective)
    rates = [x.param_groups[0]["lr"] for x in (gan.g_optimizer, gan.d_optimizer)]
    path = Path(os.environ["GANTRAIN_RECORD"]) / f"adjusted-{os.environ.get('RANK', '0')}.jsonl"
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps([vars(overrides), rates]) + "\n")


for module in (diagnosis, remedies):
    vars(module)["WINDOW_STEPS"] = WINDOW_STEPS
vars(diagnosis)["QUIET_STEPS"] = QUIET_STEPS
vars(remedy_state)["RESPONSE_STEPS"] = WINDOW_STEPS
vars(diagnose)["apply_overrides"] = recording
if __name__ == "__main__":
    sys.exit(main())
