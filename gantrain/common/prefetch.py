"""Makes the next items of an iterator in a thread, while the present one is in use."""

import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from queue import Empty, Full, Queue
from typing import TypeVar

Item = TypeVar("Item")


class _End:
    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def prefetch(
    source: Iterator[Item],
    depth: int,
    *,
    first_patience: float | None = None,
    patience: float | None = None,
) -> Iterator[Item]:
    """Yield the items of `source`, of which a thread makes up to `depth` in advance.

    first_patience, patience: seconds to wait for the first item and for each later one; None waits
        for ever.

    What the source raises is raised here, in its place; TimeoutError when an item does not come.
    The thread ends with this iterator, or when it next gets an item.
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
            with closing(source):  # type: ignore[type-var]
                for item in source:
                    put(item)
                    if given_up.is_set():
                        return
            put(_End(None))
        except BaseException as error:
            put(_End(error))

    threading.Thread(target=make, daemon=True, name="ahead").start()
    wait = first_patience
    try:
        while not isinstance(item := queue.get(timeout=wait), _End):
            yield item
            wait = patience
        if item.error is not None:
            raise item.error
    except Empty:
        raise TimeoutError(f"nothing in {wait:g} seconds") from None
    finally:
        given_up.set()
