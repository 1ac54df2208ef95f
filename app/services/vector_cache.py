"""The exact-match cache and the computations under way, item by item.

A key is BLAKE3 over scope, model revision and token ids. The scope is the project, so that no
project can find out through response times what another one embeds, unless the operator shares
the cache on purpose. What is stored is the full vector; ``dimensions`` are cut from it.
"""

import asyncio
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass

import numpy as np
from blake3 import blake3
from cachetools import TTLCache

from app.core.errors import CapacityExceeded
from app.core.packing import TokenIds, Vector
from app.core.tiers import Tier

CacheKey = bytes


def cache_key(*, scope: str, revision: str, token_ids: TokenIds) -> CacheKey:
    """32 bytes that name one computation. ``scope`` is a project id, or "" when shared."""
    head = f"{len(scope)}:{scope}{len(revision)}:{revision}".encode()
    return blake3(head + token_ids.tobytes()).digest()


@dataclass(slots=True, eq=False)
class Flight:
    """A computation under way, shared by all that ask for the same vector while it lasts.

    ``is_held`` once the hold of somebody who waits for it stands: what nobody was to pay for is not remembered.
    """

    key: CacheKey
    tier: Tier
    future: asyncio.Future[Vector]
    waiters: int = 0
    is_held: bool = False

    def error(self) -> BaseException | None:
        """Why there is no vector; None when there is one. The computation has ended."""
        if self.future.cancelled():
            return CapacityExceeded("This gateway is shutting down; try again.")
        return self.future.exception()


async def wait_unless_one_fails(
    flights: Iterable[Flight], own: Container[asyncio.Future[Vector]]
) -> BaseException | None:
    """Until all are done, or one of our own has failed: then the rest is not worth computing.

    Returns:
        That failure.
    """
    waiting = {flight.future for flight in flights}
    while waiting:
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_EXCEPTION)
        failures = (future.exception() for future in done if future in own and not future.cancelled())
        if failure := next(filter(None, failures), None):
            return failure
    return None


class VectorCache:
    """Bounded in entries, bytes and age; forgets the least recently used first.

    Args:
        max_entries: 0 switches the cache off; computations under way are shared all the same.
        max_bytes: bound over all vectors.
        ttl_s: age after which a vector is computed anew.
        clock_s: monotonic clock.
        share: told of each vector that was computed.
    """

    def __init__(
        self,
        *,
        max_entries: int,
        max_bytes: int,
        ttl_s: float,
        clock_s: Callable[[], float],
        share: Callable[[CacheKey, Vector], None] | None = None,
    ) -> None:
        self._share = share
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._vectors: TTLCache[CacheKey, Vector] = TTLCache(maxsize=max_entries, ttl=ttl_s, timer=clock_s)
        self._flights: dict[tuple[CacheKey, Tier], Flight] = {}

    def __len__(self) -> int:
        return len(self._vectors)

    @property
    def flights(self) -> int:
        """Computations under way."""
        return len(self._flights)

    def find(self, key: CacheKey) -> Vector | None:
        """A stored vector, read-only."""
        return self._vectors.get(key)

    def join(self, key: CacheKey, tier: Tier) -> Flight | None:
        """Wait for a computation under way, unless it would be behind a lower tier."""
        for candidate in Tier:
            if candidate.rank > tier.rank:
                break
            flight = self._flights.get((key, candidate))
            if flight is not None and not flight.future.done():
                flight.waiters += 1
                return flight
        return None

    def start(self, key: CacheKey, tier: Tier, future: asyncio.Future[Vector]) -> Flight:
        """Register a new computation; its vector is stored when it ends and :meth:`held` was called, whoever waits."""
        flight = Flight(key, tier, future, waiters=1)
        self._flights[key, tier] = flight
        future.add_done_callback(lambda _: self._land(flight))
        return flight

    def leave(self, flight: Flight) -> None:
        """One waiter less; a computation that nobody waits for is withdrawn."""
        flight.waiters -= 1
        if flight.waiters == 0 and not flight.future.done():
            flight.future.cancel()

    def _land(self, flight: Flight) -> None:
        if self._flights.get((flight.key, flight.tier)) is flight:
            del self._flights[flight.key, flight.tier]
        if not flight.future.cancelled() and flight.future.exception() is None and flight.is_held:
            self._remember(flight)

    def held(self, flight: Flight) -> None:
        """Say that somebody who waits for it has a hold that stands."""
        if flight.is_held:
            return
        flight.is_held = True
        has_landed = self._flights.get((flight.key, flight.tier)) is not flight
        if has_landed and not flight.future.cancelled() and flight.future.exception() is None:
            self._remember(flight)

    def _remember(self, flight: Flight) -> None:
        # The reply's rows share one buffer; a copy keeps one row alive, not the whole reply.
        vector = np.array(flight.future.result(), dtype=np.float32)
        vector.setflags(write=False)
        self.put(flight.key, vector)
        if self._share is not None:
            self._share(flight.key, vector)

    def put(self, key: CacheKey, vector: Vector) -> None:
        """Store a vector that is read-only and shares its memory with nothing."""
        entries = min(self._max_entries, self._max_bytes // max(1, vector.nbytes))
        if entries < 1:
            return
        while len(self._vectors) >= entries:
            self._vectors.popitem()
        self._vectors[key] = vector
