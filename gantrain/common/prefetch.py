"""Run an iterator in a thread, ahead of its consumer."""

import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress
from queue import Empty, Full, Queue
from typing import TypeVar

Item = TypeVar("Item")

_JOIN_SECONDS = 20.0  # DataLoader looks for dead workers every 5 s


class _End:
    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def prefetch(
    source: Iterator[Item],
    depth: int,
    *,
    first_timeout: float | None = None,
    timeout: float | None = None,
    unblock: Callable[[], None] | None = None,
) -> Generator[Item, None, None]:
    """Yield the items of `source`, which a thread produces up to `depth` items ahead.

    source: a generator, whose items are not None; the thread closes it.
    first_timeout, timeout: longest wait for the first item and for each later one, in seconds;
        None waits forever.
    unblock: see `poll`.

    Raises TimeoutError if an item takes longer, and whatever `source` raises.
    """
    wait = first_timeout
    with closing(poll(source, depth, lambda: wait, unblock)) as items:
        for item in items:
            if item is None:
                raise TimeoutError(f"nothing in {wait:g} seconds")
            yield item
            wait = timeout


def poll(
    source: Iterator[Item],
    depth: int,
    wait: Callable[[], float | None],
    unblock: Callable[[], None] | None = None,
) -> Generator[Item | None, None, None]:
    """Yield the items of `source` as `prefetch` does, and None after each wait without an item.

    source: a generator, whose items are not None; the thread closes it.
    wait: returns the length of the next wait, in seconds; None waits forever.
    unblock: called when this generator is closed, to end the thread's wait for an item; the
        generator then waits for the thread. Sources that call torch need it: the process aborts if
        it exits while a thread is inside torch. Without it, the thread may outlive the generator
        until its next item.

    Raises whatever `source` raises.
    """
    queue: Queue[Item | _End] = Queue(depth)
    closed = threading.Event()

    def put(item: Item | _End) -> None:
        while not closed.is_set():
            with suppress(Full):
                queue.put(item, timeout=0.1)
                return

    def produce() -> None:
        try:
            with closing(source):  # type: ignore[type-var]
                for item in source:
                    put(item)
                    if closed.is_set():
                        return
            put(_End(None))
        except BaseException as error:
            put(_End(error))

    thread = threading.Thread(target=produce, daemon=True, name="prefetch")
    thread.start()
    item: Item | _End | None
    try:
        while True:
            try:
                item = queue.get(timeout=wait())
            except Empty:
                item = None
            if isinstance(item, _End):
                break
            yield item
        if item.error is not None:
            raise item.error
    finally:
        closed.set()
        if unblock is not None:
            unblock()
            thread.join(_JOIN_SECONDS)
