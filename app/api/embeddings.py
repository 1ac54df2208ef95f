"""``POST /v1/embeddings`` and ``POST /{project_id}/{endpoint_slug}/v1/embeddings``.

Order of checks: key → project → endpoint → body → admission → capacity.
"""

from fastapi import APIRouter, Request, Response

from app.api.body import read_body
from app.api.caller import EndpointSlug, ProjectId, authenticate, scoped_endpoint
from app.api.docs import body_schema, embedding_responses
from app.api.encode import encode_response
from app.api.request_record import RequestRecord, record_of
from app.api.services import Services
from app.api.wire import EmbeddingBody, EmbeddingResponse, parse_embedding_body
from app.core.directory import Endpoint
from app.core.embedding_request import EmbeddingRequest
from app.core.rates import go_duration
from app.services.authenticate import Caller
from app.services.embed import EmbedContext, EmbeddingResult
from app.services.resolve import endpoint_by_model, runtime_of, tier_of
from app.services.stage_clock import StageClock


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
    async def embed_bare(request: Request) -> Response:
        """The endpoint is the one of the key's project that serves `model`, by its name or an alias."""
        record = record_of(request)
        record.route = "embeddings"
        stages = StageClock(services.clock_s)
        caller = await authenticate(services, request)
        stages.lap("authenticate")
        body = parse_embedding_body(await read_body(request, max_bytes=services.max_body_bytes))
        endpoint = endpoint_by_model(caller.view, body.model)
        stages.lap("parse")
        return await _respond(services, record, caller=caller, endpoint=endpoint, body=body, stages=stages)

    @router.post(
        "/{project_id}/{endpoint_slug}/v1/embeddings",
        summary="Embed text at a named endpoint",
        response_model=EmbeddingResponse,
        responses=embedding_responses(scoped=True),
        openapi_extra=body_schema(EmbeddingBody),
    )
    async def embed_scoped(request: Request, project_id: ProjectId, endpoint_slug: EndpointSlug) -> Response:
        """The endpoint's configuration decides the model; `model` in the body is informational."""
        record = record_of(request)
        record.route, record.scoped = "embeddings", True
        stages = StageClock(services.clock_s)
        caller = await authenticate(services, request)
        endpoint = scoped_endpoint(caller.view, project_id, endpoint_slug)
        stages.lap("authenticate")
        body = parse_embedding_body(await read_body(request, max_bytes=services.max_body_bytes))
        stages.lap("parse")
        return await _respond(services, record, caller=caller, endpoint=endpoint, body=body, stages=stages)

    return router


async def _respond(
    services: Services,
    record: RequestRecord,
    *,
    caller: Caller,
    endpoint: Endpoint,
    body: EmbeddingRequest,
    stages: StageClock,
) -> Response:
    record.stages_ms = stages.durations_ms
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
    )
    async with services.embed.embed(runtime, body, context, stages) as result:
        record.tokens, record.cached_tokens = result.total_tokens, result.cached_tokens
        record.cost_nano_usd = result.cost_nano_usd
        content = await encode_response(result, body.encoding_format)
        stages.lap("serialize")
    return Response(content, media_type="application/json", headers=_headers(result, context))


def _headers(result: EmbeddingResult, context: EmbedContext) -> dict[str, str]:
    headers = {
        "x-cache": result.cache_state.value,
        "x-service-tier": context.tier.value,
        "x-cost-nano-usd": str(result.cost_nano_usd),
    }
    for kind, rate in (("requests", result.rates.requests), ("tokens", result.rates.tokens)):
        if rate is not None:
            headers[f"x-ratelimit-limit-{kind}"] = str(rate.limit)
            headers[f"x-ratelimit-remaining-{kind}"] = str(rate.remaining)
            headers[f"x-ratelimit-reset-{kind}"] = go_duration(rate.reset_us)
    if result.cut_items:
        headers["x-truncated"] = str(result.cut_items)
    return headers
