"""Waits for what another thread or process does; the deadline only bounds a failure."""

import time
from collections.abc import Callable
from typing import Any


def wait_until(
    condition: Callable[[], Any],
    seconds: float = 480,
    describe: Callable[[], str] = lambda: "",
    every: float = 0.5,
) -> Any:
    """Call the condition until its result is true, and return the result.

    describe: for the assertion message after `seconds`. every: seconds between calls.
    """
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {describe()}"
        time.sleep(every)
    return result
