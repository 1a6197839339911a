"""Modes that are covered with a wider D: `python -m experiments baselines wide`.

Trains the arms of `baselines coverage` with a D twice as wide for half as many images, counts modes
as `baselines digits` does, and writes the table and the samples of docs/baselines.md.
"""

from collections.abc import Sequence

from experiments.baselines.digits import count_modes_of
from experiments.baselines.plan import WIDE


def main(arguments: Sequence[str]) -> None:
    """Train, measure and write the table."""
    count_modes_of(WIDE, arguments, "Count the modes that are covered with a wider D.")
