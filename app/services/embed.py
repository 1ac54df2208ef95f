"""One embedding request, from a resolved endpoint to its vectors.

tokenize → look up → admit → compute what is missing → write the answer → settle. Hits and repeats
are free, and a request that fails anywhere on this way costs nothing. Where a replica has nothing
else to do it begins while the ledger is asked (``head_start.py``).
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum

from app.core import metric_names as names
from app.core.crowd import Crowd
from app.core.directory import Endpoint, KeyRecord, Project
from app.core.embedding_request import EmbeddingRequest
from app.core.errors import (
    DeadlineExceeded,
)
from app.core.ledger_types import Terms
from app.core.packing import TokenIds, Vector, cut
from app.core.ports import Admission, AdmissionRequest, Hold, Metrics
from app.core.rates import Rates
from app.core.tiers import Tier
from app.services.cached_vectors import CachedVectors, SharedVectors
from app.services.computations import Asker, Computations, Round
from app.services.head_start import HeadStart
from app.services.model_runtime import ModelRuntime
from app.services.resolve import dimensions_of
from app.services.stage_clock import StageClock
from app.services.vector_cache import CacheKey, VectorCache, cache_key


class CacheState(StrEnum):
    """What the cache gave, for the ``x-cache`` header."""

    HIT = "hit"
    PARTIAL = "partial"
    MISS = "miss"


@dataclass(frozen=True, slots=True)
class EmbedContext:
    """Who asks, and through which endpoint. The hold's id and how long it is remembered may be named."""

    request_id: str
    project: Project
    key: KeyRecord
    endpoint: Endpoint
    tier: Tier
    hold_id: str | None = None
    retain_ms: int | None = None
    trace: str = ""


@dataclass(frozen=True, slots=True)
class EmbeddingResult:
    """Vectors in input order, and what they cost. ``cached_tokens`` came free."""

    vectors: Sequence[Vector]
    model_id: str
    total_tokens: int
    cached_tokens: int
    cut_items: int
    cache_state: CacheState
    cost_nano_usd: int
    rates: Rates


@dataclass(frozen=True, slots=True)
class EmbedSettings:
    """Bounds of a request, and who shares the cache."""

    max_tokens_per_request: int
    max_ongoing_requests: int
    share_cache_across_projects: bool


class EmbedService:
    """The use case behind ``POST …/v1/embeddings``."""

    def __init__(
        self,
        *,
        settings: EmbedSettings,
        cache: VectorCache,
        shared: SharedVectors | None = None,
        admission: Admission,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._crowd = Crowd(settings.max_ongoing_requests)
        self._cache = cache
        self._computations = Computations(cache, metrics)
        self._cached = CachedVectors(cache, shared, metrics)
        self._admission = admission
        self._head_start = HeadStart()
        self._metrics = metrics

    @asynccontextmanager
    async def embed(
        self, runtime: ModelRuntime, request: EmbeddingRequest, context: EmbedContext, stages: StageClock
    ) -> AsyncIterator[EmbeddingResult]:
        """Compute or find the vectors of a request; it is settled when the block that uses them ends.

        Raises:
            EmbedgateError: whatever went wrong, in the block too; nothing is held or charged then.
        """
        with self._crowd.place(context.tier):
            hold, result = await self._vectors(runtime, request, context, stages)
            try:
                if context.hold_id is None:
                    hold.begin_capture()
                yield result
            except BaseException:
                await asyncio.shield(hold.release())
                raise
            await hold.capture()
        stages.lap("settle")
        self._count(runtime.card.model_id, context.tier, result)

    async def _vectors(
        self, runtime: ModelRuntime, request: EmbeddingRequest, context: EmbedContext, stages: StageClock
    ) -> tuple[Hold, EmbeddingResult]:
        card = runtime.card
        dimensions = dimensions_of(card, request.dimensions, context.endpoint)
        timeout_ms = context.endpoint.timeout_ms
        try:
            async with asyncio.timeout(timeout_ms / 1000) as deadline:
                scope = "" if self._settings.share_cache_across_projects else context.project.project_id
                tokenized = await runtime.tokenizer.tokenize(
                    request.input,
                    input_type=request.input_type,
                    truncate=request.truncate,
                    max_tokens=self._settings.max_tokens_per_request,
                    scope=scope,
                )
                stages.lap("tokenize")
                keys = [cache_key(scope=scope, revision=card.revision, token_ids=item) for item in tokenized.items]
                found, missing = await self._cached.find(keys, tokenized.items, card)
                charged_tokens = sum(map(len, missing.values()))
                cached_tokens = tokenized.total_tokens - charged_tokens
                if missing:
                    project_id = context.project.project_id
                    runtime.pool.check(tier=context.tier, project_id=project_id, tokens=charged_tokens)
                asked = _admission_request(request, context, charged_tokens, cached_tokens)
                asker = Asker(context.project, context.tier, context.trace, deadline.when() or 0.0)
                hold, begun = await self._admit(asked, runtime, missing, asker)
                stages.lap("admit")
                await self._compute_under(hold, runtime, found, missing, asker, begun)
                stages.lap("embed")
        except TimeoutError:
            raise DeadlineExceeded(
                f"No vector was computed within {timeout_ms} ms; nothing was charged. Try again."
            ) from None
        state = CacheState.MISS if not cached_tokens else CacheState.HIT if not missing else CacheState.PARTIAL
        result = EmbeddingResult(
            vectors=[cut(found[key], dimensions) for key in keys],
            model_id=card.model_id,
            total_tokens=tokenized.total_tokens,
            cached_tokens=cached_tokens,
            cut_items=tokenized.cut_items,
            cache_state=state,
            cost_nano_usd=hold.amount_nano_usd,
            rates=hold.rates,
        )
        return hold, result

    async def _admit(
        self, asked: AdmissionRequest, runtime: ModelRuntime, missing: Mapping[CacheKey, TokenIds], asker: Asker
    ) -> tuple[Hold, Round | None]:
        """Take the hold; and begin meanwhile, where that keeps nobody else waiting (see ``HeadStart``)."""
        begun = None
        if self._head_start.is_due(asked, runtime.pool):
            begun = self._computations.begin(runtime, missing, asker, may_join=True)
        try:
            hold = await self._admission.admit(asked)
        except BaseException:
            self._head_start.refused(asked)
            if begun is not None:
                self._computations.leave(begun)
            raise
        self._head_start.admitted(asked)
        if begun is not None:
            self._computations.held(begun)
        return hold, begun

    async def _compute_under(
        self,
        hold: Hold,
        runtime: ModelRuntime,
        found: dict[CacheKey, Vector],
        missing: Mapping[CacheKey, TokenIds],
        asker: Asker,
        begun: Round | None,
    ) -> None:
        """Fill ``found`` with what is missing; any failure, cancellation too, releases the hold.

        A joined computation may end with its first asker's deadline or luck, which must not
        become ours: what it leaves open is computed in a round of our own, which joins nobody.
        """
        computations = self._computations
        try:
            left = missing
            if left:
                begun = begun or self._begin_held(runtime, left, asker, may_join=True)
                left = await computations.finish(begun, found, left)
            if left:
                own = self._begin_held(runtime, left, asker, may_join=False)
                await computations.finish(own, found, left)
        except BaseException:
            await asyncio.shield(hold.release())
            raise

    def _begin_held(
        self, runtime: ModelRuntime, missing: Mapping[CacheKey, TokenIds], asker: Asker, *, may_join: bool
    ) -> Round:
        begun = self._computations.begin(runtime, missing, asker, may_join=may_join)
        self._computations.held(begun)
        return begun

    def _count(self, model_id: str, tier: Tier, result: EmbeddingResult) -> None:
        charged_tokens = result.total_tokens - result.cached_tokens
        for outcome, tokens in (("charged", charged_tokens), ("cached", result.cached_tokens)):
            if tokens:
                self._metrics.count(names.TOKENS, tokens, model=model_id, tier=tier, outcome=outcome)
        if result.cost_nano_usd:
            self._metrics.count(names.CHARGED_NANO_USD, result.cost_nano_usd, model=model_id, tier=tier)
        self._metrics.set(names.CACHE_ENTRIES, len(self._cache))


def _admission_request(
    request: EmbeddingRequest, context: EmbedContext, charged_tokens: int, cached_tokens: int
) -> AdmissionRequest:
    return AdmissionRequest(
        request_id=context.request_id,
        project_id=context.project.project_id,
        endpoint_slug=context.endpoint.slug,
        key_id=context.key.key_id,
        user=request.user,
        tier=context.tier,
        charged_tokens=charged_tokens,
        cached_tokens=cached_tokens,
        price_nano_usd_per_mtok=context.endpoint.price_nano_usd_per_mtok,
        terms=Terms(
            project=context.project.limits,
            key=context.key.limits,
            monthly_tokens=context.project.budgets.monthly_tokens,
            monthly_nano_usd=context.project.budgets.monthly_nano_usd,
        ),
        timeout_ms=context.endpoint.timeout_ms,
        hold_id=context.hold_id,
        retain_ms=context.retain_ms,
    )
