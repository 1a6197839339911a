"""One rank of an implementation: `python -m benchmarks.worker SETTINGS REQUESTS RESULTS`.

SETTINGS is JSON; REQUESTS and RESULTS are open file descriptors.
"""

import sys

from benchmarks.pacing import Channel, NoMoreRounds, die_with_parent
from benchmarks.settings import Settings


def main() -> None:
    """Train one round after another until the benchmark is over."""
    die_with_parent()
    settings = Settings.from_json(sys.argv[1])
    channel = Channel(int(sys.argv[2]), int(sys.argv[3]))
    # Imported lazily: each process may load its own libraries only, since its memory is measured.
    try:
        if settings.implementation == "ours":
            from benchmarks.ours import train_ours

            train_ours(settings, channel)
        elif settings.implementation == "plain":
            from benchmarks.plain import train_plain

            train_plain(settings, channel)
        else:
            from benchmarks.book_keras import train_book

            train_book(settings, channel)
    except NoMoreRounds:
        pass


if __name__ == "__main__":
    main()
