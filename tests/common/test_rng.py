"""Random numbers by position: independent of who draws them, and of the right distribution."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from gantrain.common.rng import PositionalRNG, Stream, derive_seed


@settings(max_examples=30)
@given(
    seed=st.integers(0, 2**63 - 1),
    start=st.integers(0, 2**40),
    ranks=st.sampled_from([1, 2, 3, 4, 6]),
    width=st.integers(1, 9),
)
def test_the_numbers_of_several_ranks_are_those_of_one(
    seed: int, start: int, ranks: int, width: int
) -> None:
    whole = PositionalRNG(seed, start, 12)
    per_rank = [rng.normal(Stream.D_LATENTS, width) for rng in whole.split(ranks)]
    assert torch.equal(torch.cat(per_rank), whole.normal(Stream.D_LATENTS, width))


def test_numbers_follow_their_distributions() -> None:
    rng = PositionalRNG(1, 0, 4000)
    assert stats.kstest(rng.uniform(Stream.LABELS, 5).flatten(), "uniform").pvalue > 0.01
    assert stats.kstest(rng.normal(Stream.G_LATENTS, 5).flatten(), "norm").pvalue > 0.01


def test_positions_columns_streams_and_seeds_are_independent() -> None:
    rng = PositionalRNG(1, 0, 4000)
    draws = rng.normal(Stream.D_LATENTS, 5)
    others = [
        rng.normal(Stream.G_LATENTS, 5),
        PositionalRNG(2, 0, 4000).normal(Stream.D_LATENTS, 5),
        draws.roll(1, 0),
        draws.roll(1, 1),
    ]
    for other in others:
        assert abs(np.corrcoef(draws.flatten(), other.flatten())[0, 1]) < 0.03


def test_derived_seeds_differ_in_every_argument() -> None:
    seeds = {derive_seed(s, p, n) for s in range(4) for p in Stream for n in range(4)}
    assert len(seeds) == 16 * len(Stream)
    assert all(0 <= seed < 2**63 for seed in seeds)
