"""What classes are worth in a longer training: `python -m experiments baselines conditioning`.

Trains `rpgan` with and without class conditioning on Fashion-MNIST, measures both as
`baselines classes` does, and writes the table and the samples of docs/baselines.md.
"""

from collections.abc import Sequence
from functools import partial

from experiments.baselines.classes import classes_table
from experiments.baselines.fashion import publish_fashion
from experiments.baselines.plan import CONDITIONING, CONDITIONING_PAIRS


def main(arguments: Sequence[str]) -> None:
    """Import, train, measure and write the table."""
    description = "Train rpgan on Fashion-MNIST with and without classes, and measure both."
    table_of = partial(classes_table, baseline=CONDITIONING, compared=CONDITIONING_PAIRS)
    publish_fashion(CONDITIONING, arguments, description, table_of)
