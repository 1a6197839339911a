"""The configuration of a run: one typed, validated tree, read from YAML with dotted overrides."""

from gantrain.config.backbones import (
    DcganDiscriminatorConfig,
    DcganGeneratorConfig,
    DiscriminatorConfig,
    GeneratorConfig,
    NetworkConfig,
    ResnetDiscriminatorConfig,
    ResnetGeneratorConfig,
)
from gantrain.config.conditioning import ConditioningConfig
from gantrain.config.loading import (
    dump_config,
    known_keys,
    load_config,
    parse_config,
    read_config,
    read_yaml,
)
from gantrain.config.objectives import DcganConfig, HingeConfig, RpganConfig, WganGpConfig
from gantrain.config.paths import expand_path, expand_paths
from gantrain.config.schema import Config, current_key, rename_old_keys
from gantrain.config.sections import (
    AugmentConfig,
    DataConfig,
    EmaConfig,
    GuardConfig,
    HealthConfig,
    MetricsConfig,
    OutputConfig,
    TrainingConfig,
    WandbConfig,
)

__all__ = [
    "AugmentConfig",
    "ConditioningConfig",
    "Config",
    "DataConfig",
    "DcganConfig",
    "DcganDiscriminatorConfig",
    "DcganGeneratorConfig",
    "DiscriminatorConfig",
    "EmaConfig",
    "GeneratorConfig",
    "GuardConfig",
    "HealthConfig",
    "HingeConfig",
    "MetricsConfig",
    "NetworkConfig",
    "OutputConfig",
    "ResnetDiscriminatorConfig",
    "ResnetGeneratorConfig",
    "RpganConfig",
    "TrainingConfig",
    "WandbConfig",
    "WganGpConfig",
    "current_key",
    "dump_config",
    "expand_path",
    "expand_paths",
    "known_keys",
    "load_config",
    "parse_config",
    "read_config",
    "read_yaml",
    "rename_old_keys",
]
