"""Memory that training keeps; in separate processes, because the setting cannot be undone."""

import subprocess
import sys

import pytest

_FAULTS = """
import resource, sys, torch
from gantrain.training.distributed import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
for _ in range(5):  # until the heap has grown
    torch.ones(20_000_000).add(1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(20_000_000).add(1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(how: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", _FAULTS, how], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_tensors_of_a_step_reuse_the_memory_of_the_last() -> None:
    usual, kept = page_faults("usual"), page_faults("keep")
    assert usual > 100  # each page of each tensor, or each huge page
    assert kept < usual / 10
