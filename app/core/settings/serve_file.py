"""A Serve configuration file as this service uses it: the part of Ray's schema that may be set."""

from typing import Any, Literal

from pydantic import Field

from app.core.settings.application import Settings
from app.core.settings.base import Knobs


class HttpOptions(Knobs):
    """Where HTTP is served."""

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 for all, behind a firewall or a NetworkPolicy."""
    port: int = Field(default=8000, ge=1, le=65535)
    """The serving port."""
    keep_alive_timeout_s: int = Field(default=90, ge=1)
    """How long an idle connection stays open."""
    request_timeout_s: float | None = Field(default=None, gt=0)
    """Leave it out: deadlines are the endpoints' own, and end in the service's error envelope."""


class Application(Knobs):
    """The one application."""

    name: str = "embedgate"
    """Serve's name for the application."""
    route_prefix: Literal["/"] = "/"
    """Paths are those of the OpenAI API, so the application owns the root."""
    import_path: Literal["deployments.build:build"]
    """The application builder."""
    runtime_env: dict[str, Any] = Field(default_factory=dict)
    """Ray's runtime environment; env_vars is the usual content."""
    args: Settings
    """The service's own settings."""


class ServeFile(Knobs):
    """The whole file."""

    proxy_location: Literal["EveryNode", "HeadOnly"] = "EveryNode"
    """Where HAProxy runs."""
    http_options: HttpOptions = HttpOptions()
    """Where HTTP is served."""
    applications: tuple[Application, ...] = Field(min_length=1, max_length=1, strict=False)
    """Exactly one."""
