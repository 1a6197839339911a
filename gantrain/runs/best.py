"""The generator that was measured best: its checkpoint is kept, and it is exported.

A measurement counts for the weights that were measured and no others. The header of the exported
file records it, so that weights and value cannot be separated.
"""

from collections.abc import Iterator
from pathlib import Path

from gantrain.common.errors import UserError
from gantrain.config.quality import Ruler
from gantrain.runs.checkpoint import read_checkpoint
from gantrain.runs.generator_file import Measured, read_measured, write_generator
from gantrain.runs.paths import GENERATOR_BEST, checkpoint_dir, list_checkpoints
from gantrain.runs.records import read_metrics


def export_best(run_dir: Path, best: Measured) -> None:
    """Write the EMA generator of the checkpoint that was measured.

    Raises UserError if that checkpoint is missing or broken, OSError if the file cannot be written.
    """
    snapshot = read_checkpoint(checkpoint_dir(run_dir, best.images_seen), only=("ema",))
    path = run_dir / GENERATOR_BEST
    write_generator(path, snapshot.tensors["ema"], snapshot.state.config, best.images_seen, best)


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


def measured_checkpoints(run_dir: Path, ruler: Ruler) -> list[Measured]:
    """Return the measurements whose checkpoint is there, best first."""
    lines = read_metrics(run_dir)
    values = {line["images_seen"]: line[ruler.metric] for line in lines if ruler.metric in line}
    found = [
        Measured(ruler.metric, float(value), images_seen)
        for images_seen, _ in list_checkpoints(run_dir)
        if isinstance(value := values.get(images_seen), int | float)
    ]
    return sorted(found, key=lambda each: (ruler.rank(each.value), each.images_seen))


def _from_best_to_worst(
    run_dir: Path, ruler: Ruler, images_seen: int, exported: Measured | None
) -> Iterator[Measured]:
    found = measured_checkpoints(run_dir, ruler)
    found = [each for each in found if each.images_seen <= images_seen]
    if exported is not None and exported.metric == ruler.metric and exported not in found:
        found.append(exported)
    yield from sorted(found, key=lambda each: (ruler.rank(each.value), each.images_seen))
