"""The cost model's closed forms and limits."""

import pytest

from benchmarks.costs import Device, Network, iteration
from benchmarks.guard import clearly_slower
from benchmarks.scaling import gradient_bytes, relative_fit

DEVICE = Device(fixed=1e-3, each=1e-5, images=1e6)
NETWORK = Network(latency=1e-5, bandwidth=1e9, per_node=8, inside=10)


def test_one_rank_computes_and_exchanges_nothing() -> None:
    made = iteration(DEVICE, NETWORK, 1, 100, 25e6, 0.5)
    assert made.total == pytest.approx(2e-3)
    assert made.gradients == 0
    assert made.binds == "computing"


def test_an_all_reduce_costs_a_rings_bytes_and_a_trees_messages() -> None:
    assert NETWORK.all_reduce(1e9, 16) == pytest.approx(2 * 4 * 1e-5 + 2 * 15 / 16)
    assert NETWORK.all_reduce(1e9, 8) == pytest.approx(2 * 3 * 1e-5 + 2 * 7 / 8 / 10)


def test_what_binds_is_named() -> None:
    slow = Network(latency=1e-5, bandwidth=1e8)
    assert iteration(DEVICE, slow, 2, 100, 25e6, 0.5).binds == "gradients"
    starved = Device(fixed=1e-3, each=1e-5, images=1e3)
    assert iteration(starved, slow, 1, 100, 25e6, 0.5).binds == "images"


def test_gradients_travel_beside_computing_but_for_the_last_bucket() -> None:
    long = Device(fixed=10.0, each=0.0, images=1e9)
    made = iteration(long, NETWORK, 16, 100, 2 * 4 * 2**20, 0.5)
    assert made.total == pytest.approx(10 + made.gradients / 2)


def test_the_fit_finds_the_network_that_made_the_times() -> None:
    sizes = [2**k for k in range(12, 25, 2)]
    latency, per_byte = relative_fit(sizes, [2e-4 + size / 2e9 for size in sizes])
    assert latency == pytest.approx(2e-4)
    assert per_byte == pytest.approx(0.5e-9)


def test_the_gradients_are_those_of_the_books_networks() -> None:
    assert gradient_bytes(64) == 4 * (2_763_520 + 3_574_656)


def test_the_guard_fails_on_a_clear_margin_alone() -> None:
    assert clearly_slower([0.8, 0.85, 0.7, 0.82, 1.1])
    assert not clearly_slower([0.95] * 9)  # within the noise of such runs
    assert not clearly_slower([0.8, 0.85, 1.2, 0.7, 1.1])  # pairs disagree
    assert not clearly_slower([1.4] * 9)
