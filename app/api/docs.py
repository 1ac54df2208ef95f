"""The OpenAPI document: every field, every error, examples that work."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from app.api.errors import INTERNAL, ErrorRule, rule_of
from app.api.wire import ErrorEnvelope
from app.core import errors as e

_REF = "#/components/schemas/{model}"
_RETRY_AFTER = {"description": "Seconds to wait, 1 to 60.", "schema": {"type": "integer", "minimum": 1, "maximum": 60}}
_REQUEST_ID = {"description": "Name this to your operator.", "schema": {"type": "string"}}

EMBEDDING_HEADERS: dict[str, Any] = {
    "x-request-id": _REQUEST_ID,
    "x-cache": {"description": "hit, partial or miss", "schema": {"type": "string"}},
    "x-service-tier": {"description": "The tier that served.", "schema": {"type": "string"}},
    "x-cost-nano-usd": {"description": "What the request cost, in nano-USD.", "schema": {"type": "integer"}},
    "x-ratelimit-limit-requests": {
        "description": "Where a limit is set: what it lets in at once. The same for tokens.",
        "schema": {"type": "integer"},
    },
    "x-ratelimit-remaining-requests": {"description": "What is left of that.", "schema": {"type": "integer"}},
    "x-ratelimit-reset-requests": {
        "description": "Until it is whole again, like 1m6.5s.",
        "schema": {"type": "string"},
    },
    "x-truncated": {"description": "How many inputs were cut, where any was.", "schema": {"type": "integer"}},
    "server-timing": {
        "description": "Duration of each stage, where `x-server-timing` in the request asked for it.",
        "schema": {"type": "string"},
    },
    "openai-processing-ms": {"description": "Time spent here.", "schema": {"type": "integer"}},
}

_EMBEDDING_ERRORS = (
    e.InvalidRequest,
    e.ModelNotEmbedding,
    e.Unauthenticated,
    e.InsufficientQuota,
    e.BillingDelinquent,
    e.BudgetExceeded,
    e.EndpointNotFound,
    e.RateLimited,
    e.Conflict,
    e.DeadlineExceeded,
    e.RequestTooLarge,
    e.ModelNotDeployed,
    e.UnknownTier,
    e.InvalidModelId,
    e.InvalidEngineReply,
    e.EndpointInactive,
    e.ModelProvisioning,
    e.CapacityExceeded,
)

Responses = dict[int | str, dict[str, Any]]


def errors_of(*kinds: type[e.EmbedgateError], scoped: bool) -> Responses:
    """Documented responses for classes of errors, an example for each code."""
    responses: Responses = {}
    for kind in kinds:
        rule = rule_of(kind.__new__(kind))
        _add_example(responses, rule, (kind.__doc__ or "").strip().splitlines()[0], scoped=scoped)
    _add_example(responses, INTERNAL, "Anything else that went wrong on our side.", scoped=scoped)
    return responses


def embedding_responses(*, scoped: bool) -> Responses:
    """Everything that an embeddings route answers."""
    return {200: {"headers": EMBEDDING_HEADERS}, **errors_of(*_EMBEDDING_ERRORS, scoped=scoped)}


def body_schema(model: type[BaseModel]) -> dict[str, Any]:
    """A request body that the route reads by itself; :func:`install` adds the schema to the document."""
    reference = {"$ref": _REF.format(model=model.__name__)}
    examples = model.model_json_schema().get("examples", [])
    named = {f"example {i}": {"value": value} for i, value in enumerate(examples, 1)}
    return {
        "requestBody": {"required": True, "content": {"application/json": {"schema": reference, "examples": named}}}
    }


def install(app: FastAPI, bodies: tuple[type[BaseModel], ...]) -> None:
    """Replace the application's generator of its OpenAPI document.

    Args:
        app: with all routes in place.
        bodies: models that routes read by themselves, as in :func:`body_schema`.
    """

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
                tags=app.openapi_tags,
            )
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            for body in bodies:
                schema = body.model_json_schema(ref_template=_REF)
                schemas.update(schema.pop("$defs", {}))
                schemas[body.__name__] = schema
            _secure(document)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _add_example(responses: Responses, rule: ErrorRule, sentence: str, *, scoped: bool) -> None:
    code = rule.scoped_code if scoped else rule.bare_code
    response = responses.setdefault(
        rule.status,
        {"model": ErrorEnvelope, "description": "", "content": {"application/json": {"examples": {}}}},
    )
    codes = response["content"]["application/json"]["examples"]
    codes[f"{code}: {sentence}"] = {
        "summary": f"{code}: {sentence}",
        "value": {"error": {"message": sentence, "type": rule.type, "param": None, "code": code}},
    }
    response["description"] = ", ".join(dict.fromkeys(name.partition(":")[0] for name in codes))
    response["headers"] = {"x-request-id": _REQUEST_ID}
    if rule.status in (429, 503):
        response["headers"]["retry-after"] = _RETRY_AFTER


def _secure(document: dict[str, Any]) -> None:
    """Name the credentials, and drop FastAPI's own 422, which this service answers as a 400."""
    document["components"]["securitySchemes"] = {
        "apiKey": {
            "type": "http",
            "scheme": "bearer",
            "description": "An API key of the project: eg_<project slug>_<secret>.",
        },
        "adminToken": {
            "type": "http",
            "scheme": "bearer",
            "description": "The operator's token, EMBEDGATE_ADMIN_TOKEN.",
        },
    }
    schemes: Mapping[str, str] = {
        "Embeddings": "apiKey",
        "Models": "apiKey",
        "Files": "apiKey",
        "Usage": "apiKey",
        "Administration": "adminToken",
    }
    for path in document["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
            for tag in operation.get("tags", ()):
                if tag in schemes:
                    operation["security"] = [{schemes[tag]: []}]
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)
