"""The trainer with an injected fault: `python tests/faulty_train.py --config … key=value …`.

GANTRAIN_FAULT is `FAULT@IMAGES` or `FAULT@IMAGES@RANK`. FAULT is the name of a signal that the
process sends to itself, or `hang`. It occurs in the D step at IMAGES images seen, on all ranks or
on one. With `metrics`, each measurement fails from then on. IMAGES may be a work of the end of the
run, see tests/end_faults.py.
"""

import os
import signal
import sys
import time
from typing import Any

import gantrain.metrics.evaluator
import gantrain.training.loop
from gantrain.train import main
from gantrain.training.batch import Batch
from tests.end_faults import END_WORKS, before_work

fault, images, *rank = os.environ["GANTRAIN_FAULT"].split("@")
original = gantrain.training.loop.d_step


def faulty_d_step(gan: Any, objective: Any, batch: Batch) -> Any:
    if images in END_WORKS:
        return original(gan, objective, batch)
    # Batches have 16 images; a rank's positions start within the global batch.
    is_faulty_batch = batch.rng.start // 16 == int(images) // 16
    if is_faulty_batch and rank in ([], [os.environ.get("RANK", "0")]):
        if fault == "hang":
            time.sleep(3600)
        elif fault == "metrics":
            vars(gantrain.metrics.evaluator)["generate_images"] = fail
        else:
            os.kill(os.getpid(), signal.Signals[fault])
    return original(gan, objective, batch)


def fail(*_: Any) -> Any:
    raise MemoryError("no memory for the images")


if images in END_WORKS:
    before_work(images, lambda: os.kill(os.getpid(), signal.Signals[fault]), setattr)
vars(gantrain.training.loop)["d_step"] = faulty_d_step
if __name__ == "__main__":
    sys.exit(main())
