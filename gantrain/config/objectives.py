"""The configuration of the objectives: which losses and penalties D and G minimise."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from gantrain.config.schedules import AutoWeight, Schedule, ScheduledWeight
from gantrain.config.section import Section, members_by_tag

_AUTO_GAMMA = 0.0002
_ACCURACIES = ("health/d_accuracy_real", "health/d_accuracy_fake")
_SCORED_APART = (*_ACCURACIES, "health/d_logit_margin")


def _gamma(penalty: str, images: str, default: float | str) -> Any:
    return Field(
        default,
        description=f"weight γ of {penalty}: γ/2 times the squared norm of D's gradient at "
        f"{images} images; auto: 0.0002 size² / batch_size, as StyleGAN2-ADA starts from; 0: none",
    )


class ZeroCentredConfig(Section):
    """Penalties on D's gradient, for every objective but WGAN-GP, which has one of its own.

    R1 at real images (Mescheder et al. 2018), R2 at generated ones.
    """

    r1_gamma: AutoWeight = _gamma("R1", "real", 0.0)
    r2_gamma: AutoWeight = _gamma("R2", "generated", 0.0)
    penalty_every: int = Field(
        1,
        ge=1,
        le=64,
        description="apply R1 and R2 in every k-th D step, weighted k times (lazy)",
    )


class DcganConfig(ZeroCentredConfig):
    """Binary cross-entropy on D's logits (Radford et al. 2016; the book's chapter 4)."""

    LOGGED: ClassVar = _SCORED_APART  # beside what every objective logs

    kind: Literal["dcgan"] = Field(
        "dcgan",
        description="the loss; dcgan: binary cross-entropy; wgan-gp: Wasserstein with gradient "
        "penalty; hinge: that of SNGAN; rpgan: relativistic pairing with R1 and R2",
    )
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

    LOGGED: ClassVar = (
        *_ACCURACIES,
        *("loss/wasserstein", "loss/critic_held_out", "loss/penalty"),
    )

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


class HingeConfig(ZeroCentredConfig):
    """Hinge loss on D's scores (Lim and Ye 2017; Miyato et al. 2018)."""

    LOGGED: ClassVar = _SCORED_APART

    kind: Literal["hinge"]
    n_critic: int = Field(1, ge=1, le=100, description="D steps per G step; 5 in SNGAN's paper")


class RpganConfig(ZeroCentredConfig):
    """Relativistic pairing (Jolicoeur-Martineau 2018), with R1 and R2 as in R3GAN (2024)."""

    LOGGED: ClassVar = ("health/d_pair_accuracy", "health/d_logit_margin")

    kind: Literal["rpgan"]
    n_critic: int = Field(1, ge=1, le=100, description="D steps per G step")
    r1_gamma: AutoWeight = _gamma("R1", "real", "auto")
    r2_gamma: AutoWeight = _gamma("R2", "generated", "auto")


ObjectiveConfig = Annotated[
    DcganConfig | WganGpConfig | HingeConfig | RpganConfig, Field(discriminator="kind")
]


def why_single_images(objective: ObjectiveConfig) -> str | None:
    """Return why D must score each image by itself, without BatchNorm; None if it need not."""
    match objective:
        case WganGpConfig():
            return "the gradient penalty is defined per image"
        case RpganConfig():
            return (
                "rpgan compares the scores of single images, while BatchNorm would normalise real "
                "and generated ones apart"
            )
        case ZeroCentredConfig(r1_gamma=r1, r2_gamma=r2) if r1 != 0 or r2 != 0:
            return (
                "the gradient penalties objective.r1_gamma and objective.r2_gamma are defined per "
                "image"
            )
        case _:
            return None


def gamma_of(
    value: float | Schedule[Any] | Literal["auto"], size: int, batch_size: int
) -> float | Schedule[Any]:
    """Return the weight γ of a zero-centred penalty.

    value: the setting: a number, a schedule, or `auto`: 0.0002 size² / batch_size, where
        StyleGAN2-ADA starts (Karras et al. 2020).
    size: width of the images in pixels. batch_size: of all ranks together.
    """
    return _AUTO_GAMMA * size**2 / batch_size if isinstance(value, str) else value


def sections_by_kind() -> dict[str, type[Section]]:
    """Return the section of each value of objective.kind."""
    return members_by_tag(ObjectiveConfig, "kind")
