"""Parallel map over processes."""

import multiprocessing
import os
import signal
import time

import pytest

from gantrain.common.errors import UserError
from gantrain.common.pools import map_in_order
from gantrain.data.loading.decoder_processes import decoder_context


def double(number: int) -> int:
    time.sleep(0.01)
    return 2 * number


def test_map_in_order_yields_in_order_and_reports_a_killed_worker_despite_blocked_signals() -> None:
    decoder_context()  # its fork server passes blocked signals on to every child
    assert list(map_in_order(double, range(40), workers=2)) == list(range(0, 80, 2))
    numbers = map_in_order(double, range(10_000), workers=2)
    assert next(numbers) == 0
    child = multiprocessing.active_children()[0]
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    with pytest.raises(UserError, match="worker process was killed"):
        list(numbers)
    assert not multiprocessing.active_children()
