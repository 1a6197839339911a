"""Whether a run that resumes still has the set that its checkpoint was trained on."""

from gantrain.common.errors import UserError
from gantrain.data.shards.manifest import Manifest
from gantrain.runs.checkpoint import DataSet
from gantrain.training.state import TrainingState

_MAX_CLASSES = 5  # that a message lists


def describe_set(manifest: Manifest) -> DataSet:
    """Return what a checkpoint keeps of a set."""
    return DataSet(
        content=manifest.content_hash,
        count=manifest.count,
        classes=sorted(manifest.classes),
    )


def check_same_set(before: DataSet | None, state: TrainingState) -> list[str]:
    """Return a line that says how the set differs from the checkpoint's, if it does.

    before: None in checkpoints of version 0.1, which are not checked.

    Raises UserError if the classes differ, unless data.on_change allows it. Size and channels are
    keys of the config, which must agree with the checkpoint's and with the set.
    """
    now, data = state.data, state.config.data
    if before is None or now is None or before.content == now.content:
        return []
    difference = _difference(before, now)
    if before.classes != now.classes and data.on_change == "fail":
        raise UserError(
            f"{data.shards}: another set than the checkpoint in {state.config.output.run_dir} was "
            f"trained on ({difference}); put that set back (data.shards=FOLDER), choose another "
            "output.run_dir, or train on with this set: data.on_change=accept."
        )
    return [f"the data set changed since the checkpoint: {difference} ({data.shards})"]


def _difference(before: DataSet, now: DataSet) -> str:
    parts = [f"{before.count:,} images -> {now.count:,}"]
    if before.count == now.count:
        parts = [f"{now.count:,} images, others or in another order"]
    for word, names in (
        ("new", sorted(set(now.classes) - set(before.classes))),
        ("missing", sorted(set(before.classes) - set(now.classes))),
    ):
        if names:
            more = f" and {len(names) - _MAX_CLASSES} more" if len(names) > _MAX_CLASSES else ""
            parts.append(f"{word} classes {', '.join(names[:_MAX_CLASSES])}{more}")
    return "; ".join(parts)
