"""Where the arrays of a sweep go, so that all of them together stay below its throttle."""

import random

from hypothesis import given
from hypothesis import strategies as st

from launch.throttle import ActiveArray, Place, next_place


def test_the_first_array_takes_all_tasks() -> None:
    assert next_place([], 1000, 64) == Place(1000, 64)
    assert next_place([], 5, 64) == Place(5, 5)


def test_new_points_do_not_wait_where_the_throttle_is_far() -> None:
    assert next_place([ActiveArray("1", tasks=10, limit=10)], 5, 64) == Place(5, 5)
    # An array of which a few tasks are left takes a few places only.
    assert next_place([ActiveArray("1", tasks=3, limit=64)], 100, 64) == Place(61, 61)


def test_without_a_free_place_an_array_waits_for_the_one_that_ends_soonest() -> None:
    long, short = ActiveArray("1", tasks=40, limit=2), ActiveArray("2", tasks=2, limit=2)
    assert next_place([long, short], 7, 4) == Place(7, 2, "2")
    after = ActiveArray("3", tasks=7, limit=2, after="2")
    assert next_place([long, short, after], 7, 4) == Place(7, 2, "3")
    assert next_place([long, short], 7, 1) == Place(7, 1, "2")  # the throttle was lowered


@given(
    throttle=st.integers(1, 9),
    size=st.integers(1, 6),
    batches=st.lists(st.integers(1, 20), min_size=1, max_size=4),
    order=st.randoms(use_true_random=False),
)
def test_never_more_tasks_than_the_throttle_and_none_is_left(
    throttle: int, size: int, batches: list[int], order: random.Random
) -> None:
    """Runs the arrays as Slurm would, while batches of tasks are added."""
    queue: list[ActiveArray] = []
    waiting: dict[str, int] = {}
    running: dict[str, int] = {}

    def unfinished(job: str) -> int:
        return waiting.get(job, 0) + running.get(job, 0)

    while batches or any(unfinished(array.job) for array in queue):
        if batches and (not queue or order.random() < 0.3):
            count = batches.pop()
            while count:
                active = [
                    ActiveArray(array.job, unfinished(array.job), array.limit, array.after)
                    for array in queue
                    if unfinished(array.job)
                ]
                place = next_place(active, min(size, count), throttle)
                assert 1 <= place.limit <= place.count <= min(size, count)
                job = str(len(queue) + 1)
                queue.append(ActiveArray(job, place.count, place.limit, place.after))
                waiting[job], running[job] = place.count, 0
                count -= place.count
        for array in queue:
            while (
                waiting[array.job]
                and running[array.job] < array.limit
                and not unfinished(array.after)
            ):
                waiting[array.job] -= 1
                running[array.job] += 1
        assert sum(running.values()) <= throttle
        busy = [job for job, number in running.items() if number]
        assert busy or not any(waiting.values())
        if busy:
            running[order.choice(busy)] -= 1
