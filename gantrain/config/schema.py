"""The configuration of a run as one typed tree: the sections, and the rules between them."""

from typing import Any

from pydantic import Field, model_validator

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
    Objective,
    OutputConfig,
    Section,
    TrainingConfig,
    WandbConfig,
)


class Config(Section):
    """One run."""

    seed: int = Field(0, ge=0, lt=2**63, description="of weights, order, latents, labels, dropout")
    data: DataConfig
    generator: GeneratorConfig = GeneratorConfig()
    discriminator: DiscriminatorConfig = DiscriminatorConfig()
    objective: Objective = DcganConfig()
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
    def _default_kind(cls, tree: Any) -> Any:
        if isinstance(tree, dict) and isinstance(objective := tree.get("objective"), dict):
            return {**tree, "objective": {"kind": "dcgan", **objective}}
        return tree

    @model_validator(mode="after")
    def _fits_together(self) -> "Config":
        parts = self.training.accumulate * (self.training.world_size or 1)
        if self.training.batch_size % parts:
            raise ValueError(
                f"training.batch_size: {self.training.batch_size} cannot be cut into "
                f"{parts} equal parts (world_size x accumulate); choose a multiple of {parts}"
            )
        layers = self.data.size.bit_length() - 3
        for name, network in (("generator", self.generator), ("discriminator", self.discriminator)):
            wanted = layers + (name == "generator")
            if isinstance(network.slope, tuple) and len(network.slope) != wanted:
                raise ValueError(
                    f"{name}.slope: {len(network.slope)} slopes; expected one number, or "
                    f"{wanted} for {self.data.size}x{self.data.size} images"
                )
        if self.objective.kind == "wgan-gp" and self.discriminator.norm == "batch":
            raise ValueError(
                "discriminator.norm: 'batch' mixes the images of a batch, and the gradient "
                "penalty is on each image alone; choose layer, instance or none"
            )
        if self.training.updates == "joint" and self.training.mixed_precision == "fp16":
            raise ValueError(
                "training.updates: 'joint' with mixed_precision 'fp16', whose loss scale D's step "
                "would change before G's; choose bf16, or alternating updates"
            )
        return self

    @property
    def total_images(self) -> int:
        """Real images that D sees in the whole run."""
        return round(self.training.total_kimg * 1000)
