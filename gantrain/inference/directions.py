"""Directions in latent space that change one attribute of the images: class, camera, angle.

The generator is trained without labels. Each sample therefore takes the labels of the real image
most similar to it. A linear fit of the labels to the latents gives a direction, and its score on
held-out latents shows whether the attribute depends on the latents at all. Larsen et al. 2016 and
the book's chapter on VAEs find directions in the same way from images with known attributes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from gantrain.common.errors import UserError
from gantrain.common.grids import to_uint8
from gantrain.data.loading.labelled import LabelledDataset
from gantrain.data.shards.samples import Label
from gantrain.inference.sampling import generate_images, sample_classes, sample_latents
from gantrain.metrics.image_statistics import downsample
from gantrain.models.networks import Generator

_NOT_ATTRIBUTES = ("name", "view", "split", "file")
_ANGLES = ("yaw",)  # periodic attributes, in degrees
_MAX_VALUES = 64  # of a text attribute; with more it is rather a name
_MIN_SAMPLES = 20  # with a value, and without it
_THUMBNAIL_SIDE = 16  # pixels
_TRAIN_FRACTION = 0.8
_RIDGE = 10.0
_ROTATION_RADIUS = 2.0  # standard deviations
_MIN_AUC, _MIN_R2 = 0.6, 0.05  # of a direction that is not weak

Kind = Literal["is", "more", "cos", "sin"]


@dataclass(frozen=True)
class Direction:
    """A unit vector in latent space.

    name: `part=3001` for a value of a text attribute, `tilt` for a number, `yaw.cos` and `yaw.sin`
        for the plane in which an angle rotates.
    vector: float32 (latent_size,).
    kind: "is" (towards the value), "more" (towards larger numbers), "cos" or "sin" (of an angle).
    score: on held-out latents. AUC for "is", where 0.5 is chance; else the fraction of variance
        explained (R2), where 0 is chance.
    """

    name: str
    vector: Tensor
    kind: Kind
    score: float

    @property
    def weak(self) -> bool:
        """Whether the score on held-out latents is close to chance."""
        return self.score < (_MIN_AUC if self.kind == "is" else _MIN_R2)


def find_directions(
    generator: Generator,
    labelled: LabelledDataset,
    *,
    samples: int = 4096,
    seed: int = 0,
    advance: Callable[[int, int], None] | None = None,
) -> list[Direction]:
    """Return a direction for each value of each attribute that the generator makes, best first.

    With conditioning, the samples have classes as often as in training, so that a direction is one
    for all classes.

    advance: called with the samples generated so far and their number.

    Raises UserError if the labels have no attribute that varies over the samples.
    """
    latents = sample_latents(generator, samples, seed)
    classes = sample_classes(generator, samples, seed)
    images = generate_images(generator, latents, classes, advance=advance)
    pixels = to_uint8(images).transpose(0, 3, 1, 2)
    fakes = _thumbnails(torch.from_numpy(np.ascontiguousarray(pixels)))
    rows = labelled.rows
    reals = torch.cat(
        [_thumbnails(labelled.images[batch]) for batch in torch.split(torch.from_numpy(rows), 2048)]
    )
    nearest = np.concatenate(
        [torch.cdist(batch, reals).argmin(1).numpy() for batch in torch.split(fakes, 1024)]
    )
    directions = fit_directions(latents, labelled.labels(rows[nearest]))
    if not directions:
        raise UserError(
            f"{labelled.store.location}: no attribute in its labels (part, camera, yaw, …) varies "
            "over the generator's images; use a data set with labels, or train for longer."
        )
    return directions


def fit_directions(latents: Tensor, labels: Sequence[Label]) -> list[Direction]:
    """Return the directions of latents (N, latent_size) with known labels, best first."""
    directions: list[Direction] = []
    for name in dict.fromkeys(key for label in labels for key in label):
        values = [label.get(name) for label in labels]
        if name in _NOT_ATTRIBUTES or any(value is None for value in values):
            continue
        if all(isinstance(value, int | float) for value in values):
            directions += _fit_number(name, latents, np.array(values, np.float64))
        else:
            directions += _fit_text(name, latents, np.array([str(value) for value in values]))
    return sorted(directions, key=lambda direction: -direction.score)


def rotate(latents: Tensor, degrees: float, cosine: Direction, sine: Direction) -> Tensor:
    """Rotate latents (N, latent_size) in the plane of a periodic attribute.

    cosine, sine: the two directions of the attribute. The component in their plane is first scaled
    to length 2, where the angle is visible in the images.
    """
    first = cosine.vector
    second = functional.normalize(sine.vector - (sine.vector @ first) * first, dim=0)
    a, b = latents @ first, latents @ second
    angle = torch.atan2(b, a) + np.radians(degrees)
    rest = latents - a[:, None] * first - b[:, None] * second
    radius = _ROTATION_RADIUS
    return rest + radius * (torch.cos(angle)[:, None] * first + torch.sin(angle)[:, None] * second)


def traverse(
    latents: Tensor, directions: Sequence[Direction], name: str, steps: int, extent: float
) -> Tensor:
    """Return each latent (N, latent_size) moved along a direction: (N * steps, latent_size).

    name: of a direction, which is followed by `extent` standard deviations to either side, or of
    an angle such as `yaw`, which makes a full turn.
    """
    if any(direction.name == f"{name}.cos" for direction in directions):
        cosine, sine = (get_direction(directions, f"{name}.{kind}") for kind in ("cos", "sin"))
        moved = [rotate(latents, 360 * i / steps, cosine, sine) for i in range(steps)]
    else:
        vector = get_direction(directions, name).vector
        moved = [latents + float(x) * vector for x in torch.linspace(-extent, extent, steps)]
    return torch.stack(moved, 1).flatten(0, 1)


def get_direction(directions: Sequence[Direction], name: str) -> Direction:
    """Return the direction with a name. Raises UserError listing all names if there is none."""
    for direction in directions:
        if direction.name == name:
            return direction
    names = ", ".join(d.name for d in directions)
    raise UserError(f"direction {name!r}: unknown; expected one of: {names}.")


def _fit_number(name: str, latents: Tensor, values: NDArray[np.float64]) -> list[Direction]:
    if name in _ANGLES:
        angles = np.radians(values)
        cosine = _fit(f"{name}.cos", "cos", latents, np.cos(angles))
        return cosine + _fit(f"{name}.sin", "sin", latents, np.sin(angles))
    return _fit(name, "more", latents, values)


def _fit_text(name: str, latents: Tensor, values: NDArray[np.str_]) -> list[Direction]:
    distinct = sorted({str(value) for value in values})
    if len(distinct) > _MAX_VALUES:
        return []
    directions: list[Direction] = []
    for value in distinct:
        matches = values == value
        if _MIN_SAMPLES <= matches.sum() <= len(matches) - _MIN_SAMPLES:
            directions += _fit(f"{name}={value}", "is", latents, matches.astype(np.float64))
    return directions


def _fit(name: str, kind: Kind, latents: Tensor, values: NDArray[np.float64]) -> list[Direction]:
    """Fit values (N,) to latents by ridge regression; no direction if they do not vary."""
    train = round(len(latents) * _TRAIN_FRACTION)
    targets = torch.from_numpy(values - values[:train].mean())
    z = latents.double()
    gram = z[:train].T @ z[:train] + _RIDGE * torch.eye(z.shape[1], dtype=z.dtype)
    weights = torch.linalg.solve(gram, z[:train].T @ targets[:train])
    if not (weights.isfinite().all() and weights.norm() > 0):
        return []
    predicted, actual = (z[train:] @ weights).numpy(), targets[train:].numpy()
    score = _auc(predicted, actual > 0) if kind == "is" else _explained(predicted, actual)
    return [Direction(name, functional.normalize(weights, dim=0).float(), kind, score)]


def _auc(predicted: NDArray[np.float64], actual: NDArray[np.bool_]) -> float:
    """Return the probability that a positive is predicted above a negative; ties count half."""
    positives, negatives = predicted[actual], predicted[~actual]
    if not len(positives) or not len(negatives):
        return 0.5
    pairs = positives[:, None]
    return float((pairs > negatives).mean() + 0.5 * (pairs == negatives).mean())


def _explained(predicted: NDArray[np.float64], actual: NDArray[np.float64]) -> float:
    variance = actual.var()
    if not variance > 0:
        return 0.0
    return float(max(0.0, 1 - np.mean((predicted - actual) ** 2) / variance))


def _thumbnails(images: Tensor) -> Tensor:
    """Return uint8 (N, C, S, S) as float32 (N, C * 256) in [0, 1], averaged to 16x16 pixels."""
    return downsample(images, _THUMBNAIL_SIDE).flatten(1) / 255
