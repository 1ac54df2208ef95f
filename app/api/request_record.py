"""What is known of a request while it is served: the source of its log line, metrics and headers."""

import re
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request

from app.core.tracing import NO_TRACE

_SCOPE_KEY = "embedgate"

CALLERS_ID = re.compile(rb"^[A-Za-z0-9_.:-]{1,128}\Z")
"""A caller's request id that is kept; any other is replaced."""


@dataclass(slots=True)
class RequestRecord:
    """Filled in along the way; never holds a key or an input."""

    request_id: str
    route: str = "unknown"
    scoped: bool = False
    project_id: str | None = None
    endpoint: str | None = None
    key_id: str | None = None
    model: str | None = None
    tier: str | None = None
    items: int | None = None
    tokens: int | None = None
    cached_tokens: int | None = None
    cost_nano_usd: int | None = None
    error_code: str | None = None
    error: str | None = None
    stages_ms: dict[str, float] = field(default_factory=dict)
    trace: str = NO_TRACE
    wants_timing: bool = False


def attach(scope: Any, record: RequestRecord) -> None:
    """Make the record travel with an ASGI scope."""
    scope[_SCOPE_KEY] = record


def record_of(request: Request) -> RequestRecord:
    """The record of a request."""
    return record_of_scope(request.scope)


def record_of_scope(scope: Any) -> RequestRecord:
    """The record that travels with an ASGI scope."""
    record = scope[_SCOPE_KEY]
    assert isinstance(record, RequestRecord), "the envelope wraps every route. This is a bug."
    return record
