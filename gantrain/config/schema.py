"""The configuration of a run as one typed tree: its sections and the rules between them."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field, model_validator

from gantrain.config.ada import check_ada
from gantrain.config.backbones import (
    DcganDiscriminatorConfig,
    DcganGeneratorConfig,
    DiscriminatorConfig,
    GeneratorConfig,
    check_size,
)
from gantrain.config.conditioning import ConditioningConfig, check_conditioning
from gantrain.config.objectives import DcganConfig, ObjectiveConfig, why_single_images
from gantrain.config.section import Section
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

# Keys of version 0.1 that have another name now; read, never written.
RENAMED_KEYS = {
    "training.accumulate": "training.grad_accum_steps",
    "data.parts": "data.classes",
}
# The key that tells the variants of a section apart; `dcgan` where it is left out.
TAGS = {"generator": "backbone", "discriminator": "backbone", "objective": "kind"}
DEFAULT_TAG = "dcgan"


def current_key(key: str) -> str:
    """Return the present name of a dotted key that may be an old one."""
    return RENAMED_KEYS.get(key, key)


def rename_old_keys(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config tree with the old keys of RENAMED_KEYS under their present names.

    Raises ValueError if a key is there under both names.
    """
    renamed = dict(tree)
    for old, new in RENAMED_KEYS.items():
        section, _, name = old.partition(".")
        values = renamed.get(section)
        new_name = new.partition(".")[2]
        if not isinstance(values, Mapping) or name not in values:
            continue
        if new_name in values:
            raise ValueError(f"{old}: the old name of {new}, which is set as well; remove one")
        renamed[section] = {new_name if k == name else k: v for k, v in values.items()}
    return renamed


def nest_dotted_keys(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config tree with keys such as `training.batch_size` moved into their sections.

    Raises ValueError if a key is in its section as well, or the section is a value.
    """
    nested = {k: v for k, v in tree.items() if not _is_dotted(k)}
    for key, value in tree.items():
        if not _is_dotted(key):
            continue
        section, _, name = key.partition(".")
        values = nested.get(section)
        if values is not None and not isinstance(values, Mapping):
            raise ValueError(f"{key}: {section!r} is a value, not a section; remove one")
        if name in (values or {}):
            raise ValueError(
                f"{key} is there twice, as {key!r} and as {name!r} in the section {section!r}; "
                "keep one of them"
            )
        nested[section] = {**(values or {}), name: value}
    return nested


def _is_dotted(key: object) -> bool:
    return isinstance(key, str) and "." in key and key.partition(".")[0] in Config.model_fields


class Config(Section):
    """The configuration of one run."""

    seed: int = Field(
        0,
        ge=0,
        le=2**63 - 1,
        description="seed of weights, image order, latents, labels and dropout",
    )
    data: DataConfig
    generator: GeneratorConfig = DcganGeneratorConfig()
    discriminator: DiscriminatorConfig = DcganDiscriminatorConfig()
    objective: ObjectiveConfig = DcganConfig()
    conditioning: ConditioningConfig = ConditioningConfig()
    augment: AugmentConfig = AugmentConfig()
    training: TrainingConfig
    ema: EmaConfig = EmaConfig()
    output: OutputConfig
    guard: GuardConfig = GuardConfig()
    metrics: MetricsConfig = MetricsConfig()
    health: HealthConfig = HealthConfig()
    wandb: WandbConfig = WandbConfig()

    @model_validator(mode="before")
    @classmethod
    def _read_old_keys_and_default_tags(cls, tree: Any) -> Any:
        if not isinstance(tree, dict):
            return tree
        tree = rename_old_keys(nest_dotted_keys(tree))
        for name in cls.model_fields:  # a section without keys, or a missing one, has its defaults
            if name != "seed" and tree.get(name) is None:
                tree[name] = {}
        for name, tag in TAGS.items():
            if isinstance(section := tree[name], dict):
                tree[name] = {tag: DEFAULT_TAG, **section}
        return tree

    @model_validator(mode="after")
    def _fits_together(self) -> "Config":
        micro_batches = self.training.grad_accum_steps * (self.training.world_size or 1)
        if self.training.batch_size % micro_batches:
            raise ValueError(
                f"training.batch_size: {self.training.batch_size} cannot be split into "
                f"{micro_batches} equal micro-batches (world_size x grad_accum_steps); choose a "
                f"multiple of {micro_batches}"
            )
        if self.total_images < self.training.batch_size:
            raise ValueError(
                f"training.total_kimg: {self.training.total_kimg:g} thousand images are "
                f"{self.total_images}, fewer than one batch of {self.training.batch_size} "
                f"(training.batch_size); choose {self.training.batch_size / 1000:g} or more"
            )
        check_size(self.generator, self.discriminator, self.data.size)
        check_ada(self.augment, self.objective)
        check_conditioning(self.conditioning, self.objective, self.discriminator)
        reason = why_single_images(self.objective)
        if reason is not None and self.discriminator.norm == "batch":
            raise ValueError(
                "discriminator.norm: 'batch' makes D's output depend on the other images of the "
                f"batch, and {reason}; choose layer, instance or none"
            )
        if self.training.updates == "joint" and self.training.mixed_precision == "fp16":
            raise ValueError(
                "training.updates: 'joint' does not work with mixed_precision 'fp16': the D step "
                "would change the loss scale before the G step; choose bf16 or alternating updates"
            )
        return self

    @property
    def total_images(self) -> int:
        """Number of real images that D sees in the whole run."""
        return round(self.training.total_kimg * 1000)
