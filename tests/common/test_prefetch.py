"""Items produced ahead by a thread: in order, with errors and timeouts, and without leftovers."""

import threading
import time
from collections.abc import Iterator

import pytest

from gantrain.common.prefetch import poll, prefetch
from tests.waiting import wait_until


def test_items_arrive_in_order_and_the_thread_ends() -> None:
    before = threading.active_count()
    assert list(prefetch((i for i in range(100)), 3)) == list(range(100))
    wait_until(lambda: threading.active_count() == before, 60, every=0.01)


def test_the_thread_is_at_most_depth_items_ahead() -> None:
    produced: list[int] = []

    def count() -> Iterator[int]:
        for i in range(100):
            produced.append(i)
            yield i

    items = prefetch(count(), 3)
    next(items)
    # One consumed, three queued, one that has no slot.
    wait_until(lambda: len(produced) == 5, 60, every=0.01)
    time.sleep(0.2)
    assert len(produced) == 5


def test_errors_of_the_source_are_raised_after_its_items() -> None:
    def fail() -> Iterator[int]:
        yield 1
        raise KeyError("lost")

    items = prefetch(fail(), 3)
    assert next(items) == 1
    with pytest.raises(KeyError, match="lost"):
        next(items)


def test_a_slow_item_times_out() -> None:
    release = threading.Event()

    def slow() -> Iterator[int]:
        yield 1
        release.wait()
        yield 2

    items = prefetch(slow(), 1, timeout=0.1)
    assert next(items) == 1
    with pytest.raises(TimeoutError, match=r"nothing in 0\.1 seconds"):
        next(items)
    release.set()


def test_the_first_item_has_its_own_timeout() -> None:
    release = threading.Event()

    def slow_start() -> Iterator[int]:
        time.sleep(0.3)
        yield 0
        release.wait()

    items = prefetch(slow_start(), 1, first_timeout=60, timeout=0.1)
    assert next(items) == 0
    with pytest.raises(TimeoutError):
        next(items)
    release.set()


def test_poll_yields_none_while_no_item_arrives() -> None:
    release = threading.Event()

    def blocked() -> Iterator[int]:
        release.wait()
        yield 1

    items = poll(blocked(), 1, lambda: 0.01)
    assert [next(items), next(items)] == [None, None]
    release.set()
    assert [item for item in items if item is not None] == [1]


def test_closing_ends_the_thread_and_closes_the_source() -> None:
    closed = threading.Event()

    def endless() -> Iterator[int]:
        try:
            while True:
                yield 0
        finally:
            closed.set()

    items = prefetch(endless(), 2)
    next(items)
    items.close()
    assert closed.wait(60)


def test_closing_waits_for_a_thread_that_it_unblocks() -> None:
    release = threading.Event()

    def blocked() -> Iterator[int]:
        yield 0
        release.wait()
        time.sleep(0.2)  # as a library's call that nothing can end
        yield 1

    before = threading.active_count()
    items = prefetch(blocked(), 1, unblock=release.set)
    next(items)
    items.close()
    assert threading.active_count() == before
