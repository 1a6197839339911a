"""Many ranks on few cores: `python -m tests.forked_ranks RANKS --config … key=value …`.

The ranks are forked from a process that has imported everything, which takes seconds for each rank
otherwise. GANTRAIN_FAULT as in tests/faulty_train.py, or empty. Prints the exit statuses of all
ranks as the last line of stdout, and ends with the largest.
"""

import os
import socket
import sys
import traceback

from benchmarks.pacing import die_with_parent
from gantrain.train import main

if os.environ.get("GANTRAIN_FAULT"):
    import tests.faulty_train  # noqa: F401 - replaces the D step


def become(rank: int, ranks: int, port: int) -> None:
    """Set the variables that a launcher sets for a rank."""
    places = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": ranks, "LOCAL_WORLD_SIZE": ranks}
    os.environ |= {name: str(value) for name, value in places.items()}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}


def run_rank(arguments: list[str]) -> int:
    """Train, and return the exit status instead of raising, which would be the parent's code."""
    try:
        return main(arguments)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


if __name__ == "__main__":
    ranks, arguments = int(sys.argv[1]), sys.argv[2:]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    processes = []
    for rank in range(ranks):
        if not (process := os.fork()):
            die_with_parent()
            become(rank, ranks, port)
            os._exit(run_rank(arguments))
        processes.append(process)
    statuses = [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in processes]
    print(statuses)
    sys.exit(max(statuses, key=abs))
