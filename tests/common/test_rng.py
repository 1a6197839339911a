"""Draws by position: the same whoever makes them, and distributed as they say."""

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
def test_ranks_together_draw_what_one_rank_draws(
    seed: int, start: int, ranks: int, width: int
) -> None:
    whole = PositionalRNG(seed, start, 12)
    of_ranks = [part.normal(Stream.D_LATENTS, width) for part in whole.split(ranks)]
    assert torch.equal(torch.cat(of_ranks), whole.normal(Stream.D_LATENTS, width))


def test_uniform_draws_are_uniform_and_normal_draws_normal() -> None:
    rng = PositionalRNG(1, 0, 4000)
    assert stats.kstest(rng.uniform(Stream.LABELS, 5).flatten(), "uniform").pvalue > 0.01
    assert stats.kstest(rng.normal(Stream.G_LATENTS, 5).flatten(), "norm").pvalue > 0.01


def test_neighbours_columns_purposes_and_seeds_are_unrelated() -> None:
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


def test_seeds_of_other_generators_differ_with_everything_that_goes_in() -> None:
    seeds = {derive_seed(s, p, n) for s in range(4) for p in Stream for n in range(4)}
    assert len(seeds) == 16 * len(Stream)
    assert all(0 <= seed < 2**63 for seed in seeds)
