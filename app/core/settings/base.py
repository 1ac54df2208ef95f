"""What all settings share."""

from pydantic import BaseModel, ConfigDict


class Knobs(BaseModel):
    """Settings refuse unknown keys and quiet conversions; a docstring under a field documents it."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)
