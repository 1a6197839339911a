"""Modes that pairing covers with rates that fall: `python -m experiments baselines pairing`.

Trains DCGAN and `rpgan` on seeds that no setting was chosen on, counts modes as `baselines digits`
does, and writes the table and the samples of docs/baselines.md.
"""

from collections.abc import Sequence

from experiments.baselines.digits import count_modes_of
from experiments.baselines.plan import PAIRING


def main(arguments: Sequence[str]) -> None:
    """Train, measure and write the table."""
    count_modes_of(PAIRING, arguments, "Count the modes that rpgan and DCGAN cover, rates falling.")
