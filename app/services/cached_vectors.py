"""What of a request is known already: at this gateway, or among all of them."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from app.core import metric_names as names
from app.core.model_card import ModelCard
from app.core.packing import TokenIds, Vector
from app.core.ports import Metrics
from app.services.vector_cache import CacheKey, VectorCache


class SharedVectors(Protocol):
    """Vectors that all gateways share; nothing depends on it, and no method raises."""

    async def find(self, keys: Sequence[bytes], *, dimensions: int) -> Mapping[bytes, Vector]:
        """Those of the keys that are there, read-only."""

    def keep(self, key: bytes, vector: Vector) -> None:
        """Write a vector, some time soon."""


class CachedVectors:
    """Both levels of the cache.

    Args:
        own: this gateway's.
        shared: all gateways', or None: there is one level then, and no round trip.
        metrics: where hits and misses are counted.
    """

    def __init__(self, own: VectorCache, shared: SharedVectors | None, metrics: Metrics) -> None:
        self._own = own
        self._shared = shared
        self._metrics = metrics

    async def find(
        self, keys: Sequence[CacheKey], items: Sequence[TokenIds], card: ModelCard
    ) -> tuple[dict[CacheKey, Vector], dict[CacheKey, TokenIds]]:
        """Vectors that are known, and the items that must be computed, each once."""
        found: dict[CacheKey, Vector] = {}
        missing: dict[CacheKey, TokenIds] = {}
        for key, item in zip(keys, items, strict=True):
            if key in found or key in missing:
                continue
            vector = self._own.find(key)
            if vector is None:
                missing[key] = item
            else:
                found[key] = vector
        counts = {"hit": len(found), "repeated": len(keys) - len(found) - len(missing)}
        if missing and self._shared is not None:
            kept = await self._shared.find(list(missing), dimensions=card.dimensions)
            for key, vector in kept.items():
                found[key] = vector
                del missing[key]
                self._own.put(key, vector)
            counts["shared"] = len(kept)
        counts["miss"] = len(missing)
        for outcome, count in counts.items():
            if count:
                self._metrics.count(names.CACHE_ITEMS, count, model=card.model_id, outcome=outcome)
        return found, missing
