"""The columns of a table that contain images and labels."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gantrain.common.errors import UserError
from gantrain.data.importing.sources import SourceOptions

if TYPE_CHECKING:
    import pyarrow as pa

_IMAGE_NAMES = ("image", "images", "img", "photo", "jpg", "jpeg", "png", "webp", "bytes")
_LABEL_NAMES = ("label", "labels", "fine_label", "class", "target", "category", "y")
_WITHOUT = "Without labels: --classes none."


@dataclass(frozen=True)
class Columns:
    """The columns of a table.

    image: of encoded images: binary, or a struct with the field `bytes`.
    label: of integers or text; None for none.
    names: of the classes 0, 1, …; empty for labels that are names themselves.
    notes: what a user should know, one sentence each.
    """

    image: str
    label: str | None = None
    names: Sequence[str] = ()
    notes: Sequence[str] = ()

    def describe_label(self) -> str:
        """Return where the classes come from."""
        named = ", named in the metadata" if self.names else ""
        return f"column {self.label}{named}"

    def class_of(self, value: int | str | None, file: Path) -> str | None:
        """Return the class of a label; None for null and -1, which stands for none.

        Raises UserError if the class has no name.
        """
        if value is None or value == -1:
            return None
        if not self.names or isinstance(value, str):
            return str(value)
        if not 0 <= value < len(self.names):
            raise UserError(
                f"{file}: the column {self.label} contains {value}, but its metadata names the "
                f"classes 0 to {len(self.names) - 1}."
            )
        return self.names[value]

    def image_of(self, value: Any) -> bytes:
        """Return the encoded image in a value. Raises UserError if there is none."""
        if isinstance(value, dict):
            if value.get("bytes") is None and value.get("path"):
                raise UserError(f"contains only a path ({str(value['path'])[:80]}), no image")
            value = value.get("bytes")
        if value is None:
            raise UserError("contains no image (null)")
        return bytes(value)


def choose_columns(file: Path, schema: "pa.Schema", options: SourceOptions) -> Columns:
    """Choose the columns of images and labels: those of the options, else by type and name.

    Raises UserError, which names the columns, if there is no column of images, if an option names
    one that is not there, or if labels are neither integers nor text.
    """
    features = _features(schema)
    image = _choose_image(file, schema, features, options.image_column)
    if not options.read_labels:
        return Columns(image)
    label, notes = _choose_label(file, schema, features, options.label_column)
    if label is None:
        return Columns(image, notes=notes)
    if not _is_label(schema.field(label).type):
        raise UserError(
            f"{file}: the column {label} is {schema.field(label).type}; expected labels: integers "
            f"or text. {_list(schema)} Choose another one with --label-column. {_WITHOUT}"
        )
    names = features.get(label, {}).get("names")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        names = []
    return Columns(image, label, tuple(names), notes)


def _features(schema: "pa.Schema") -> dict[str, dict[str, Any]]:
    """Return what the metadata of the Hugging Face library says of each column."""
    try:
        tree = json.loads((schema.metadata or {})[b"huggingface"])
        features = tree["info"]["features"].items()
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        return {}
    return {name: each for name, each in features if isinstance(each, dict)}


def _choose_image(
    file: Path, schema: "pa.Schema", features: dict[str, dict[str, Any]], option: str | None
) -> str:
    fitting = [str(field.name) for field in schema if _is_image(field.type)]
    if option is not None:
        _check_exists(file, schema, option, "--image-column")
        if option not in fitting:
            raise UserError(
                f"{file}: the column {option} is {schema.field(option).type}; expected encoded "
                f"images: binary, or a struct with the binary field bytes. {_list(schema)}"
            )
        return str(option)
    stated = [name for name in fitting if features.get(name, {}).get("_type") == "Image"]
    customary = [name for name in _IMAGE_NAMES if name in fitting]
    chosen = [*stated, *customary, *(fitting if len(fitting) == 1 else ())]
    if not chosen:
        raise UserError(
            f"{file}: has no column of encoded images (binary, or a struct with the binary field "
            f"bytes) with a customary name; choose one with --image-column. {_list(schema)}"
        )
    return str(chosen[0])


def _choose_label(
    file: Path, schema: "pa.Schema", features: dict[str, dict[str, Any]], option: str | None
) -> tuple[str | None, list[str]]:
    if option is not None:
        _check_exists(file, schema, option, "--label-column")
        return option, []
    stated = [name for name in schema.names if features.get(name, {}).get("_type") == "ClassLabel"]
    customary = [name for name in _LABEL_NAMES if name in schema.names]
    chosen = [name for name in customary if name in stated] or stated or customary
    others = [name for name in dict.fromkeys((*stated, *customary)) if name not in chosen[:1]]
    notes = [f"Other columns of labels: {', '.join(others)} (--label-column)."] if others else []
    if not chosen:
        notes = [f"No column of labels with a customary name (--label-column). {_list(schema)}"]
    return (chosen[0] if chosen else None), notes


def _check_exists(file: Path, schema: "pa.Schema", name: str, option: str) -> None:
    if schema.names.count(name) != 1:
        raise UserError(f"{file}: {option}: there is no column {name!r}. {_list(schema)}")


def _list(schema: "pa.Schema") -> str:
    shown = [f"{field.name} ({str(field.type)[:60]})" for field in schema]
    more = f", and {len(shown) - 20} more" if len(shown) > 20 else ""
    return f"Its columns: {', '.join(shown[:20])}{more}."


def _is_image(type_: "pa.DataType") -> bool:
    import pyarrow as pa

    if pa.types.is_struct(type_):
        return any(field.name == "bytes" and _is_binary(field.type) for field in type_)
    return _is_binary(type_)


def _is_binary(type_: "pa.DataType") -> bool:
    import pyarrow as pa

    return bool(pa.types.is_binary(type_) or pa.types.is_large_binary(type_))


def _is_label(type_: "pa.DataType") -> bool:
    import pyarrow as pa

    if pa.types.is_dictionary(type_):
        type_ = type_.value_type
    return any(
        check(type_)
        for check in (pa.types.is_integer, pa.types.is_string, pa.types.is_large_string)
    )
