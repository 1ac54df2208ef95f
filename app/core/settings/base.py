"""What all settings share."""

from pydantic import BaseModel, ConfigDict, Field


class Knobs(BaseModel):
    """Settings refuse unknown keys and quiet conversions; a docstring under a field documents it."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


class Placed(Knobs):
    """What runs on some of the cluster's nodes."""

    node_labels: dict[str, str] = Field(default_factory=dict)
    """Ray's labels of the nodes that it may run on; any node when left out. Where no node has them it waits."""
