"""Whose computations a request's vectors come from: others' that are under way, or its own."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from app.core import metric_names as names
from app.core.directory import Project
from app.core.packing import TokenIds, Vector
from app.core.ports import Metrics
from app.core.tiers import Tier
from app.services.model_runtime import ModelRuntime
from app.services.vector_cache import CacheKey, Flight, VectorCache, wait_unless_one_fails


@dataclass(frozen=True, slots=True)
class Asker:
    """For whom is computed, and until when, by the event loop's clock."""

    project: Project
    tier: Tier
    trace: str
    deadline_s: float


@dataclass(frozen=True, slots=True)
class Round:
    """Computations that a request waits for, by key; ``own`` are the items of those that it started."""

    flights: dict[CacheKey, Flight]
    own: dict[CacheKey, TokenIds]


class Computations:
    """A round is begun, its hold is said to stand, and then it is finished; or it is left."""

    def __init__(self, cache: VectorCache, metrics: Metrics) -> None:
        self._cache = cache
        self._metrics = metrics

    def begin(
        self, runtime: ModelRuntime, missing: Mapping[CacheKey, TokenIds], asker: Asker, *, may_join: bool
    ) -> Round:
        """Join computations under way, and start those that nobody has.

        Raises:
            ModelProvisioning: no replica is ready.
        """
        begun = Round({}, {})
        remaining_s = asker.deadline_s - asyncio.get_running_loop().time()
        try:
            for key, item in missing.items():
                joined = self._cache.join(key, asker.tier) if may_join else None
                if joined is None:
                    begun.own[key] = item
                else:
                    begun.flights[key] = joined
            if begun.flights:
                model_id = runtime.card.model_id
                self._metrics.count(names.CACHE_ITEMS, len(begun.flights), model=model_id, outcome="joined")
            futures = runtime.pool.submit(
                list(begun.own.values()),
                tier=asker.tier,
                project_id=asker.project.project_id,
                weight=asker.project.fair_share_weight,
                timeout_ms=max(1, int(remaining_s * 1000)),
                trace=asker.trace,
            )
        except BaseException:
            self.leave(begun)
            raise
        for key, future in zip(begun.own, futures, strict=True):
            begun.flights[key] = self._cache.start(key, asker.tier, future)  # type: ignore[arg-type]
        return begun

    def held(self, begun: Round) -> None:
        """Say that the hold stands: only then is what was computed remembered for others."""
        for flight in begun.flights.values():
            self._cache.held(flight)

    async def finish(
        self, begun: Round, found: dict[CacheKey, Vector], missing: Mapping[CacheKey, TokenIds]
    ) -> dict[CacheKey, TokenIds]:
        """Wait, and fill ``found``; returns what a joined computation failed to give.

        Raises:
            EmbedgateError: a computation of the round's own failed; the rest is withdrawn at once.
        """
        try:
            own = {begun.flights[key].future for key in begun.own}
            failure = await wait_unless_one_fails(begun.flights.values(), own)
        finally:
            self.leave(begun)
        if failure is not None:
            raise failure
        failed: dict[CacheKey, TokenIds] = {}
        for key, flight in begun.flights.items():
            error = flight.error()
            if error is None:
                found[key] = flight.future.result()
            elif key in begun.own:
                raise error
            else:
                failed[key] = missing[key]
        return failed

    def leave(self, begun: Round) -> None:
        """Wait no longer; what nobody else waits for is withdrawn."""
        for flight in begun.flights.values():
            self._cache.leave(flight)
