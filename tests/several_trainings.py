"""Several trainings, one after the other in the same ranks, which saves the time for imports:
`accelerate launch tests/several_trainings.py ARGUMENTS…`, where each word is a JSON list of the
arguments of one training. Ends with the first exit status that is not 0.
"""

import json
import sys

from accelerate.state import AcceleratorState, GradientState

from gantrain.train import main

if __name__ == "__main__":
    for words in sys.argv[1:]:
        if status := main(json.loads(words)):
            sys.exit(status)
        # The ranks stay connected.
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()
