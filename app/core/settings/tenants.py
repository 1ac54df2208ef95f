"""Projects, endpoints and keys as an operator writes them down, in a file or in a request."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from app.core.api_key import SLUG_PATTERN
from app.core.model_card import MODEL_ID_PATTERN
from app.core.settings.base import Knobs

Slug = Annotated[str, Field(pattern=SLUG_PATTERN, examples=["search-prod"])]
Name = Annotated[str, Field(min_length=1, max_length=200)]
ModelId = Annotated[str, Field(pattern=MODEL_ID_PATTERN, examples=["all-MiniLM-L6-v2"])]
Aliases = Annotated[tuple[ModelId, ...], Field(max_length=20, strict=False)]
TaskMode = Literal["embed", "generate"]
EndpointStatus = Literal["active", "inactive"]
CallerTier = Literal["flex", "default", "priority"]
Dimensions = Annotated[int, Field(ge=1, le=65_536)]
TimeoutMs = Annotated[int, Field(ge=1, le=60_000)]


class EndpointSpec(Knobs):
    """An endpoint."""

    slug: Slug
    """Part of the scoped path."""
    model: ModelId
    """The model that runs."""
    aliases: Aliases = ()
    """Other names under which callers may ask for it."""
    task_mode: TaskMode = "embed"
    """Only "embed" endpoints take embedding requests."""
    status: EndpointStatus = "active"
    """An inactive endpoint answers 503."""
    service_tier: CallerTier = "default"
    """The tier of requests that name none."""
    dimensions: Dimensions | None = None
    """Size of vectors when the request names none; the model's native size when left out."""
    timeout_ms: TimeoutMs = 30_000
    """A request's deadline."""


class KeySpec(Knobs):
    """A key: made once under its name, and shown once."""

    name: Name
    """For people; a key of that name that is not revoked is left alone."""


class ProjectSpec(Knobs):
    """A tenant."""

    slug: Slug
    """Part of every key of the project; it never changes."""
    name: Name
    """For people."""
    status: Literal["active", "disabled"] = "active"
    """A disabled project's keys open nothing."""
    endpoints: Annotated[tuple[EndpointSpec, ...], Field(max_length=100, strict=False)] = ()
    """Endpoints that the file does not name stay as they are."""
    keys: Annotated[tuple[KeySpec, ...], Field(max_length=1000, strict=False)] = ()
    """Keys that the file does not name stay as they are."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        _require_distinct("endpoint", [endpoint.slug for endpoint in self.endpoints])
        _require_distinct("key", [key.name for key in self.keys])
        return self


class ProjectsFile(Knobs):
    """What ``embedgate apply`` reads."""

    projects: Annotated[tuple[ProjectSpec, ...], Field(min_length=1, strict=False)]
    """Tenants that must exist."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        _require_distinct("project", [project.slug for project in self.projects])
        return self


def _require_distinct(kind: str, names: list[str]) -> None:
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{kind} named twice: {', '.join(twice)}")
