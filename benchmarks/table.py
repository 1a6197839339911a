"""Format the results of the training benchmark as text and Markdown tables.

A result is the JSON of one cell: objective, width, batch, ranks, size, set (overrides of our
config), and `implementations`, which maps names such as "ours bf16" to their interleaved rounds.
"""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.spread import Spread, paired_ratio, spread_of

CellResult = dict[str, Any]
IMPLEMENTATIONS = ("plain", "book", "ours")
_BASELINES = ("plain", "book")
_PRECISIONS = ("fp32", "bf16")
_KEY = ("objective", "width", "batch", "ranks", "size", "set")
NOT_RUN = "not run"


def cell_lines(result: CellResult) -> Iterator[str]:
    """Yield a line of text for each precision of a cell."""
    for precision in _precisions(result):
        speeds = _speeds_by_implementation(result, precision)
        images = ", ".join(f"{name} {format_speed(speeds[name])}" for name in IMPLEMENTATIONS)
        ratios = ", ".join(
            f"ours/{name} {format_ratio(_ratio(speeds['ours'], speeds[name]))}"
            for name in _BASELINES
        )
        memory = ", ".join(
            f"{name} {format_memory(result, f'{name} {precision}')}" for name in IMPLEMENTATIONS
        )
        yield f"{describe(result)}, {precision}: images/s {images}; {ratios}; GB {memory}"


def summary_lines(results: Sequence[CellResult]) -> Iterator[str]:
    """Yield a line of text for each cell, with every implementation in its faster precision."""
    for _, group in _grouped(results):
        best = _best_by_implementation(group)
        images = ", ".join(f"{name} {format_best(best.get(name))}" for name in IMPLEMENTATIONS)
        ratios = ", ".join(
            f"ours/{name} {format_ratio(_best_ratio(best, name))}" for name in _BASELINES
        )
        yield f"best of {describe(group[0])}: {images}; {ratios}"


def markdown_lines(results: Sequence[CellResult]) -> Iterator[str]:
    """Yield a Markdown table of all cells, then one with the faster precisions only."""
    yield (
        "| objective | width | batch | ranks | precision | plain | book | ours | ours/plain "
        "| ours/book | GB plain | GB book | GB ours |"
    )
    yield "|---" * 13 + "|"
    for result in sorted(results, key=_key):
        for precision in _precisions(result):
            speeds = _speeds_by_implementation(result, precision)
            yield _row(
                *_key_columns(_key(result)),
                precision,
                *(format_speed(speeds[name]) for name in IMPLEMENTATIONS),
                *(format_ratio(_ratio(speeds["ours"], speeds[name])) for name in _BASELINES),
                *(format_memory(result, f"{name} {precision}") for name in IMPLEMENTATIONS),
            )
    yield ""
    yield "| objective | width | batch | ranks | plain | book | ours | ours/plain | ours/book |"
    yield "|---" * 9 + "|"
    for key, group in _grouped(results):
        best = _best_by_implementation(group)
        yield _row(
            *_key_columns(key),
            *(format_best(best.get(name)) for name in IMPLEMENTATIONS),
            *(format_ratio(_best_ratio(best, name)) for name in _BASELINES),
        )


def speeds_of(result: CellResult, name: str) -> list[float]:
    """Return the images/s of each round; empty if the implementation was not run."""
    rounds = result["implementations"].get(name, {"rounds": []})["rounds"]
    return [r["images"] / r["seconds"] for r in rounds]


def describe(result: CellResult) -> str:
    """Return the settings of a cell as text."""
    cell = "{objective}, width {width}, batch {batch}, {ranks} rank(s)".format(**result)
    return f"{cell}, {result['set']}" if result["set"] else cell


def format_speed(speeds: Sequence[float]) -> str:
    """Return images/s as their median and relative spread."""
    if not speeds:
        return NOT_RUN
    spread = spread_of(speeds)
    return f"{spread.median:,.0f} ±{spread.half / spread.median:.0%}"


def format_ratio(spread: Spread | None) -> str:
    """Return a ratio and its spread, or a dash."""
    return f"{spread.median:.2f} ±{spread.half:.2f}" if spread else "-"


def format_memory(result: CellResult, name: str) -> str:
    """Return the peak memory of an implementation in GB, or a dash."""
    rounds = result["implementations"].get(name, {"rounds": []})["rounds"]
    return f"{max(r['memory'] for r in rounds) / 1e9:.2f}" if rounds else "-"


@dataclass(frozen=True)
class Best:
    """An implementation in its faster precision. index: of its result within the group."""

    precision: str
    index: int
    speeds: list[float]


def format_best(best: Best | None) -> str:
    """Return images/s with their precision."""
    return f"{format_speed(best.speeds)} {best.precision}" if best else NOT_RUN


def _best_by_implementation(group: Sequence[CellResult]) -> dict[str, Best]:
    best: dict[str, Best] = {}
    for i, result in enumerate(group):
        for name in result["implementations"]:
            implementation, precision = name.split()
            new = Best(precision, i, speeds_of(result, name))
            old = best.get(implementation)
            if old is None or statistics.median(new.speeds) > statistics.median(old.speeds):
                best[implementation] = new
    return best


def _best_ratio(best: dict[str, Best], baseline: str) -> Spread | None:
    if "ours" not in best or baseline not in best:
        return None
    ours, other = best["ours"], best[baseline]
    # Only rounds of the same measurement were interleaved, so only these can be paired.
    if ours.index == other.index:
        return _ratio(ours.speeds, other.speeds)
    return Spread(statistics.median(ours.speeds) / statistics.median(other.speeds), 0.0)


def _ratio(ours: Sequence[float], other: Sequence[float]) -> Spread | None:
    return paired_ratio(ours, other) if ours and other else None


def _speeds_by_implementation(result: CellResult, precision: str) -> dict[str, list[float]]:
    return {name: speeds_of(result, f"{name} {precision}") for name in IMPLEMENTATIONS}


def _precisions(result: CellResult) -> list[str]:
    measured = {name.split()[1] for name in result["implementations"]}
    return [precision for precision in _PRECISIONS if precision in measured]


def _key(result: CellResult) -> tuple[Any, ...]:
    return tuple(result[name] for name in _KEY)


def _key_columns(key: tuple[Any, ...]) -> list[str]:
    """Return the first four columns of a cell's row."""
    objective = f"{key[0]}, {key[5]}" if key[5] else key[0]
    return [objective, *(str(value) for value in key[1:4])]


def _grouped(results: Sequence[CellResult]) -> Iterator[tuple[tuple[Any, ...], list[CellResult]]]:
    for key in sorted({_key(result) for result in results}):
        yield key, [result for result in results if _key(result) == key]


def _row(*columns: str) -> str:
    return "| " + " | ".join(columns) + " |"
