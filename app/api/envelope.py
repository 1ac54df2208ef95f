"""The outermost layer: request ids, the error envelope for whatever fails, one log line, metrics.

Plain ASGI, because a layer that every request passes must cost next to nothing.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.errors import ErrorAnswer, answer
from app.api.request_record import CALLERS_ID, RequestRecord, attach
from app.api.services import Services
from app.core import metric_names as names
from app.core.activity import NO_TIER, Outcome

CLIENT_CLOSED = 499
"""Logged for a request whose client left; nothing is sent."""


class Envelope:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, services: Services, *, ingress_adds_id: bool) -> None:
        self._app = app
        self._adds_id = not ingress_adds_id
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; lifespan events pass through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_s = self._services.clock_s()
        record = RequestRecord(request_id=self._request_id(scope["headers"]))
        attach(scope, record)
        tracer = self._services.tracer
        trace = tracer.begin(scope["headers"]) if tracer is not None else None
        if trace is not None:
            record.trace = trace.context
        status = CLIENT_CLOSED

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                elapsed_ms = round((self._services.clock_s() - started_s) * 1000)
                headers = [*message.get("headers", ()), (b"openai-processing-ms", b"%d" % elapsed_ms)]
                if self._adds_id:
                    headers.append((b"x-request-id", record.request_id.encode()))
                if record.wants_timing:
                    headers.append((b"server-timing", _server_timing(record.stages_ms)))
                if record.trace:
                    headers.append((b"traceresponse", record.trace.encode()))
                message["headers"] = headers
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception as error:
            record.error = f"{type(error).__name__}: {error}"
            if status == CLIENT_CLOSED:
                failed = answer(error, scoped=record.scoped)
                record.error_code = failed.code
                await send_answer(failed, send_with_headers)
        finally:
            ended_s = self._services.clock_s()
            self._report(scope, record, status, (ended_s - started_s) * 1000)
            if trace is not None and record.route != "health":
                facts = _line(scope, record, status, (ended_s - started_s) * 1000)
                trace.end(record.route, began_s=started_s, ended_s=ended_s, stages_ms=record.stages_ms, facts=facts)

    def _request_id(self, headers: Iterable[tuple[bytes, bytes]]) -> str:
        for name, value in headers:
            if name == b"x-request-id" and CALLERS_ID.match(value):
                return value.decode()
        return self._services.new_request_id()

    def _report(self, scope: Scope, record: RequestRecord, status: int, total_ms: float) -> None:
        metrics = self._services.metrics
        tier = record.tier or "none"
        metrics.count(names.REQUESTS, route=record.route, tier=tier, status=str(status))
        if record.stages_ms:
            for stage, duration_ms in record.stages_ms.items():
                metrics.count(names.STAGE_MS, duration_ms, stage=stage, tier=tier)
            metrics.observe(names.REQUEST_MS, total_ms, tier=tier)
        if record.route == "embeddings":
            self._services.activity.note(
                Outcome(
                    tier=record.tier or NO_TIER,
                    status=status,
                    total_ms=total_ms,
                    tokens=record.tokens or 0,
                    cached_tokens=record.cached_tokens or 0,
                    nano_usd=record.cost_nano_usd or 0,
                )
            )
        if record.route != "health":
            self._services.log_request(_line(scope, record, status, total_ms))


async def send_answer(failed: ErrorAnswer, send: Send) -> None:
    """Send an error as a whole response."""
    headers = [(name.encode(), value.encode()) for name, value in failed.headers.items()]
    headers.append((b"content-length", b"%d" % len(failed.body)))
    await send({"type": "http.response.start", "status": failed.status, "headers": headers})
    await send({"type": "http.response.body", "body": failed.body})


def _server_timing(stages_ms: Mapping[str, float]) -> bytes:
    return ", ".join(f"{stage};dur={ms:.3f}" for stage, ms in stages_ms.items()).encode()


def _line(scope: Scope, record: RequestRecord, status: int, total_ms: float) -> dict[str, Any]:
    line: dict[str, Any] = {
        "event": "request",
        "request_id": record.request_id,
        "method": scope["method"],
        "route": record.route,
        "status": status,
        "total_ms": round(total_ms, 3),
    }
    optional = {
        "project_id": record.project_id,
        "endpoint": record.endpoint,
        "key_id": record.key_id,
        "model": record.model,
        "tier": record.tier,
        "items": record.items,
        "tokens": record.tokens,
        "cached_tokens": record.cached_tokens,
        "cost_nano_usd": record.cost_nano_usd,
        "error_code": record.error_code,
        "error": record.error,
        "stages_ms": {stage: round(ms, 3) for stage, ms in record.stages_ms.items()} or None,
    }
    line.update((name, value) for name, value in optional.items() if value is not None)
    return line
