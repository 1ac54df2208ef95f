"""``POST /v1/embeddings`` and ``POST /{project_id}/{endpoint_slug}/v1/embeddings``.

Order of checks: key → project → endpoint → body → admission → capacity.
"""

from typing import Annotated

import orjson
from fastapi import APIRouter, Header, Request, Response

from app.api.body import read_body
from app.api.caller import EndpointSlug, ProjectId, authenticate, scoped_endpoint
from app.api.docs import body_schema, embedding_responses
from app.api.embedding_work import EmbeddingWork
from app.api.request_record import record_of
from app.api.services import Services
from app.api.wire import EmbeddingBody, EmbeddingResponse, parse_embedding_body
from app.core.errors import InvalidRequest
from app.services.embed import EmbedContext
from app.services.idempotency import KeyedRequest
from app.services.resolve import endpoint_by_model, runtime_of, tier_of
from app.services.stage_clock import StageClock

_MAX_KEY_LENGTH = 255

IdempotencyKey = Annotated[
    str | None,
    Header(
        description="The same key and body within 24 hours get the first answer and are charged once. "
        f"1 to {_MAX_KEY_LENGTH} printable ASCII characters."
    ),
]


def embeddings_router(services: Services) -> APIRouter:
    """Routes of the embeddings API."""
    router = APIRouter(tags=["Embeddings"])

    @router.post(
        "/v1/embeddings",
        summary="Embed text (the key names the project)",
        response_model=EmbeddingResponse,
        responses=embedding_responses(scoped=False),
        openapi_extra=body_schema(EmbeddingBody),
    )
    async def embed_bare(request: Request, idempotency_key: IdempotencyKey = None) -> Response:
        """The endpoint is the one of the key's project that serves `model`, by its name or an alias."""
        return await serve_embeddings(services, request, idempotency_key, scope=None)

    @router.post(
        "/{project_id}/{endpoint_slug}/v1/embeddings",
        summary="Embed text at a named endpoint",
        response_model=EmbeddingResponse,
        responses=embedding_responses(scoped=True),
        openapi_extra=body_schema(EmbeddingBody),
    )
    async def embed_scoped(
        request: Request, project_id: ProjectId, endpoint_slug: EndpointSlug, idempotency_key: IdempotencyKey = None
    ) -> Response:
        """The endpoint's configuration decides the model; `model` in the body is informational."""
        return await serve_embeddings(services, request, idempotency_key, scope=(project_id, endpoint_slug))

    return router


async def serve_embeddings(
    services: Services, request: Request, idempotency_key: str | None, *, scope: tuple[str, str] | None
) -> Response:
    """Answer an embedding request; ``scope`` is project id and endpoint slug of a scoped path.

    Raises:
        EmbedgateError: see the order of checks above.
    """
    record = record_of(request)
    record.route, record.scoped = "embeddings", scope is not None
    record.wants_timing = "x-server-timing" in request.headers
    stages = StageClock(services.clock_s)
    record.stages_ms = stages.durations_ms
    caller = await authenticate(services, request)
    scoped = scoped_endpoint(caller.view, *scope) if scope else None
    stages.lap("authenticate")
    raw = await read_body(request, max_bytes=services.max_body_bytes)
    body = parse_embedding_body(raw)
    endpoint = scoped or endpoint_by_model(caller.view, body.model)
    _check_key(idempotency_key)
    stages.lap("parse")
    record.endpoint = endpoint.slug
    runtime = runtime_of(endpoint, services.models)
    tier = tier_of(endpoint, body.tier)
    record.model, record.tier, record.items = runtime.card.model_id, tier.value, len(body.input.items)
    context = EmbedContext(
        request_id=record.request_id,
        project=caller.view.project,
        key=caller.key,
        endpoint=endpoint,
        tier=tier,
        trace=record.trace,
    )
    work = EmbeddingWork(services.embed, record, runtime, body, context, stages)
    if idempotency_key is None:
        async with work.answer() as (content, headers):
            pass
        return Response(content, media_type="application/json", headers=headers)
    keyed = KeyedRequest(
        caller.view.project.project_id, idempotency_key, endpoint.slug.encode() + raw, endpoint.timeout_ms
    )
    kept, is_replay = await services.idempotency.answer(keyed, work.keepable_answer)
    head, _, content = kept.partition(b"\n")
    headers = orjson.loads(head) | ({"x-idempotent-replay": "true"} if is_replay else {})
    return Response(content, media_type="application/json", headers=headers)


def _check_key(key: str | None) -> None:
    if key is not None and not (1 <= len(key) <= _MAX_KEY_LENGTH and key.isascii() and key.isprintable()):
        raise InvalidRequest(f"'Idempotency-Key' must be 1 to {_MAX_KEY_LENGTH} printable ASCII characters.")
