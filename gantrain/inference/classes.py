"""Classes of a generator with conditioning by their keys, and grids with a class a row."""

from collections.abc import Sequence

import torch
from torch import Tensor

from gantrain.common.errors import UserError
from gantrain.common.text import printable
from gantrain.common.validation import nearest
from gantrain.inference.sampling import generate_images, sample_latents
from gantrain.models.conditioning import class_weights
from gantrain.models.networks import Generator

COLUMNS = 8  # of a grid with a class a row, where their number is not chosen
_MAX_ROWS = 32  # of a grid whose classes are not chosen
_MAX_LISTED = 20  # classes in a message


def select_classes(generator: Generator, names: Sequence[str]) -> Tensor:
    """Return the classes with these keys, int64 (len(names),).

    The keys are those in the labels of the data set, and in `generator.conditioning.class_names`.

    Raises UserError listing the known ones for an unknown key, and if the generator has no classes.
    """
    indices = {name: index for index, name in enumerate(generator.conditioning.class_names)}
    if names and not indices:
        raise UserError(f"class {names[0]!r}: the generator was trained without classes.")
    for name in names:
        if name not in indices:
            hint = f"did you mean {nearest(name, indices)}? " if len(indices) > _MAX_LISTED else ""
            raise UserError(
                f"class {name!r}: unknown; {hint}expected one of: {list_classes(generator)}."
            )
    return torch.tensor([indices[name] for name in names], dtype=torch.int64)


def name_classes(generator: Generator, classes: Tensor | None) -> list[str]:
    """Return the keys of classes, int64 (N,); empty for None."""
    names = generator.conditioning.class_names
    return [] if classes is None else [names[index] for index in classes.tolist()]


def one_hot_classes(generator: Generator, names: Sequence[str]) -> Tensor | None:
    """Return one-hot weights, float32 (len(names), K), between which mixtures lie; None without
    conditioning. Raises UserError as `select_classes`."""
    classes = select_classes(generator, names)
    count = len(generator.conditioning.class_counts)
    return class_weights(classes, count) if count else None


def split_class_names(generator: Generator, given: Sequence[str]) -> list[str]:
    """Return the keys in words that have one each, or several with commas between them.

    A word that is a key stays whole, even if it has commas.
    """
    known = set(generator.conditioning.class_names)
    names: list[str] = []
    for word in given:
        names += [word] if word in known else [part.strip() for part in word.split(",")]
    return names


def row_classes(generator: Generator) -> list[str]:
    """Return the keys of the rows of a grid with a class a row: all, or 32 that are spread evenly.

    Empty without conditioning.
    """
    conditioning = generator.conditioning
    return conditioning.row_names(min(len(conditioning.class_names), _MAX_ROWS))


def sample_rows(
    generator: Generator,
    names: Sequence[str],
    columns: int,
    seed: int,
    *,
    truncation: float = 1.0,
) -> Tensor:
    """Return images with a class a row, float32 (len(names) * columns, C, S, S), row by row.

    The images of a column share their latent, which is that of the sample of its number: what
    differs within a column is due to the class.
    """
    latents = sample_latents(generator, columns, seed, truncation=truncation)
    classes = select_classes(generator, names).repeat_interleave(columns)
    return generate_images(generator, latents.repeat(len(names), 1), classes)


def list_classes(generator: Generator) -> str:
    """Return the keys of the classes for a message; of more than 20, the first and their number."""
    names = generator.conditioning.class_names
    listed = ", ".join(map(printable, names[:_MAX_LISTED]))
    rest = len(names) - _MAX_LISTED
    return f"{listed} and {rest} more" if rest > 0 else listed
