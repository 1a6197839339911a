"""Which settings go with ADA, the adaptive probability of augmentation (Karras et al. 2020)."""

from typing import Literal

from gantrain.config.objectives import ObjectiveConfig, RpganConfig, WganGpConfig
from gantrain.config.sections import AugmentConfig

_SETTINGS = ("ada_target", "ada_kimg", "ada_every")


def signed_scores(objective: ObjectiveConfig) -> Literal["real", "pairs"] | None:
    """Return what has a sign that says whether D recognises real images.

    real: D's scores of them. pairs: the score of a real image minus that of the generated image
    that it is paired with. None: nothing.
    """
    match objective:
        case WganGpConfig():
            return None
        case RpganConfig():
            return "pairs"
        case _:
            return "real"


def check_ada(augment: AugmentConfig, objective: ObjectiveConfig) -> None:
    """Raise ValueError if ADA cannot work, or is set up without being chosen.

    Its message begins with the key.
    """
    if augment.diffaugment_probability != "ada":
        for name in _SETTINGS:
            if getattr(augment, name) != AugmentConfig.model_fields[name].default:
                raise ValueError(
                    f"augment.{name}: belongs to diffaugment_probability 'ada', while the "
                    f"probability is a number or a schedule; choose ada, or remove {name}"
                )
        return
    if not augment.diffaugment:
        raise ValueError(
            "augment.diffaugment_probability: 'ada' needs augmentations to adapt; set "
            "augment.diffaugment, for example to [translation, cutout, brightness]"
        )
    if signed_scores(objective) is None:
        raise ValueError(
            "augment.diffaugment_probability: 'ada' goes by the sign of D's scores, and those of a "
            "critic (wgan-gp) have none, since a constant added to all of them changes no loss; "
            "give a number or a schedule"
        )
