"""Between the live training and a snapshot in host memory."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gantrain.common.errors import UserError
from gantrain.common.records import flatten, parse_record
from gantrain.common.set_identity import class_changes
from gantrain.config import Config, rename_old_keys
from gantrain.config.schedules import describe, schedules_in, value_at
from gantrain.health.remedy_state import RemedyState
from gantrain.health.state import HealthState
from gantrain.runs.checkpoint import AdaState, Progress, Snapshot, State
from gantrain.training.data_identity import check_same_set
from gantrain.training.diagnose import apply_overrides
from gantrain.training.gan import Gan
from gantrain.training.meter import Meter
from gantrain.training.objectives import Objective
from gantrain.training.state import TrainingState

# Settings of a network that may change between a checkpoint and the config that resumes from it.
_TUNABLE = ("learning_rate", "betas", "adam_epsilon", "dropout")
_FIXED = (
    "seed",
    "data.size",
    "data.channels",
    "objective.kind",
    "conditioning.kind",
    "conditioning.join_latents",
    "conditioning.pool_features",
)


def take_snapshot(
    gan: Gan,
    state: TrainingState,
    meter: list[dict[str, Any]],
    ada: AdaState | None,
    tracker_step: int,
) -> Snapshot:
    """Copy everything that a run needs to resume to host memory; training may continue at once.

    meter, ada: as Meter.state and Ada.state return them.
    """
    scaler = gan.accelerator.scaler
    live = {
        "generator": gan.generator.state_dict(),
        "discriminator": gan.discriminator.state_dict(),
        "ema": gan.ema.generator.state_dict(),
        "generator_adam": _adam_tensors(gan.g_optimizer),
        "discriminator_adam": _adam_tensors(gan.d_optimizer),
    }
    tensors = {
        file: {name: _on_host(tensor) for name, tensor in content.items()}
        for file, content in live.items()
    }
    progress = Progress.model_validate(
        {
            "images_seen": state.images_seen,
            "g_steps": state.g_steps,
            "logged_at": state.logged_at,
            "tracker_step": tracker_step,
            "meter": meter,
            "measured_at": state.measured_at,
            "health": state.health.model_dump(),
            "remedies": state.remedies.model_dump(),
            "ada": ada,
            "cpu_threads": state.cpu_threads,
        }
    )
    keep_every = state.config.output.keep_every_kimg
    kept = keep_every is not None and state.passed(keep_every, since=max(state.saved_at, 0))
    plain = State(
        progress=progress,
        scaler=scaler.state_dict() if scaler is not None else {},
        kept=kept,
        config=state.config.model_dump(mode="json"),
        data=state.data,
        class_counts=dict(gan.generator.conditioning.class_counts),
    )
    return Snapshot(tensors, plain)


def load_snapshot(
    snapshot: Snapshot, gan: Gan, objective: Objective, state: TrainingState, meter: Meter
) -> list[str]:
    """Load a snapshot into the live training; return a line for each config key that changed.

    Raises UserError if the checkpoint is of another architecture, or if a key changed that must
    not.
    """
    config = state.config
    notices = _check_config(snapshot, config) + check_same_set(snapshot.state.data, state)
    _check_classes(snapshot.state.class_counts, gan, config)
    _load_networks(snapshot, gan, config)
    progress = snapshot.state.progress
    state.images_seen = state.scheduled_at = state.saved_at = progress.images_seen
    state.g_steps = progress.g_steps
    state.logged_at = progress.logged_at
    state.measured_at = progress.measured_at
    source = f"The checkpoint in {config.output.run_dir}"
    state.health = parse_record(progress.health, HealthState, source)
    state.remedies = RemedyState()
    if config.health.remedy == "auto":
        state.remedies = parse_record(progress.remedies, RemedyState, source)
    apply_overrides(state.remedies.overrides, gan, objective)
    # As the last iteration left them: a run may resume at its end, and log what it did last.
    gan.follow_schedules(max(0, state.images_seen - objective.n_critic * state.batch_size))
    meter.restore([group.model_dump() for group in progress.meter])
    gan.ada.restore(progress.ada)
    return notices


def config_changes(before: Mapping[str, Any], config: Config) -> dict[str, tuple[Any, Any]]:
    """Return the dotted keys whose values differ from an earlier config tree, with both values.

    A schedule is one value. A key that the earlier version did not have counts if it is not at its
    default.
    """
    old, new = _settings(before), _settings(config.model_dump(mode="json"))
    chosen = _settings(config.model_dump(mode="json", exclude_defaults=True))
    keys = [key for key in dict.fromkeys([*old, *new]) if key in old or key in chosen]
    return {k: (old.get(k), new.get(k)) for k in keys if old.get(k) != new.get(k)}


def _settings(tree: Mapping[str, Any]) -> dict[str, Any]:
    return flatten(tree, levels=2)


def _check_config(snapshot: Snapshot, config: Config) -> list[str]:
    before = rename_old_keys(snapshot.state.config)
    changes = config_changes(before, config)
    for key, (old, new) in changes.items():
        section, _, name = key.partition(".")
        of_network = section in ("generator", "discriminator") and name not in _TUNABLE
        if of_network or key in _FIXED:
            kind = "of another architecture" if of_network else "of another run"
            raise UserError(
                f"The checkpoint in {config.output.run_dir} is {kind}: {key} was {old} and is "
                f"{new} now; set it back, or choose another output.run_dir."
            )
    notices = [
        f"changed since the checkpoint: {k}: {describe(a)} -> {describe(b)}"
        for k, (a, b) in changes.items()
    ]
    if length := changes.get("training.total_kimg"):
        notices += _moved_schedules(config, changes, length[0], snapshot.state.progress.images_seen)
    return notices


def _moved_schedules(
    config: Config, changes: Mapping[str, Any], old_kimg: float, images_seen: int
) -> list[str]:
    """Return a line for each schedule that ends with the run, which has another length now."""
    return [
        f"{key} follows training.total_kimg: at {images_seen / 1000:g} kimg it is "
        f"{value_at(each, images_seen, config.total_images):.4g} now and was "
        f"{value_at(each, images_seen, round(1000 * old_kimg)):.4g}; "
        "end_kimg makes a schedule independent of the length of the run"
        for key, each in schedules_in(config).items()
        if each.end_kimg is None and each.kind != "constant" and key not in changes
    ]


def _check_classes(before: Mapping[str, int], gan: Gan, config: Config) -> None:
    if changes := class_changes(before, gan.generator.conditioning.class_counts):
        raise UserError(
            f"The checkpoint in {config.output.run_dir} is of networks for other classes "
            f"({'; '.join(changes)}); set data.shards and data.classes back, or choose another "
            "output.run_dir."
        )


def _load_networks(snapshot: Snapshot, gan: Gan, config: Config) -> None:
    try:
        gan.generator.load_state_dict(snapshot.tensors["generator"])
        gan.discriminator.load_state_dict(snapshot.tensors["discriminator"])
        gan.ema.generator.load_state_dict(snapshot.tensors["ema"])
        _load_adam(gan.g_optimizer, snapshot.tensors["generator_adam"])
        _load_adam(gan.d_optimizer, snapshot.tensors["discriminator_adam"])
    except (KeyError, RuntimeError, ValueError) as error:
        raise UserError(
            f"The checkpoint in {config.output.run_dir} does not fit its own config ({error})."
        ) from None
    if gan.accelerator.scaler is not None and snapshot.state.scaler:
        gan.accelerator.scaler.load_state_dict(snapshot.state.scaler)


def _on_host(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True).contiguous()


def _adam_tensors(optimizer: Any) -> dict[str, Tensor]:
    moments = optimizer.state_dict()["state"]
    return {f"{i}.{name}": t for i, tensors in moments.items() for name, t in tensors.items()}


def _load_adam(optimizer: Any, tensors: Mapping[str, Tensor]) -> None:
    moments: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        index, _, name = key.partition(".")
        moments.setdefault(int(index), {})[name] = tensor
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": moments, "param_groups": groups})
    # Fused Adam walks a weight and its moments in memory order: their layouts must agree.
    for parameter, loaded in optimizer.state.items():
        for name, moment in loaded.items():
            if moment.shape == parameter.shape:
                loaded[name] = torch.empty_like(parameter).copy_(moment)
