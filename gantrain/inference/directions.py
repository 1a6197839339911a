"""Directions in latent space that change one attribute of the images: part, camera, angle.

No label went into the training. So that a latent vector gets one, its image takes the labels of
the real image that it is most like; a linear fit of the labels on the latents gives a direction,
and its success on latents that were kept aside says whether there is one. Larsen et al. 2016 and
the book's chapter on VAEs do so with attributes that were given.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from gantrain.common.errors import UserError
from gantrain.common.files import replacing
from gantrain.common.grids import to_bytes
from gantrain.data.loading.labelled import LabelledDataset
from gantrain.data.shards.samples import Label
from gantrain.inference.sampling import generate_images, sample_latents
from gantrain.models.networks import Generator

DIRECTIONS = "directions.safetensors"
_NOT_ATTRIBUTES = ("name", "view", "split")
_ANGLES = ("yaw",)  # in degrees, of which 0 and 360 are one
_MOST_VALUES = 64  # of a word, to be an attribute
_FEWEST = 20  # images of a value, to look for its direction
_THUMBNAIL = 16  # pixels a side
_TRAINED_SHARE = 0.8
_RIDGE = 10.0
_TURNING_RADIUS = 2.0  # standard deviations: where a latent is put on the circle that turns
_WEAK_AUC, _WEAK_R2 = 0.6, 0.05

Kind = Literal["is", "more", "cos", "sin"]


@dataclass(frozen=True)
class Direction:
    """A unit vector in latent space.

    name: `part=3001` towards a value, `tilt` towards more of it, `yaw.cos` and `yaw.sin` for the
        plane in which an angle goes round.
    vector: float32 (latent_size,).
    kind: is (a value of a word), more (a number), cos or sin (of an angle).
    score: on latents kept aside: for `is` the chance that one with the value lies further along
        than one without (AUC, 0.5 is nothing), else the share of variance explained (R2, 0 is
        nothing).
    """

    name: str
    vector: Tensor
    kind: Kind
    score: float

    @property
    def weak(self) -> bool:
        """Whether latents kept aside hardly bear it out."""
        return self.score < (_WEAK_AUC if self.kind == "is" else _WEAK_R2)


def find_directions(
    generator: Generator, labelled: LabelledDataset, *, samples: int = 4096, seed: int = 0
) -> list[Direction]:
    """A direction for each value of each attribute that the generator makes, best first.

    Raises UserError if the labels hold no attribute.
    """
    latents = sample_latents(generator, samples, seed)
    fakes = _thumbnails(torch.from_numpy(_as_images(generate_images(generator, latents))))
    rows = labelled.rows
    reals = torch.cat(
        [_thumbnails(labelled.images[part]) for part in torch.split(torch.from_numpy(rows), 2048)]
    )
    nearest = np.concatenate(
        [torch.cdist(f, reals).argmin(1).numpy() for f in torch.split(fakes, 1024)]
    )
    labels = labelled.labels(rows[nearest])
    found = fit_directions(latents, labels)
    if not found:
        raise UserError(
            f"{labelled.store.location}: no attribute of its labels (part, camera, yaw, …) tells "
            "the generator's images apart; give a set with labels, or train for longer."
        )
    return found


def fit_directions(latents: Tensor, labels: list[Label]) -> list[Direction]:
    """`find_directions` for latents (N, latent_size) whose labels are known."""
    found: list[Direction] = []
    for name in dict.fromkeys(key for label in labels for key in label):
        values = [label.get(name) for label in labels]
        if name in _NOT_ATTRIBUTES or any(value is None for value in values):
            continue
        if all(isinstance(value, int | float) for value in values):
            found += _of_number(name, latents, np.array(values, np.float64))
        elif len(words := {str(value) for value in values}) <= _MOST_VALUES:
            named = np.array([str(value) for value in values])
            for word in sorted(words):
                found += _fit(f"{name}={word}", "is", latents, (named == word).astype(np.float64))
    return sorted(found, key=lambda direction: -direction.score)


def turned(latents: Tensor, degrees: float, cosine: Direction, sine: Direction) -> Tensor:
    """Latents (N, latent_size) turned by an angle in the plane of an attribute that goes round.

    Their part in the plane is first brought to a length of 2, where the angle shows.
    """
    first = cosine.vector
    second = functional.normalize(sine.vector - (sine.vector @ first) * first, dim=0)
    a, b = latents @ first, latents @ second
    angle = torch.atan2(b, a) + np.radians(degrees)
    rest = latents - a[:, None] * first - b[:, None] * second
    radius = _TURNING_RADIUS
    return rest + radius * (torch.cos(angle)[:, None] * first + torch.sin(angle)[:, None] * second)


def named(directions: list[Direction], name: str) -> Direction:
    """The direction of this name. Raises UserError that lists the names there are."""
    for direction in directions:
        if direction.name == name:
            return direction
    names = ", ".join(d.name for d in directions)
    raise UserError(f"direction {name!r}: none was found; expected one of: {names}.")


def evaluate_expression(
    text: str, latents: dict[int, Tensor], directions: dict[str, Direction]
) -> Tensor:
    """The latent vector (latent_size,) of sums such as `3 - 7 + 12` or `3 + 2*part=3003`.

    Numbers are samples, names are directions in standard deviations. What several samples make
    is brought to the length of the first, as far out as the generator was trained.
    """
    terms = parse_expression(text)
    total = torch.zeros_like(next(iter(latents.values())))
    lengths = [latents[int(name)].norm() for _, name in terms if name.isdigit()]
    for factor, name in terms:
        if name.isdigit():
            total = total + factor * latents[int(name)]
    if len(lengths) > 1 and total.norm() > 0:
        total = total * (lengths[0] / total.norm())
    for factor, name in terms:
        if not name.isdigit():
            total = total + factor * directions[name].vector
    return total


def parse_expression(text: str) -> list[tuple[float, str]]:
    """Factors and names of a sum. Raises UserError unless it is one with a sample in it."""
    pattern = re.compile(r"\s*([+-]?)\s*(?:(\d+(?:\.\d+)?)\s*\*\s*)?([A-Za-z][\w=.-]*|\d+)\s*")
    terms: list[tuple[float, str]] = []
    at = 0
    while at < len(text):
        match = pattern.match(text, at)
        if match is None or (terms and not match[1]):
            raise UserError(
                f"{text!r}: not understood at {text[at:]!r}; expected a sum of samples and "
                "directions with blanks around the signs, as in '3 - 7 + 12' or "
                "'3 + 2*part=3003'."
            )
        terms.append(((-1.0 if match[1] == "-" else 1.0) * float(match[2] or 1), match[3]))
        at = match.end()
    if not any(name.isdigit() for _, name in terms):
        raise UserError(f"{text!r}: no sample in it; start from one, as in '3 + part=3003'.")
    return terms


def save_directions(directions: list[Direction], path: Path, made_with: str) -> None:
    """Keep directions in a file. made_with: tells the generator that they belong to."""
    plain = [{"name": d.name, "kind": d.kind, "score": d.score} for d in directions]
    header = {"format": "pt", "directions": json.dumps(plain), "made_with": made_with}
    with replacing(path) as temporary:
        vectors = torch.stack([d.vector for d in directions])
        save_file({"vectors": vectors}, temporary, metadata=header)


def load_directions(path: Path, made_with: str) -> list[Direction] | None:
    """What `save_directions` wrote for this generator; None if there is none."""
    try:
        with safe_open(path, "pt") as file:
            header, vectors = file.metadata() or {}, file.get_tensor("vectors")
        if header.get("made_with") != made_with:
            return None
        plain = json.loads(header["directions"])
        return [
            Direction(entry["name"], vector, entry["kind"], entry["score"])
            for entry, vector in zip(plain, vectors, strict=True)
        ]
    except (OSError, SafetensorError, KeyError, ValueError, TypeError):
        return None


def _of_number(name: str, latents: Tensor, values: NDArray[np.float64]) -> list[Direction]:
    if name in _ANGLES:
        angle = np.radians(values)
        cosine = _fit(f"{name}.cos", "cos", latents, np.cos(angle))
        return cosine + _fit(f"{name}.sin", "sin", latents, np.sin(angle))
    return _fit(name, "more", latents, values)


def _fit(name: str, kind: Kind, latents: Tensor, values: NDArray[np.float64]) -> list[Direction]:
    known = round(len(latents) * _TRAINED_SHARE)
    if kind == "is" and not _FEWEST <= values.sum() <= len(values) - _FEWEST:
        return []
    wanted = torch.from_numpy(values - values[:known].mean())
    z = latents.double()
    gram = z[:known].T @ z[:known] + _RIDGE * torch.eye(z.shape[1], dtype=z.dtype)
    weights = torch.linalg.solve(gram, z[:known].T @ wanted[:known])
    if not (weights.isfinite().all() and weights.norm() > 0):
        return []
    said, truth = (z[known:] @ weights).numpy(), wanted[known:].numpy()
    score = _auc(said, truth > 0) if kind == "is" else _explained(said, truth)
    return [Direction(name, functional.normalize(weights, dim=0).float(), kind, score)]


def _auc(said: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    with_, without = said[truth], said[~truth]
    if not len(with_) or not len(without):
        return 0.5
    return float((with_[:, None] > without).mean() + 0.5 * (with_[:, None] == without).mean())


def _explained(said: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    spread = truth.var()
    return float(max(0.0, 1 - np.mean((said - truth) ** 2) / spread)) if spread > 0 else 0.0


def _as_images(images: Tensor) -> NDArray[np.uint8]:
    return np.ascontiguousarray(to_bytes(images).transpose(0, 3, 1, 2))


def _thumbnails(images: Tensor) -> Tensor:
    side = images.shape[-1] // _THUMBNAIL
    return functional.avg_pool2d(images.float(), side).flatten(1) / 255
