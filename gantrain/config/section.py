"""What all sections of a config have in common."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A section of the tree: immutable, unknown keys are errors, and no value is converted."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, strict=True, serialize_by_alias=True
    )
