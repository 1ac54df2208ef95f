"""Traces by OpenTelemetry, told by OTLP over HTTP in the background. Imported where ``tracing.otlp_url`` is set."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Thread
from time import time_ns

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from app.core.settings.application import TracingSettings
from app.core.tier_queue import QueuedItem
from app.core.tracing import NO_TRACE

logger = logging.getLogger("ray.serve.embedgate")

_CONTEXT = TraceContextTextMapPropagator()
_HEADERS = (b"traceparent", b"tracestate")
_DELAY_MS = 1000
_MOST_STEPS = 100
"""That wait to be told of; more are left out."""

_TIMEOUT_S = 5
_TOLD = ("request_id", "project_id", "endpoint", "key_id", "model", "tier", "items", "tokens", "cached_tokens",
         "cost_nano_usd", "error_code", "status")  # fmt: skip


class OtelTracer:
    """``Tracer`` over OpenTelemetry's SDK.

    Args:
        settings: where spans go, and of how many requests.
        service: the process' name among those of the service.
        clock_s: the clock that times are of.
    """

    def __init__(self, settings: TracingSettings, *, service: str, clock_s: Callable[[], float]) -> None:
        assert settings.otlp_url is not None, "without a collector there is no tracer"
        ours = TraceIdRatioBased(settings.sample_thousandths / 1000)
        sampler = ParentBased(ours) if settings.follow_callers else ours
        resource = Resource.create({"service.name": f"embedgate-{service}"})
        # A process that ends does not wait for a collector that is away; its last second may be missing.
        self._provider = TracerProvider(sampler=sampler, resource=resource, shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint=settings.otlp_url, timeout=_TIMEOUT_S)
        self._provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=_DELAY_MS))
        self._tracer = self._provider.get_tracer("embedgate")
        self._clock_s = clock_s
        self._steps: SimpleQueue[_Step | None] = SimpleQueue()
        self._teller = Thread(target=self._tell_steps, name="traces", daemon=True)
        self._teller.start()

    def begin(self, headers: Iterable[tuple[bytes, bytes]]) -> "OtelRequestTrace":
        """A request came, as part of its caller's trace where that is named."""
        carried = {name.decode(): value.decode("latin-1") for name, value in headers if name in _HEADERS}
        parent = _CONTEXT.extract(carried) if carried else Context()
        return OtelRequestTrace(self, self._tracer.start_span("request", parent, kind=SpanKind.SERVER))

    def step(self, model_id: str, items: Sequence[QueuedItem], *, began_s: float, ended_s: float) -> None:
        """Leave it to a thread of the tracer's: an engine must not wait for its own report."""
        traced = [item for item in items if item.trace]
        if traced and self._steps.qsize() < _MOST_STEPS:
            self._steps.put(_Step(model_id, traced, len(items), began_s, ended_s))

    def _tell_steps(self) -> None:
        while (step := self._steps.get()) is not None:
            try:
                self._tell_step(step)
            except Exception:
                logger.exception("an engine step could not be traced")

    def _tell_step(self, step: "_Step") -> None:
        """A span for the wait and one for the step, of each traced request that had items in it."""
        own: dict[str, list[QueuedItem]] = {}
        for item in step.traced:
            own.setdefault(item.trace, []).append(item)
        for context, part in own.items():
            parent = _CONTEXT.extract({"traceparent": context})
            facts: dict[str, str | int] = {"model": step.model_id, "items": len(part), "step_items": step.items}
            self.span("queue", parent, min(item.queued_at_s for item in part), step.began_s, facts)
            self.span("step", parent, step.began_s, step.ended_s, facts)

    def span(
        self, name: str, parent: Context, began_s: float, ended_s: float, facts: Mapping[str, str | int] | None = None
    ) -> None:
        """Tell of something that is over."""
        span = self._tracer.start_span(name, parent, attributes=facts, start_time=self.wall_ns(began_s))
        span.end(self.wall_ns(ended_s))

    def wall_ns(self, moment_s: float) -> int:
        """A moment of the clock as Unix time."""
        return time_ns() + int((moment_s - self._clock_s()) * 1e9)

    def close(self) -> None:
        """Tell what is left."""
        self._steps.put(None)
        self._teller.join(_TIMEOUT_S)
        self._provider.shutdown()


@dataclass(frozen=True, slots=True)
class _Step:
    model_id: str
    traced: Sequence[QueuedItem]
    items: int
    began_s: float
    ended_s: float


class OtelRequestTrace:
    """One request's span, and its stages' below it."""

    def __init__(self, tracer: OtelTracer, span: Span) -> None:
        self._tracer = tracer
        self._span = span
        self._parent = trace.set_span_in_context(span, Context())
        carrier: dict[str, str] = {}
        if span.is_recording():
            _CONTEXT.inject(carrier, self._parent)
        self.context = carrier.get("traceparent", NO_TRACE)

    def end(
        self, name: str, *, began_s: float, ended_s: float, stages_ms: Mapping[str, float], facts: Mapping[str, object]
    ) -> None:
        """See :class:`app.core.tracing.RequestTrace`."""
        if not self._span.is_recording():
            return
        at_s = began_s
        for stage, duration_ms in stages_ms.items():
            self._tracer.span(stage, self._parent, at_s, at_s + duration_ms / 1000)
            at_s += duration_ms / 1000
        self._span.update_name(name)
        for fact in _TOLD:
            if isinstance(value := facts.get(fact), str | int):
                self._span.set_attribute(f"embedgate.{fact}", value)
        status = facts.get("status")
        if isinstance(status, int) and status >= 500:
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end(self._tracer.wall_ns(ended_s))
