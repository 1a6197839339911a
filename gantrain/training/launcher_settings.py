"""Settings of `accelerate launch` that reach the trainer as environment variables.

The config decides how a run trains, so that one directory means one training however it was
started. Accelerate would take some settings from the environment all the same, such as a divisor
of the gradients; they are removed, and those that ask for something else are named.
"""

import os
from collections.abc import MutableMapping, Sequence

from gantrain.config import Config, TrainingConfig

_PREFIXES = ("ACCELERATE_", "FSDP_", "MEGATRON_LM_", "PARALLELISM_CONFIG_", "XLA_USE_BF16")
# They change neither what is computed nor how: Accelerate checks more, logs more, pins to a NUMA
# node. ACCELERATE_USE_CPU is what training.device=auto asks for.
_HONOURED = (
    "ACCELERATE_CPU_AFFINITY",
    "ACCELERATE_DEBUG_MODE",
    "ACCELERATE_DEBUG_RDV_FILE",
    "ACCELERATE_ENABLE_RICH",
    "ACCELERATE_LOG_LEVEL",
    "ACCELERATE_USE_CPU",
)
_PRECISION = "ACCELERATE_MIXED_PRECISION"
# Without these switches, the variables that belong to them do nothing.
_SWITCHES = {
    "ACCELERATE_DYNAMO_": "ACCELERATE_DYNAMO_BACKEND",
    "ACCELERATE_DEEPSPEED_": "ACCELERATE_USE_DEEPSPEED",
    "ACCELERATE_CONFIG_DS_FIELDS": "ACCELERATE_USE_DEEPSPEED",
    "ACCELERATE_GRADIENT_CLIPPING": "ACCELERATE_USE_DEEPSPEED",
    "ACCELERATE_FP8_": _PRECISION,
    "FSDP_": "ACCELERATE_USE_FSDP",
    "MEGATRON_LM_": "ACCELERATE_USE_MEGATRON_LM",
    "PARALLELISM_CONFIG_": "ACCELERATE_USE_PARALLELISM_CONFIG",
}
_OFF = ("", "0", "no", "none", "false", "off", "disable", "disabled", "n", "f")


def asks_for_cpu() -> bool:
    """Return whether `accelerate launch --cpu` started this process."""
    return os.environ.get("ACCELERATE_USE_CPU", "").strip().lower() not in _OFF


def remove_ignored_settings(
    config: Config, environment: MutableMapping[str, str], launch_command: Sequence[str]
) -> list[str]:
    """Remove the variables that the config decides about; return the differing ones, described.

    launch_command: of the process that started this one, which tells a given --mixed_precision from
    the launcher's default.
    """
    found = {
        name: environment.pop(name)
        for name in sorted(environment)
        if name.startswith(_PREFIXES) and name not in _HONOURED
    }
    if config.training.device == "cuda" and asks_for_cpu():
        found["ACCELERATE_USE_CPU"] = environment.pop("ACCELERATE_USE_CPU")
    described = []
    for name, value in found.items():
        switch = next((s for prefix, s in _SWITCHES.items() if name.startswith(prefix)), name)
        if switch != name or _agrees(name, value, config.training, launch_command):
            continue
        decider = _decider(name, config.training)
        described.append(f"{name}={value} ({decider})" if decider else f"{name}={value}")
    return described


def _agrees(name: str, value: str, training: TrainingConfig, launch_command: Sequence[str]) -> bool:
    value = value.strip().lower()
    if name == _PRECISION:
        by_user = any(part.startswith("--mixed_precision") for part in launch_command)
        agreed = {"auto": "bf16"}.get(training.mixed_precision, training.mixed_precision)
        return value in (agreed, "") or (value == "no" and not by_user)
    if name == "ACCELERATE_GRADIENT_ACCUMULATION_STEPS":
        return value in (str(training.grad_accum_steps), "1", "")
    if name == "ACCELERATE_TORCH_DEVICE":
        return value == training.device
    return value in _OFF


def _decider(name: str, training: TrainingConfig) -> str:
    if name == _PRECISION:
        return f"training.mixed_precision={training.mixed_precision}"
    if name == "ACCELERATE_GRADIENT_ACCUMULATION_STEPS":
        return f"training.grad_accum_steps={training.grad_accum_steps}"
    if name == "ACCELERATE_DYNAMO_BACKEND":
        return f"training.compile={training.compile}"
    if name in ("ACCELERATE_TORCH_DEVICE", "ACCELERATE_USE_CPU"):
        return f"training.device={training.device}"
    return ""
