"""What the diagnosis knows of a run beside its metrics."""

from dataclasses import dataclass

_FEW_FLIPS = 0.3  # of labels, which then say much
_FEW_IMAGES = 50  # of which D knows each; 20 more would have to be held out to notice copies


@dataclass(frozen=True)
class Known:
    """Settings and data of a run; None for what a log does not say.

    label_flips: objective.label_flips. spectral_norm: discriminator.spectral_norm, which bounds
    the gradient of a critic without a penalty. images: those to train on, or an upper bound.
    """

    label_flips: float | None = None
    spectral_norm: bool | None = None
    images: int | None = None

    @property
    def has_labels(self) -> bool:
        """Whether D's labels do carry information, however slowly it starts."""
        return self.label_flips is not None and self.label_flips < _FEW_FLIPS

    @property
    def needs_penalty(self) -> bool:
        """Whether nothing but a penalty keeps a critic's gradient near 1."""
        return self.spectral_norm is False

    @property
    def few_images(self) -> str | None:
        """What shows that there are too few images to train on, or None."""
        if self.images is None or self.images >= _FEW_IMAGES:
            return None
        return (
            f"there are {self.images:,} images to train on, which D learns by heart; no metric can "
            "tell copies of so few"
        )


UNKNOWN = Known()
