"""The trainer on CPUs with a GPU's steps: `accelerate launch tests/graphed_train.py --config …`.

Ranks average their gradients as they do on GPUs. With GANTRAIN_CAPTURE, steps are captured by
`RecordedOperations`; how often they were replayed is printed at the end.
"""

import os
import sys

from gantrain.train import main
from gantrain.training import exchange
from tests.training.recorded_operations import RecordedOperations, as_on_a_gpu, capture_by

if __name__ == "__main__":
    backend = RecordedOperations()
    vars(exchange)["uses_graphs"] = lambda *_: True
    as_on_a_gpu(setattr)
    if os.environ.get("GANTRAIN_CAPTURE"):
        capture_by(backend, setattr)
    status = main()
    print(f"replays: {backend.replays}", file=sys.stderr)
    sys.exit(status)
