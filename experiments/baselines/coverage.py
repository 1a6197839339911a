"""Modes that pairing covers of stacked digits: `python -m experiments baselines coverage`.

Trains DCGAN and `rpgan`, and what lies between, for few images, counts modes as `baselines digits`
does, and writes the table and the samples of docs/baselines.md.
"""

from collections.abc import Sequence

from experiments.baselines.digits import count_modes_of
from experiments.baselines.plan import COVERAGE


def main(arguments: Sequence[str]) -> None:
    """Train, measure and write the table."""
    count_modes_of(COVERAGE, arguments, "Count the modes that rpgan and DCGAN cover soon.")
