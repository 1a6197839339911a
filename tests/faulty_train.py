"""The trainer with a fault put into it: `python tests/faulty_train.py --config … key=value …`.

GANTRAIN_FAULT names it: `WHAT@IMAGES` or `WHAT@IMAGES@RANK`, where WHAT is a signal's name, which
the process sends itself, or `hang`, and it happens in the D step at IMAGES images seen.
"""

import os
import signal
import sys
import time
from typing import Any

import gantrain.training.loop
from gantrain.train import main
from gantrain.training.batch import Batch

what, images, *rank = os.environ["GANTRAIN_FAULT"].split("@")
original = gantrain.training.loop.d_step


def faulty_d_step(gan: Any, objective: Any, batch: Batch) -> Any:
    # The rank's part of the global batch that starts at IMAGES.
    if batch.rng.start // 16 == int(images) // 16 and rank in ([], [os.environ.get("RANK", "0")]):
        if what == "hang":
            time.sleep(3600)
        os.kill(os.getpid(), signal.Signals[what])
    return original(gan, objective, batch)


vars(gantrain.training.loop)["d_step"] = faulty_d_step
if __name__ == "__main__":
    sys.exit(main())
