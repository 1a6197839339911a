"""The configuration of a run: one typed, validated tree, read from YAML with dotted overrides."""

from gantrain.config.loading import dump_config, known_keys, load_config, parse_config
from gantrain.config.schema import Config
from gantrain.config.sections import (
    AugmentConfig,
    DataConfig,
    DcganConfig,
    DiscriminatorConfig,
    EmaConfig,
    GeneratorConfig,
    GuardConfig,
    HealthConfig,
    MetricsConfig,
    NetworkConfig,
    OutputConfig,
    TrainingConfig,
    WandbConfig,
    WganGpConfig,
)

__all__ = [
    "AugmentConfig",
    "Config",
    "DataConfig",
    "DcganConfig",
    "DiscriminatorConfig",
    "EmaConfig",
    "GeneratorConfig",
    "GuardConfig",
    "HealthConfig",
    "MetricsConfig",
    "NetworkConfig",
    "OutputConfig",
    "TrainingConfig",
    "WandbConfig",
    "WganGpConfig",
    "dump_config",
    "known_keys",
    "load_config",
    "parse_config",
]
