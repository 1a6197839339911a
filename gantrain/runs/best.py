"""The generator that was measured best: its checkpoint is kept, and it is exported.

A measurement counts for the weights that were measured and no others. The header of the exported
file records it, so that weights and value cannot be separated.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from gantrain.common.errors import UserError
from gantrain.common.records import is_number
from gantrain.config import OutputConfig
from gantrain.config.quality import Ruler, choose_ruler, goal_of
from gantrain.config.sections import DEFAULT_METRIC
from gantrain.runs.checkpoint import read_checkpoint
from gantrain.runs.generator_file import Measured, read_measured, write_generator
from gantrain.runs.metrics_file import read_metrics
from gantrain.runs.paths import GENERATOR_BEST, checkpoint_dir, list_checkpoints


def export_best(run_dir: Path, best: Measured) -> None:
    """Write the EMA generator of the checkpoint that was measured.

    Raises UserError if that checkpoint is missing or broken, OSError if the file cannot be written.
    """
    snapshot = read_checkpoint(checkpoint_dir(run_dir, best.images_seen), only=("ema",))
    path = run_dir / GENERATOR_BEST
    state = snapshot.state
    write_generator(
        path, snapshot.tensors["ema"], state.config, state.class_counts, best.images_seen, best
    )


def restore_best(run_dir: Path, ruler: Ruler | None, images_seen: int) -> Measured | None:
    """Return the best measurement of a run that resumes at `images_seen`; None without any.

    Measurements after that are of weights that the run will not have again: an exported generator
    of theirs is replaced by the best that is left, or removed. metrics.jsonl must have been
    rewound.
    """
    path = run_dir / GENERATOR_BEST
    exported = read_measured(path)
    if exported is not None and exported.images_seen > images_seen:
        path.unlink()
        exported = None
    if ruler is None:
        return None
    for best in _from_best_to_worst(run_dir, ruler, images_seen, exported):
        if best == exported:
            return best
        try:
            export_best(run_dir, best)
        except UserError:
            continue  # a broken checkpoint
        return best
    return None


def find_best(run_dir: Path, output: OutputConfig) -> Path:
    """Return the generator of a run that was measured best: its exported file or its checkpoint.

    A run of version 0.1 or 0.2 exported none. output: names the metric for those.

    Raises UserError that says what is there if the run has none.
    """
    path = run_dir / GENERATOR_BEST
    if path.exists():
        return path
    logged = list(dict.fromkeys(name for line in read_metrics(run_dir) for name in line))
    metric = output.keep_best or DEFAULT_METRIC
    goal = output.keep_best_is if goal_of(metric) is None else None  # 0.1 wrote its default
    wanted = output.model_copy(update={"keep_best": metric, "keep_best_is": goal})
    ruler = None
    if logged:
        with suppress(UserError):
            ruler = choose_ruler(wanted, logged)
    if ruler is None:
        raise UserError(f"--best: {run_dir} has no {metric} (yet); use --at KIMG instead.")
    best = min(_measurements(run_dir, ruler), key=lambda each: ruler.rank(each.value))
    folder = checkpoint_dir(run_dir, best.images_seen)
    if not folder.exists():
        kept = ", ".join(f"{n / 1000:g}" for n, _ in sorted(list_checkpoints(run_dir)))
        raise UserError(
            f"--best: the best {best.metric} of {run_dir}, {best.value:.4g}, was measured at "
            f"{best.images_seen / 1000:g} kimg, of which no generator was kept; use --at with one "
            f"of its checkpoints, at {kept or 'none'} kimg."
        )
    return folder


def measured_checkpoints(run_dir: Path, ruler: Ruler) -> list[Measured]:
    """Return the measurements whose checkpoint is there, best first."""
    there = {images_seen for images_seen, _ in list_checkpoints(run_dir)}
    found = [each for each in _measurements(run_dir, ruler) if each.images_seen in there]
    return sorted(found, key=lambda each: (ruler.rank(each.value), each.images_seen))


def _measurements(run_dir: Path, ruler: Ruler) -> list[Measured]:
    return [
        Measured(ruler.metric, float(value), int(line["images_seen"]))
        for line in read_metrics(run_dir)
        if is_number(value := line.get(ruler.metric))
    ]


def _from_best_to_worst(
    run_dir: Path, ruler: Ruler, images_seen: int, exported: Measured | None
) -> Iterator[Measured]:
    found = measured_checkpoints(run_dir, ruler)
    found = [each for each in found if each.images_seen <= images_seen]
    if exported is not None and exported.metric == ruler.metric and exported not in found:
        found.append(exported)
    yield from sorted(found, key=lambda each: (ruler.rank(each.value), each.images_seen))
