"""Between the live networks and a snapshot in host memory."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gantrain.common.errors import UserError
from gantrain.common.records import flatten
from gantrain.config import Config
from gantrain.health.overrides import Overrides
from gantrain.runs.checkpoint import Progress, Snapshot, State
from gantrain.training.gan import Gan

# What of a network may differ between a checkpoint and the config that goes on from it.
_TUNABLE = ("learning_rate", "betas", "adam_epsilon", "dropout")
_FIXED = ("seed", "data.size", "data.channels", "objective.kind")


def take_snapshot(gan: Gan, config: Config, progress: Progress, *, kept: bool) -> Snapshot:
    """Copy to host memory what a run needs to go on; the caller may train on at once."""
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
    state = State(
        progress=progress,
        scaler=scaler.state_dict() if scaler is not None else {},
        kept=kept,
        config=config.model_dump(mode="json"),
    )
    return Snapshot(tensors, state)


def restore(taken: Snapshot, gan: Gan, config: Config) -> list[str]:
    """Put a snapshot into the networks and optimizers; gives a line for each changed config key.

    Raises UserError if the checkpoint is of another architecture, or a key that cannot change did.
    """
    changes = config_changes(taken.state.config, config.model_dump(mode="json"))
    for key, (before, now) in changes.items():
        section, _, name = key.partition(".")
        of_network = section in ("generator", "discriminator") and name not in _TUNABLE
        if of_network or key in _FIXED:
            kind = "of another architecture" if of_network else "of another run"
            raise UserError(
                f"The checkpoint in {config.output.run_dir} is {kind}: {key} was {before} and is "
                f"{now} now; set it back, or choose another output.run_dir."
            )
    try:
        gan.generator.load_state_dict(taken.tensors["generator"])
        gan.discriminator.load_state_dict(taken.tensors["discriminator"])
        gan.ema.generator.load_state_dict(taken.tensors["ema"])
        _load_adam(gan.g_optimizer, taken.tensors["generator_adam"])
        _load_adam(gan.d_optimizer, taken.tensors["discriminator_adam"])
    except (KeyError, RuntimeError, ValueError) as error:
        raise UserError(
            f"The checkpoint in {config.output.run_dir} does not fit its own config ({error})."
        ) from None
    treated = config.health.remedy == "auto"
    gan.turn(taken.state.progress.remedies.overrides if treated else Overrides())
    if gan.accelerator.scaler is not None and taken.state.scaler:
        gan.accelerator.scaler.load_state_dict(taken.state.scaler)
    return [f"changed since the checkpoint: {k}: {a} -> {b}" for k, (a, b) in changes.items()]


def config_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Dotted keys whose values differ between two config trees, with both values."""
    old, new = flatten(before), flatten(now)
    keys = dict.fromkeys([*old, *new])
    return {k: (old.get(k), new.get(k)) for k in keys if old.get(k) != new.get(k)}


def _on_host(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True).contiguous()


def _adam_tensors(optimizer: Any) -> dict[str, Tensor]:
    moments = optimizer.state_dict()["state"]
    return {f"{i}.{name}": t for i, of_one in moments.items() for name, t in of_one.items()}


def _load_adam(optimizer: Any, tensors: Mapping[str, Tensor]) -> None:
    moments: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        index, _, name = key.partition(".")
        moments.setdefault(int(index), {})[name] = tensor
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": moments, "param_groups": groups})
    # Fused Adam walks a weight and its moments in memory order, so that they must lie alike.
    for parameter, of_one in optimizer.state.items():
        for name, moment in of_one.items():
            if moment.shape == parameter.shape:
                of_one[name] = torch.empty_like(parameter).copy_(moment)
