"""Makes the next items of an iterator in a thread, while the present one is in use."""

import threading
from collections.abc import Iterator
from contextlib import suppress
from queue import Full, Queue
from typing import TypeVar

Item = TypeVar("Item")


class _End:
    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def made_ahead(source: Iterator[Item], depth: int) -> Iterator[Item]:
    """Yield the items of `source`, of which a thread makes up to `depth` in advance.

    What the source raises is raised here, in its place. The thread ends with this iterator.
    """
    queue: Queue[Item | _End] = Queue(depth)
    given_up = threading.Event()

    def put(item: Item | _End) -> None:
        while not given_up.is_set():
            with suppress(Full):
                queue.put(item, timeout=0.1)
                return

    def make() -> None:
        try:
            for item in source:
                put(item)
                if given_up.is_set():
                    return
            put(_End(None))
        except BaseException as error:
            put(_End(error))

    threading.Thread(target=make, daemon=True, name="ahead").start()
    try:
        while not isinstance(item := queue.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        given_up.set()
