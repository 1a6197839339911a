"""The names that other tools give to losses, quality and progress in their logs."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from gantrain.common.errors import UserError
from gantrain.config.quality import OF_ONE_CLASS

# The columns that are understood: name in metrics.jsonl, and other names, without case, spaces and
# punctuation. The first three are progress.
COLUMNS: dict[str, tuple[str, ...]] = {
    "images_seen": ("images", "imagesseen", "nimg", "curnimg", "samplesseen"),
    "kimg": ("curkimg", "kimgs"),
    "step": (
        *("steps", "globalstep", "gsteps", "nsteps", "iter", "iters", "itr", "iteration"),
        *("iterations", "iternum", "niter", "numiter"),
    ),
    "loss/discriminator": (
        *("dloss", "lossd", "errd", "closs", "criticloss", "losscritic", "dtotalloss"),
        *("disloss", "lossdis", "discloss", "lossdisc", "discriminatorloss", "lossdiscriminator"),
        *("lossdloss", "lossesdloss"),
    ),
    "loss/generator": (
        *("gloss", "lossg", "errg", "gtotalloss", "genloss", "lossgen", "generatorloss"),
        *("lossgenerator", "lossgloss", "lossesgloss"),
    ),
    "loss/penalty": ("gp", "gradpenalty", "gradientpenalty", "penalty", "cgp", "losspenalty"),
    "loss/wasserstein": ("wassersteindistance", "wdist", "wasserstein", "cwassloss", "emd"),
    "quality/fid": ("fid", "fidscore", "frechetinceptiondistance", "fidvalue", "evalfid"),
    "quality/kid": ("kid", "kidscore"),
    "quality/inception_score": ("is", "inceptionscore", "ismean", "inceptionmean"),
    "quality/precision": ("precision",),
    "quality/recall": ("recall",),
    "health/d_accuracy_real": ("dacc", "drealacc", "accreal", "drealaccuracy"),
    "health/d_accuracy_fake": ("dfakeacc", "accfake", "dfakeaccuracy"),
    "health/d_grad_norm": ("dgradnorm", "gradnormd"),
    "health/g_grad_norm": ("ggradnorm", "gradnormg"),
}
_NAMES = {other: name for name, others in COLUMNS.items() for other in others}
# With the number of images, as StyleGAN and torch-mimicry have it: fid50k_full, pr50k3_recall.
_COUNTED = re.compile(
    r"(fid|kid|is|inceptionscore|pr)(?:\d+k?)+(?:full|test|mean)?(precision|recall)?"
)
_ADDED = re.compile(r"^(?:train|training|metrics|avg|mean)|(?:step|epoch|avg|mean)$")
_OF_WANDB = re.compile(r"(.+) - (.+?)(__MIN|__MAX)?")
_ALSO = (
    "Case, spaces and punctuation do not count. Neither do sections and runs before a name",
    "(Loss/D/loss, results.fid, run - fid), train before and step, epoch or mean behind it, nor",
    "the number of images (fid50k_full, pr50k3_full_recall).",
)
_OURS = ("loss/", "health/", "quality/", "interval/", OF_ONE_CLASS)


def columns_text() -> str:
    """Return the understood columns and their other names, one line each."""
    lines = [f"{name}: {', '.join(others)}" for name, others in COLUMNS.items()]
    return "\n".join([*lines, *_ALSO])


def parse_mapping(words: Sequence[str]) -> dict[str, str]:
    """Return our name by the column of the file, from words such as `fid=FID50k`.

    Raises UserError if a word has no `=` or a name that is not understood.
    """
    mapping = {}
    for word in words:
        name, equals, column = word.partition("=")
        known = known_name(name)
        if not equals or not column or known is None:
            raise UserError(
                f"--column {word!r}: expected NAME=COLUMN, where NAME is one of "
                f"{', '.join(COLUMNS)} or another name of them that --columns prints."
            )
        mapping[column] = known
    return mapping


def known_name(column: str) -> str | None:
    """Return what a column means, None if that is not understood.

    Sections before a name do not count (`Loss/`, `results.`), nor `train` before it and `step`,
    `epoch` or `mean` behind it, nor the name of the run in exports of W&B (`run - fid`).
    """
    if column in COLUMNS or column.startswith(_OURS):
        return column  # as in metrics.jsonl
    if (of_wandb := _OF_WANDB.fullmatch(column)) is not None:
        return None if of_wandb[3] else known_name(of_wandb[2])
    return next((name for text in _spellings(column) if (name := _name_of(text))), None)


def used_columns(names: Sequence[str], mapping: Mapping[str, str], source: str) -> dict[str, str]:
    """Return what each understood column means; of several with one meaning the mapped or first.

    Raises UserError if a mapped column is missing, or if the columns are of several runs.
    """
    for column in mapping:
        if column not in names:
            raise UserError(
                f"{source}: no column {column!r}, which --column names; it has {listed(names)}."
            )
    runs = dict.fromkeys(run for column in mapping or names if (run := _run_of(column)))
    if len(runs) > 1:
        first = next(column for column in mapping or names if _run_of(column))
        raise UserError(
            f"{source}: columns of {len(runs)} runs ({listed(runs)}); choose one by its column, "
            f"as with --column {known_name(first)}='{first}'."
        )
    used: dict[str, str] = {}
    for column in sorted(names, key=lambda name: name not in mapping):
        meaning = mapping.get(column) or known_name(column)
        other_run = runs and _run_of(column) and _run_of(column) not in runs
        if meaning is not None and meaning not in used.values() and not other_run:
            used[column] = meaning
    return used


def listed(names: Iterable[str]) -> str:
    """Return names for an error, the first twenty of them."""
    names = list(names)
    return ", ".join(names[:20]) + (", …" if len(names) > 20 else "")


def _run_of(column: str) -> str:
    """Return the run that an understood column of an export of W&B belongs to; "" for others."""
    found = _OF_WANDB.fullmatch(column)
    return found[1] if found is not None and known_name(column) else ""


def _spellings(column: str) -> Iterator[str]:
    """Yield the forms of a name in which it may be known, those that keep most of it first."""
    whole, last = (_bare(text) for text in (column, re.split(r"[/.:]", column)[-1]))
    for text in (whole, last):
        yield text
        yield _ADDED.sub("", text)


def _name_of(bare: str) -> str | None:
    if bare in _NAMES:
        return _NAMES[bare]
    counted = _COUNTED.fullmatch(bare)
    if counted is not None:
        family = counted[2] or {"is": "inceptionscore"}.get(counted[1], counted[1])
        return _NAMES.get(family)
    return next((name for name in COLUMNS if bare == _bare(name)), None)


def _bare(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())
