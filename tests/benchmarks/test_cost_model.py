"""The cost model's closed forms and limits, the fit of the interconnect, and the speed guard."""

import pytest

from benchmarks.cost_model import Device, Interconnect, predict_iteration
from benchmarks.guard import clearly_slower
from benchmarks.scaling import gradient_bytes, relative_fit

DEVICE = Device(fixed_seconds=1e-3, seconds_per_image=1e-5, data_rate=1e6)
INTERCONNECT = Interconnect(latency=1e-5, bandwidth=1e9, ranks_per_node=8, intra_node_speedup=10)


def test_one_rank_does_not_exchange_gradients() -> None:
    cost = predict_iteration(DEVICE, INTERCONNECT, 1, 100, 25e6, 0.5)
    assert cost.total == pytest.approx(2e-3)
    assert cost.gradients == 0
    assert cost.bottleneck == "computation"


def test_all_reduce_costs_ring_bandwidth_and_tree_latency() -> None:
    seconds = INTERCONNECT.all_reduce_seconds(1e9, 16)
    assert seconds == pytest.approx(2 * 4 * 1e-5 + 2 * 15 / 16)
    seconds = INTERCONNECT.all_reduce_seconds(1e9, 8)
    assert seconds == pytest.approx(2 * 3 * 1e-5 + 2 * 7 / 8 / 10)


def test_the_bottleneck_is_identified() -> None:
    slow = Interconnect(latency=1e-5, bandwidth=1e8)
    assert predict_iteration(DEVICE, slow, 2, 100, 25e6, 0.5).bottleneck == "gradients"
    starved = Device(fixed_seconds=1e-3, seconds_per_image=1e-5, data_rate=1e3)
    assert predict_iteration(starved, slow, 1, 100, 25e6, 0.5).bottleneck == "data"


def test_only_the_last_bucket_does_not_overlap_with_long_computation() -> None:
    slow = Device(fixed_seconds=10.0, seconds_per_image=0.0, data_rate=1e9)
    cost = predict_iteration(slow, INTERCONNECT, 16, 100, 2 * 4 * 2**20, 0.5)
    assert cost.total == pytest.approx(10 + cost.gradients / 2)


def test_the_fit_recovers_latency_and_bandwidth() -> None:
    sizes = [2**k for k in range(12, 25, 2)]
    latency, per_byte = relative_fit(sizes, [2e-4 + size / 2e9 for size in sizes])
    assert latency == pytest.approx(2e-4)
    assert per_byte == pytest.approx(0.5e-9)


def test_gradient_bytes_match_the_books_networks() -> None:
    assert gradient_bytes(64) == 4 * (2_763_520 + 3_574_656)


def test_the_guard_fails_only_by_a_clear_margin() -> None:
    assert clearly_slower([0.8, 0.85, 0.7, 0.82, 1.1])
    assert not clearly_slower([0.95] * 9)  # within the noise of such short runs
    assert not clearly_slower([0.8, 0.85, 1.2, 0.7, 1.1])  # the pairs disagree
    assert not clearly_slower([1.4] * 9)
