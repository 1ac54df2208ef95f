"""Traces, where they are switched on; the libraries for them are loaded only then."""

from collections.abc import Callable

from app.core.settings.application import TracingSettings
from app.core.tracing import Tracer


def open_tracer(settings: TracingSettings, *, service: str, clock_s: Callable[[], float]) -> Tracer | None:
    """A process' tracer; None where traces are off."""
    if settings.otlp_url is None:
        return None
    from deployments.otel_tracer import OtelTracer

    return OtelTracer(settings, service=service, clock_s=clock_s)
