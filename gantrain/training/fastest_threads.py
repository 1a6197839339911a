"""Which number of threads is fastest, from timings that the load of the machine disturbs."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TypeVar

_HOPELESS = 3.0  # so much slower than the best in its first timing, a choice gets no second one
_AS_FAST = 1.05  # within the noise; fewer threads leave more to other processes
_ROUNDS = 5

T = TypeVar("T", bound=Hashable)


def candidates(limit: int) -> list[int]:
    """Return the numbers of threads to try, from 1 to `limit`, ascending.

    The powers of two, three quarters of the limit, and one less than it, since a busy process
    takes one core.
    """
    powers = [2**i for i in range(limit.bit_length())]
    return sorted({*powers, max(3 * limit // 4, 1), max(limit - 1, 1), limit})


def time_each(
    choices: Sequence[T],
    seconds_of: Callable[[T], float],
    budget: float,
    hopeless: float = _HOPELESS,
) -> dict[T, float]:
    """Return the shortest time of each choice, in seconds, from interleaved rounds.

    What else a machine does can only make a step slower, so that the shortest time is the best
    estimate. In the first round, which includes what is done once for each choice, those are left
    out that are `hopeless` times slower than the best: with threads that wait for busy cores a step
    may take twenty times as long. After the second round, it ends once `budget` seconds have
    passed.

    choices: such as numbers of threads. seconds_of: makes a step with one of them and returns its
    seconds, equal on all ranks that have to agree.
    """
    first = {choice: seconds_of(choice) for choice in choices}
    spent, fastest = sum(first.values()), min(first.values())
    left = [choice for choice in choices if first[choice] <= hopeless * fastest]
    best = dict(first)
    for turn in range(_ROUNDS if len(left) > 1 else 0):
        if turn and spent >= budget:
            break
        for choice in left if turn % 2 else left[::-1]:
            seconds = seconds_of(choice)
            best[choice] = min(best[choice], seconds)
            spent += seconds
    return best


def fastest(seconds: Mapping[int, float]) -> int:
    """Return the smallest number of threads that is as fast as any, within the noise."""
    least = min(seconds.values())
    return min(number for number, each in seconds.items() if each <= _AS_FAST * least)
