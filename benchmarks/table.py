"""What the training benchmark prints of its rounds.

A sitting is a cell's JSON: objective, width, batch, ranks, size, set (what else of our config was
changed), and `contenders`: from "ours bf16" and the like to their rounds, made by turns.
"""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

Sitting = dict[str, Any]
_CONTENDERS = ("plain", "book", "ours")
_PRECISIONS = ("fp32", "bf16")
_KEY = ("objective", "width", "batch", "ranks", "size", "set")
NOT_RUN = "not run"


@dataclass(frozen=True)
class Spread:
    """A median, and half the distance between the quartiles."""

    median: float
    half: float


def spread_of(values: Sequence[float]) -> Spread:
    if len(values) < 2:
        return Spread(values[0], 0.0)
    first, _, third = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(statistics.median(values), (third - first) / 2)


def speeds(sitting: Sitting, name: str) -> list[float]:
    """Images/s of each round; empty if the contender was not there."""
    rounds = sitting["contenders"].get(name, {"rounds": []})["rounds"]
    return [r["images"] / r["seconds"] for r in rounds]


def ratio(one: Sequence[float], other: Sequence[float]) -> Spread | None:
    """Of rounds that were beside one another."""
    if not one or not other:
        return None
    return spread_of([a / b for a, b in zip(one, other, strict=True)])


def memory(sitting: Sitting, name: str) -> int:
    """Bytes at most."""
    return max((r["memory"] for r in sitting["contenders"][name]["rounds"]), default=0)


def shown_speed(values: Sequence[float]) -> str:
    if not values:
        return NOT_RUN
    spread = spread_of(values)
    return f"{spread.median:,.0f} ±{spread.half / spread.median:.0%}"


def shown_ratio(spread: Spread | None) -> str:
    return f"{spread.median:.2f} ±{spread.half:.2f}" if spread else "-"


def shown_memory(sitting: Sitting, name: str) -> str:
    return f"{memory(sitting, name) / 1e9:.2f}" if speeds(sitting, name) else "-"


def described(sitting: Sitting) -> str:
    cell = "{objective}, width {width}, batch {batch}, {ranks} rank(s)".format(**sitting)
    return f"{cell}, {sitting['set']}" if sitting["set"] else cell


def cell_fields(key: tuple[Any, ...]) -> list[str]:
    """The first four columns of a cell's row."""
    objective = f"{key[0]}, {key[5]}" if key[5] else key[0]
    return [objective, *(str(value) for value in key[1:4])]


def precisions(sitting: Sitting) -> list[str]:
    there = {name.split()[1] for name in sitting["contenders"]}
    return [precision for precision in _PRECISIONS if precision in there]


def cell_lines(sitting: Sitting) -> Iterator[str]:
    """A line for each precision."""
    for precision in precisions(sitting):
        names = {c: f"{c} {precision}" for c in _CONTENDERS}
        found = {c: speeds(sitting, name) for c, name in names.items()}
        images = ", ".join(f"{c} {shown_speed(found[c])}" for c in _CONTENDERS)
        ratios = ", ".join(
            f"ours/{c} {shown_ratio(ratio(found['ours'], found[c]))}" for c in ("plain", "book")
        )
        held = ", ".join(f"{c} {shown_memory(sitting, names[c])}" for c in _CONTENDERS)
        yield f"{described(sitting)}, {precision}: images/s {images}; {ratios}; GB {held}"


def markdown_lines(sittings: Sequence[Sitting]) -> Iterator[str]:
    """A Markdown table of all cells, and one of the best precisions."""
    yield (
        "| objective | width | batch | ranks | precision | plain | book | ours | ours/plain "
        "| ours/book | GB plain | GB book | GB ours |"
    )
    yield "|---" * 13 + "|"
    for sitting in sorted(sittings, key=key_of):
        for precision in precisions(sitting):
            names = {c: f"{c} {precision}" for c in _CONTENDERS}
            found = {c: speeds(sitting, name) for c, name in names.items()}
            fields = [
                *cell_fields(key_of(sitting)),
                precision,
                *(shown_speed(found[c]) for c in _CONTENDERS),
                *(shown_ratio(ratio(found["ours"], found[c])) for c in ("plain", "book")),
                *(shown_memory(sitting, names[c]) for c in _CONTENDERS),
            ]
            yield "| " + " | ".join(fields) + " |"
    yield ""
    yield "| objective | width | batch | ranks | plain | book | ours | ours/plain | ours/book |"
    yield "|---" * 9 + "|"
    for key, group in grouped(sittings):
        best = best_of(group)
        fields = [
            *cell_fields(key),
            *(shown_best(best.get(c)) for c in _CONTENDERS),
            *(shown_ratio(ratio_of_best(best, c)) for c in ("plain", "book")),
        ]
        yield "| " + " | ".join(fields) + " |"


def summary_lines(sittings: Sequence[Sitting]) -> Iterator[str]:
    """For each cell the faster precision of every contender."""
    for _, group in grouped(sittings):
        best = best_of(group)
        images = ", ".join(f"{c} {shown_best(best.get(c))}" for c in _CONTENDERS)
        ratios = ", ".join(
            f"ours/{c} {shown_ratio(ratio_of_best(best, c))}" for c in ("plain", "book")
        )
        yield f"best of {described(group[0])}: {images}; {ratios}"


@dataclass(frozen=True)
class Best:
    """The faster precision of a contender."""

    precision: str
    sitting: int
    speeds: list[float]


def key_of(sitting: Sitting) -> tuple[Any, ...]:
    return tuple(sitting[name] for name in _KEY)


def grouped(sittings: Sequence[Sitting]) -> Iterator[tuple[tuple[Any, ...], list[Sitting]]]:
    for key in sorted({key_of(sitting) for sitting in sittings}):
        yield key, [sitting for sitting in sittings if key_of(sitting) == key]


def best_of(group: Sequence[Sitting]) -> dict[str, Best]:
    found: dict[str, Best] = {}
    for i, sitting in enumerate(group):
        for name in sitting["contenders"]:
            contender, precision = name.split()
            new = Best(precision, i, speeds(sitting, name))
            old = found.get(contender)
            if old is None or statistics.median(new.speeds) > statistics.median(old.speeds):
                found[contender] = new
    return found


def shown_best(best: Best | None) -> str:
    return f"{shown_speed(best.speeds)} {best.precision}" if best else NOT_RUN


def ratio_of_best(best: dict[str, Best], other: str) -> Spread | None:
    """Of rounds beside one another only where both took turns in one sitting."""
    if "ours" not in best or other not in best:
        return None
    a, b = best["ours"], best[other]
    if a.sitting == b.sitting:
        return ratio(a.speeds, b.speeds)
    return Spread(statistics.median(a.speeds) / statistics.median(b.speeds), 0.0)
