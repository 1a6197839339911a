"""Memory that training keeps; in separate processes, because the setting cannot be undone."""

import ctypes
import subprocess
import sys

import pytest

# Prints what glibc says of a block of 80 MB: the number of blocks that it maps separately (each of
# which goes back to the kernel when freed), and bytes of heap that remain after the block is freed.
_ALLOCATE = """
import ctypes, sys
from gantrain.training.distributed import keep_freed_memory

libc = ctypes.CDLL(None)
names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()
class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in names]
libc.mallinfo2.restype = Info
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]

if sys.argv[1] == "keep":
    keep_freed_memory()
before = libc.mallinfo2()
block = libc.malloc(80_000_000)
mapped = libc.mallinfo2().hblks - before.hblks
libc.free(block)
print(mapped, libc.mallinfo2().arena - before.arena)
"""


def allocate(how: str) -> tuple[int, int]:
    done = subprocess.run(
        [sys.executable, "-c", _ALLOCATE, how], capture_output=True, text=True, check=True
    )
    mapped, kept = map(int, done.stdout.split())
    return mapped, kept


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallinfo2"),
    reason="needs glibc 2.33, which says what its allocator holds",
)
def test_freed_memory_stays_in_the_heap() -> None:
    mapped, kept = allocate("usual")
    assert mapped == 1
    assert kept < 8_000_000
    mapped, kept = allocate("keep")
    assert mapped == 0
    assert kept > 72_000_000
