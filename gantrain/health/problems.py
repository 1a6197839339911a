"""The words of the diagnosis: names of problems, their codes in metrics.jsonl, and advice."""

from typing import Final, Literal

Name = Literal[
    "starting",
    "no fault seen",
    "discriminator too strong",
    "mode collapse",
    "diverging",
    "stalled",
    "memorising",
    "quality falling",
    "never learnt",
    "saturated output",
    "unsuitable data",
    "dead player",
    "uninformative labels",
    "penalty off",
    "classes ignored",
]
# Values of the metric health/diagnosis. Logs contain them: a code is never given to another name.
CODES: dict[Name, int] = {
    "starting": 0,
    "no fault seen": 0,
    "discriminator too strong": 1,
    "mode collapse": 2,
    "diverging": 3,
    "stalled": 4,
    "memorising": 5,
    "quality falling": 6,
    "never learnt": 7,
    "saturated output": 8,
    "unsuitable data": 9,
    "dead player": 10,
    "uninformative labels": 11,
    "penalty off": 12,
    "classes ignored": 13,
}
# A training without a fault may yet make bad images, so that no word says that it is well.
NO_FAULT: Final = "no fault seen"
NO_PROBLEM = "no sign of a problem in the last lines"
_NAMES_OF_0_2 = {"healthy": NO_FAULT}
_WORDS = {"starting": "too early to say"}

ADVICE: dict[Name, str] = {
    "discriminator too strong": "raise discriminator.dropout or objective.r1_gamma, lower "
    "discriminator.learning_rate or discriminator.width, set objective.label_noise or "
    "objective.label_flips (dcgan)",
    "mode collapse": "use more D steps (objective.n_critic), a lower generator.learning_rate, "
    "objective.kind=wgan-gp, more of objective.r1_gamma and r2_gamma, or discriminator.norm=batch "
    "(dcgan and hinge without them), which lets D compare images",
    "diverging": "lower both learning rates, set training.clip_norm, discriminator.spectral_norm, "
    "objective.penalty_weight (wgan-gp), objective.r1_gamma and r2_gamma (others) or "
    "objective.label_smoothing (dcgan)",
    "stalled": "raise discriminator.width or its learning_rate, check generator.learning_rate "
    "(D cannot learn if it is too high), lower objective.r1_gamma and r2_gamma, or stop here if "
    "the images are good",
    "memorising": "use more images, augment.diffaugment, discriminator.dropout, or stop earlier",
    "quality falling": "use the best checkpoint (--best), set guard.stop_after_worse_kimg to end "
    "such runs, lower both learning rates, or, with few images, set augment.diffaugment",
    "never learnt": "compare both learning rates with those of configs/ and raise the one that is "
    "far lower, raise the widths, and look at the samples and the real images side by side",
    "saturated output": "lower generator.learning_rate, use generator.init=normal, and check that "
    "real images use the range that the samples should have",
    "unsuitable data": "look at the images (gantrain data show), use more of them, or import them "
    "again with pixels from 0 to 255",
    "dead player": "raise its learning rate; 1e-4 to 4e-4 are usual",
    "uninformative labels": "lower objective.label_flips; at 0.5 a label says nothing",
    "penalty off": "set objective.penalty_weight to 10, as in the paper",
    "classes ignored": "look at the images beside their classes (gantrain data show), set "
    "conditioning.kind to the other form, raise discriminator.width, and check that "
    "conditioning.fake_classes is batch",
}


def todays_name(diagnosis: str) -> str:
    """Return the name of a diagnosis, given that or the one in files of version 0.2."""
    return _NAMES_OF_0_2.get(diagnosis, diagnosis)


def words_for(diagnosis: str) -> str:
    """Return a diagnosis as people read it, given its name in files."""
    name = todays_name(diagnosis)
    return _WORDS.get(name, name)
