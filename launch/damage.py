"""Damaged files of a sweep: which line of which file, for display."""

import logging
from collections.abc import Iterable, Sequence

from launch.states import RunState, SweepStatus

logger = logging.getLogger(__name__)

_MAX_RUNS = 10  # that a command lists


def summarize(damage: Sequence[str]) -> str:
    """Return the first problem and the number of the others as one line; empty without problems."""
    if not damage:
        return ""
    others = f" (and {len(damage) - 1:,} more)" if len(damage) > 1 else ""
    return f"damaged: {damage[0]}{others}"


def describe(run: RunState) -> str:
    """Return why a run is in its state, and its damaged files, as one line."""
    return "; ".join(filter(None, (run.reason, summarize(run.damage))))


def warn_of_damage(status: SweepStatus, runs: Iterable[RunState]) -> None:
    """Log one line for each of these runs that has damaged files, and for the ledger."""
    for problem in status.damage[:_MAX_RUNS]:
        logger.warning(f"launch: damaged: {problem}; the line is ignored")
    damaged = [run for run in runs if run.damage]
    for run in damaged[:_MAX_RUNS]:
        logger.warning(f"launch: run {run.run}: {summarize(run.damage)}")
    if len(damaged) > _MAX_RUNS:
        logger.warning(f"launch: {len(damaged) - _MAX_RUNS:,} more damaged runs; see status")
