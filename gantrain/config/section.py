"""What all sections of a config have in common."""

from typing import Any, get_args

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A section of the tree: immutable, unknown keys are errors, and no value is converted."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, strict=True, serialize_by_alias=True
    )


def members_by_tag(union: Any, tag: str) -> dict[str, type[Section]]:
    """Return the sections of an annotated union by the value of the key that tells them apart."""
    members: tuple[type[Section], ...] = get_args(get_args(union)[0])
    return {get_args(member.model_fields[tag].annotation)[0]: member for member in members}
