"""How each error becomes an HTTP answer: the only place that knows both.

Codes differ between scoped routes (``/{project_id}/{endpoint_slug}/v1/…``) and bare ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from app.api.rate_headers import rate_headers
from app.api.request_record import RequestRecord
from app.core import errors as e


@dataclass(frozen=True, slots=True)
class ErrorRule:
    """Status, type and the two codes of one class of error.

    ``no_retry`` tells the SDKs, which retry such statuses by themselves, that it cannot help.
    """

    status: int
    type: str
    scoped_code: str
    bare_code: str
    no_retry: bool = False


_BAD = "invalid_request_error"
_BILLING = "billing_error"
_DOWN = "service_unavailable_error"
_CAPACITY = ErrorRule(503, _DOWN, "capacity_exceeded", "capacity_exceeded")
_ENGINE_DOWN = ErrorRule(503, _DOWN, "engine_error", "internal_error")

INTERNAL = ErrorRule(500, "internal_error", "internal_error", "internal_error")

RULES: Mapping[type[e.EmbedgateError], ErrorRule] = {
    e.InvalidRequest: ErrorRule(400, _BAD, "invalid_input", "validation_error"),
    e.InvalidValue: ErrorRule(400, _BAD, "invalid_value", "invalid_value"),
    e.InvalidType: ErrorRule(400, _BAD, "invalid_type", "invalid_type"),
    e.ModelNotEmbedding: ErrorRule(400, _BAD, "model_not_embedding", "model_not_embedding"),
    e.Unauthenticated: ErrorRule(401, "authentication_error", "authentication_error", "invalid_api_key"),
    e.EndpointNotFound: ErrorRule(404, _BAD, "endpoint_not_found", "model_not_found"),
    e.InsufficientQuota: ErrorRule(402, _BILLING, "insufficient_quota", "insufficient_quota", no_retry=True),
    e.BillingDelinquent: ErrorRule(402, _BILLING, "billing_delinquent", "billing_delinquent", no_retry=True),
    e.BudgetExceeded: ErrorRule(402, _BILLING, "budget_exceeded", "budget_exceeded", no_retry=True),
    e.RateLimited: ErrorRule(429, "rate_limit_error", "rate_limit_exceeded", "rate_limit_exceeded"),
    e.RouteNotFound: ErrorRule(404, _BAD, "not_found", "not_found"),
    e.MethodNotAllowed: ErrorRule(405, _BAD, "method_not_allowed", "method_not_allowed"),
    e.DeadlineExceeded: ErrorRule(408, "timeout_error", "timeout", "timeout"),
    e.RangeNotSatisfiable: ErrorRule(416, _BAD, "range_not_satisfiable", "range_not_satisfiable"),
    e.Conflict: ErrorRule(409, _BAD, "conflict", "conflict", no_retry=True),
    e.RequestTooLarge: ErrorRule(413, _BAD, "request_too_large", "request_too_large"),
    e.Misconfigured: ErrorRule(500, "internal_error", "internal_error", "internal_error", no_retry=True),
    e.ModelNotDeployed: ErrorRule(500, "internal_error", "model_not_found", "internal_error", no_retry=True),
    e.UnknownTier: ErrorRule(500, "internal_error", "invalid_tier", "internal_error", no_retry=True),
    e.InvalidModelId: ErrorRule(500, "internal_error", "invalid_model_id", "internal_error", no_retry=True),
    e.InvalidEngineReply: ErrorRule(500, "internal_error", "invalid_embeddings_response", "internal_error"),
    e.EndpointInactive: ErrorRule(503, _DOWN, "endpoint_inactive", "endpoint_inactive"),
    e.ModelProvisioning: ErrorRule(503, _DOWN, "model_provisioning", "model_provisioning"),
    e.CapacityExceeded: _CAPACITY,
    e.DependencyDown: _CAPACITY,
}

ENGINE_RULES: Mapping[e.EngineFault, ErrorRule] = {
    e.EngineFault.BAD_INPUT: ErrorRule(400, _BAD, "engine_error", "internal_error"),
    e.EngineFault.OVERLOADED: _ENGINE_DOWN,
    e.EngineFault.OUT_OF_MEMORY: _ENGINE_DOWN,
    e.EngineFault.DEAD: _ENGINE_DOWN,
    e.EngineFault.OTHER: ErrorRule(500, "internal_error", "engine_error", "internal_error"),
}


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """What goes over the wire."""

    status: int
    code: str
    headers: Mapping[str, str]
    body: bytes


def answer(error: Exception, *, scoped: bool) -> ErrorAnswer:
    """The answer to an error; anything outside the tree is an internal error that says nothing of itself."""
    if not isinstance(error, e.EmbedgateError):
        message = "Something went wrong on our side; the request id helps your operator to find it."
        return _answer(INTERNAL, message, param=None, retry_after_s=None, scoped=scoped)
    headers = {"allow": error.allow} if isinstance(error, e.MethodNotAllowed) else {}
    if isinstance(error, e.RangeNotSatisfiable):
        headers["content-range"] = f"bytes */{error.size_bytes}"
    if isinstance(error, e.RateLimited):
        headers |= {"x-should-retry": "false"} if error.wait_us is None else _exact_wait(error.wait_us)
        headers |= rate_headers(error.rates)
    return _answer(
        rule_of(error), error.message, param=error.param, retry_after_s=error.retry_after_s, scoped=scoped, more=headers
    )


def answer_and_note(error: Exception, record: RequestRecord) -> ErrorAnswer:
    """The answer to a request's error, which its log line names."""
    failed = answer(error, scoped=record.scoped)
    record.error_code = failed.code
    if failed.status >= 500:
        cause = error.__cause__
        record.error = f"{type(error).__name__}: {error}" + (f" ({type(cause).__name__}: {cause})" if cause else "")
    return failed


def _exact_wait(wait_us: int) -> dict[str, str]:
    """``retry-after-ms``, which both SDKs prefer, where it is within the minute that they act on."""
    wait_ms = -(-wait_us // 1000)
    return {"retry-after-ms": str(wait_ms)} if wait_ms <= 60_000 else {}


def rule_of(error: e.EmbedgateError) -> ErrorRule:
    """The rule of an error: its own class's or the nearest parent's."""
    if isinstance(error, e.EngineError):
        return ENGINE_RULES[error.fault]
    return next((RULES[kind] for kind in type(error).__mro__ if kind in RULES), INTERNAL)


def _answer(
    rule: ErrorRule,
    message: str,
    *,
    param: str | None,
    retry_after_s: int | None,
    scoped: bool,
    more: Mapping[str, str] | None = None,
) -> ErrorAnswer:
    code = rule.scoped_code if scoped else rule.bare_code
    headers = {"content-type": "application/json", **(more or {})}
    if rule.status in (429, 503):
        headers["retry-after"] = str(retry_after_s or 1)
    if rule.no_retry:
        headers["x-should-retry"] = "false"
    if rule.status == 401:
        headers["www-authenticate"] = "Bearer"
    body = {"error": {"message": message, "type": rule.type, "param": param, "code": code}}
    return ErrorAnswer(rule.status, code, headers, orjson.dumps(body))
