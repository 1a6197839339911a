"""The configuration of class-conditional networks."""

from typing import Literal

from pydantic import Field

from gantrain.config.backbones import DiscriminatorConfig
from gantrain.config.objectives import ObjectiveConfig
from gantrain.config.section import Section


class ConditioningConfig(Section):
    """Whether G makes images of a given class, and D judges whether an image belongs to its class.

    The classes are those of the labels in the shards.
    """

    kind: Literal["none", "concat", "projection"] = Field(
        "none",
        description="concat: the class as a one-hot vector beside the latents, and as one-hot "
        "planes beside the image (Mirza and Osindero 2014; the book's CGAN); projection: a gain "
        "and a bias per class in each normalisation of G, and an inner product of class and "
        "features in D (Miyato and Koyama 2018); a G without normalisation gets one-hot vectors "
        "beside the latents",
    )
    join_latents: bool = Field(
        False,
        description="projection: G gets the class as a one-hot vector beside the latents as well, "
        "as in R3GAN, so that classes can differ in what is where from the first layer on",
    )
    pool_features: bool = Field(
        True,
        description="projection: D compares the class with its features summed over the pixels; "
        "false: with the features of each pixel, from which the backbone dcgan makes its score, so "
        "that a class can say what has to be where",
    )
    fake_classes: Literal["batch", "data", "uniform"] = Field(
        "batch",
        description="classes of generated images in training: batch: those of the real batch; "
        "data: drawn as often as in the data; uniform: each equally often",
    )
    unlabelled: Literal["fail", "skip"] = Field(
        "fail",
        description="images without a class: an error (fail), or left out of training (skip)",
    )

    @property
    def active(self) -> bool:
        """Whether the networks get classes."""
        return self.kind != "none"


def check_conditioning(
    conditioning: ConditioningConfig, objective: ObjectiveConfig, judge: DiscriminatorConfig
) -> None:
    """Raise ValueError unless the objective and D can be trained with these classes.

    Its message begins with the key.
    """
    if conditioning.join_latents and conditioning.kind != "projection":
        raise ValueError(
            "conditioning.join_latents: expected false unless conditioning.kind is 'projection', "
            "not true; with 'concat' the class is always beside the latents"
        )
    if not conditioning.pool_features and conditioning.kind != "projection":
        raise ValueError(
            "conditioning.pool_features: expected true unless conditioning.kind is 'projection', "
            "not false"
        )
    if not conditioning.pool_features and judge.backbone != "dcgan":
        raise ValueError(
            "conditioning.pool_features: expected true with discriminator.backbone "
            f"{judge.backbone}, not false; that D sums its features before its score as well"
        )
    reasons = {
        "wgan-gp": "its penalty is taken between a real and a generated image of the same class",
        "rpgan": "it pairs each real image with a generated one of the same class",
    }
    if conditioning.active and conditioning.fake_classes != "batch" and objective.kind in reasons:
        raise ValueError(
            f"conditioning.fake_classes: expected 'batch' with the objective {objective.kind}: "
            f"{reasons[objective.kind]}; the other choices go with dcgan and hinge"
        )
