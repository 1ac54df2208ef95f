"""One embedding request, from its parsed body to the bytes of its answer."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import orjson

from app.api.encode import encode_response
from app.api.rate_headers import rate_headers
from app.api.request_record import RequestRecord
from app.core.answer_ports import ANSWERS_KEPT_MS
from app.core.embedding_request import EmbeddingRequest
from app.services.embed import EmbedContext, EmbeddingResult, EmbedService
from app.services.model_runtime import ModelRuntime
from app.services.stage_clock import StageClock


@dataclass(frozen=True, slots=True)
class EmbeddingWork:
    """A request that is ready to run."""

    service: EmbedService
    record: RequestRecord
    runtime: ModelRuntime
    body: EmbeddingRequest
    context: EmbedContext
    stages: StageClock

    @asynccontextmanager
    async def answer(self) -> AsyncIterator[tuple[bytes, dict[str, str]]]:
        """Content and headers; they are paid for when the block ends."""
        record = self.record
        async with self.service.embed(self.runtime, self.body, self.context, self.stages) as result:
            record.tokens, record.cached_tokens = result.total_tokens, result.cached_tokens
            record.cost_nano_usd = result.cost_nano_usd
            content = await encode_response(result, self.body.encoding_format)
            self.stages.lap("serialize")
            yield content, _headers(result, self.context)

    @asynccontextmanager
    async def keepable_answer(self, hold_id: str) -> AsyncIterator[bytes]:
        """Headers, a line break and the content, paid for by a hold of that id."""
        work = replace(self, context=replace(self.context, hold_id=hold_id, retain_ms=ANSWERS_KEPT_MS))
        async with work.answer() as (content, headers):
            yield orjson.dumps(headers) + b"\n" + content


def _headers(result: EmbeddingResult, context: EmbedContext) -> dict[str, str]:
    headers = {
        "x-cache": result.cache_state.value,
        "x-service-tier": context.tier.value,
        "x-cost-nano-usd": str(result.cost_nano_usd),
        **rate_headers(result.rates),
    }
    if result.cut_items:
        headers["x-truncated"] = str(result.cut_items)
    return headers
