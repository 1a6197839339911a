"""Whether a run that resumes still has the set that its checkpoint was trained on."""

from gantrain.common.errors import UserError
from gantrain.common.set_identity import DataSet, difference
from gantrain.training.state import TrainingState


def check_same_set(before: DataSet | None, state: TrainingState) -> list[str]:
    """Return a line that says how the set differs from the checkpoint's, if it does.

    before: None in checkpoints of version 0.1, which are not checked.

    Raises UserError if the classes differ, unless data.on_change allows it. Size and channels are
    keys of the config, which must agree with the checkpoint's and with the set.
    """
    now, data = state.data, state.config.data
    if before is None or now is None or before.content == now.content:
        return []
    changes = difference(before, now)
    if before.classes != now.classes and data.on_change == "fail":
        raise UserError(
            f"{data.shards}: another set than the checkpoint in {state.config.output.run_dir} was "
            f"trained on ({changes}); put that set back (data.shards=FOLDER), choose another "
            "output.run_dir, or train on with this set: data.on_change=accept."
        )
    return [f"the data set changed since the checkpoint: {changes} ({data.shards})"]
