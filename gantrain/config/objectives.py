"""The configuration of the objectives: which losses and penalties D and G minimise."""

from typing import Annotated, ClassVar, Literal, get_args

from pydantic import Field

from gantrain.config.schedules import ScheduledWeight
from gantrain.config.section import Section


class DcganConfig(Section):
    """Binary cross-entropy on D's logits (Radford et al. 2016; the book's chapter 4)."""

    LOGGED: ClassVar = ("health/d_logit_margin",)  # beside what every objective logs

    kind: Literal["dcgan"] = "dcgan"
    n_critic: int = Field(1, ge=1, le=100, description="D steps per G step")
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = Field(
        0.0, description="D's target for real images is 1 minus this (one-sided)"
    )
    label_noise: Annotated[float, Field(ge=0, le=0.5)] = Field(
        0.0, description="D's targets move by uniform noise of up to this"
    )
    label_noise_form: Literal["bounded", "book"] = Field(
        "bounded",
        description="bounded: towards 0.5, so that the loss has a minimum; "
        "book: outwards, up to 1.1 and -0.1, with probabilities clipped as in Keras",
    )
    label_flips: Annotated[float, Field(ge=0, lt=0.5)] = Field(
        0.0, description="fraction of D's targets that are flipped"
    )


class WganGpConfig(Section):
    """Wasserstein loss with gradient penalty (Gulrajani et al. 2017)."""

    LOGGED: ClassVar = ("loss/wasserstein", "loss/penalty")

    kind: Literal["wgan-gp"]
    n_critic: int = Field(5, ge=1, le=100, description="critic steps per generator step")
    penalty_weight: ScheduledWeight = Field(10.0, description="λ of the paper")
    penalty_mix: Literal["uniform", "normal"] = Field(
        "uniform", description="distribution of ε in the interpolation; the book's code uses normal"
    )
    penalty_every: int = Field(
        1,
        ge=1,
        le=64,
        description="apply the penalty in every k-th critic step, weighted k times (lazy)",
    )
    reuse_real_batch: bool = Field(
        False,
        description="use one real batch for all critic steps of an iteration (the book's code)",
    )


class HingeConfig(Section):
    """Hinge loss on D's scores (Lim and Ye 2017; Miyato et al. 2018)."""

    LOGGED: ClassVar = ("health/d_logit_margin",)

    kind: Literal["hinge"]
    n_critic: int = Field(1, ge=1, le=100, description="D steps per G step; 5 in SNGAN's paper")


ObjectiveConfig = Annotated[DcganConfig | WganGpConfig | HingeConfig, Field(discriminator="kind")]


def kinds_with(name: str) -> list[str]:
    """Return the values of objective.kind that have a key of this name."""
    return [kind for kind, section in sections_by_kind().items() if name in section.model_fields]


def sections_by_kind() -> dict[str, type[Section]]:
    """Return the section of each value of objective.kind."""
    members = get_args(get_args(ObjectiveConfig)[0])
    return {get_args(member.model_fields["kind"].annotation)[0]: member for member in members}
