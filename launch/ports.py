"""`… launch.ports KEY` prints a free port for the ranks of a job, on the machine of rank 0."""

import sys

from gantrain.common.ports import free_port

if __name__ == "__main__":
    print(free_port(sys.argv[1]))
