"""One rank of a contender, as a process: `python -m benchmarks.contender SETTINGS ORDERS REPORTS`.

SETTINGS is JSON, the others are open file descriptors.
"""

import sys

from benchmarks.rounds import Link, NoMoreRounds, die_with_parent
from benchmarks.settings import Settings


def main() -> None:
    """Train in rounds until there are no more."""
    die_with_parent()
    settings = Settings.from_json(sys.argv[1])
    link = Link(int(sys.argv[2]), int(sys.argv[3]))
    # Each imports its own libraries alone, since their memory is measured.
    try:
        if settings.contender == "ours":
            from benchmarks.ours import train_ours

            train_ours(settings, link)
        elif settings.contender == "plain":
            from benchmarks.plain import train_plain

            train_plain(settings, link)
        else:
            from benchmarks.book_keras import train_book

            train_book(settings, link)
    except NoMoreRounds:
        pass


if __name__ == "__main__":
    main()
