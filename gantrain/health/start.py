"""What is doubtful before the training starts: in the settings and in the real images."""

from dataclasses import dataclass

from gantrain.config import Config, DcganConfig, RpganConfig, WganGpConfig
from gantrain.config.schedules import peak_of, schedules_in

_MANY_FLIPS = 0.4  # D's best logits are then within ±0.41
_LIGHT_PENALTY = 0.05
_SLOWEST = 1e-7  # of Adam; a thousand steps change weights of 0.02 by half a percent at most
_NARROW = 0.25  # of the 255 grey levels
_DARK = 8  # levels, below which nothing can be seen


@dataclass(frozen=True)
class PixelRange:
    """The pixels of some images: the darkest and the brightest, 0 to 255, and of how many images.

    distinct: number of images that differ from the first one, and that one.
    """

    low: int
    high: int
    images: int
    distinct: int


def doubtful_settings(config: Config) -> list[str]:
    """Return a line for each setting with which a network cannot learn."""
    doubts = []
    for name, network in (("generator", config.generator), ("discriminator", config.discriminator)):
        if (rate := peak_of(network.learning_rate)) < _SLOWEST:
            doubts.append(
                f"{name}.learning_rate: {rate:g} hardly changes the weights; 1e-4 to 4e-4 are usual"
            )
    total = config.training.total_kimg
    for key, schedule in schedules_in(config).items():
        if place := schedule.cut_short(total):
            doubts.append(f"{key}: the run ends at {total:g} kimg, {place}")
    augment = config.augment
    if augment.diffaugment_probability == "ada" and total < augment.ada_kimg / 5:
        doubts.append(
            f"augment.ada_kimg: in a run of {total:g} kimg the probability reaches "
            f"{total / augment.ada_kimg:.2g} at most; lower ada_kimg"
        )
    match config.objective:
        case DcganConfig(label_flips=flips) if flips >= _MANY_FLIPS:
            doubts.append(
                f"objective.label_flips: at {flips:g} labels say next to nothing; use 0.15 or less"
            )
        case WganGpConfig(penalty_weight=weight) if peak_of(weight) < _LIGHT_PENALTY:
            if not config.discriminator.spectral_norm:
                doubts.append(
                    f"objective.penalty_weight: {peak_of(weight):g} leaves the critic's gradient "
                    "without bounds; the paper has 10"
                )
        case RpganConfig(r1_gamma=0, r2_gamma=0) if not config.discriminator.spectral_norm:
            doubts.append(
                "objective.r1_gamma: 0, as r2_gamma, leaves the gradient of rpgan's D without "
                "bounds; use auto for both"
            )
        case _:
            pass
    return doubts


def doubtful_images(pixels: PixelRange) -> list[str]:
    """Return a line if real images are all the same or use a small part of the range."""
    where = f"of the {pixels.images} real images looked at"
    if pixels.images > 1 and pixels.distinct == 1:
        return [
            f"data: all {where} are the same, with pixels from {pixels.low} to {pixels.high}; look "
            "at them with `gantrain data show`"
        ]
    width = pixels.high - pixels.low
    if width < _NARROW * 255:
        cause = "; were they scaled to [0, 1] before?" if pixels.high <= _DARK else ""
        return [
            f"data: the pixels {where} are from {pixels.low} to {pixels.high}, {width} of 255 grey "
            f"levels{cause}"
        ]
    return []
