"""Traces of requests, as whoever collects them is told: ports, and the context that travels between processes.

A trace context is a W3C ``traceparent``; "" stands for none. Times are of the monotonic clock, in seconds.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from app.core.tier_queue import QueuedItem

NO_TRACE = ""


class RequestTrace(Protocol):
    """One request's trace, begun when its headers were there."""

    context: str
    """What replicas are told; "" when this request is not recorded."""

    def end(
        self, name: str, *, began_s: float, ended_s: float, stages_ms: Mapping[str, float], facts: Mapping[str, object]
    ) -> None:
        """Tell it whole: stages follow each other from the beginning."""


class Tracer(Protocol):
    """Tells of requests and engine steps."""

    def begin(self, headers: Iterable[tuple[bytes, bytes]]) -> RequestTrace:
        """A request came, with its caller's context or without."""

    def step(self, model_id: str, items: Sequence[QueuedItem], *, began_s: float, ended_s: float) -> None:
        """An engine step is done; of each request in it that is recorded, what its items waited and took."""
