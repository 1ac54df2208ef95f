"""Vectors that all gateways share, in a Redis that may forget them.

One MGET for up to 64 items that a request misses; what was computed is written without anybody waiting for it.
Nothing depends on it: a store that is slow, away or full of nonsense is a miss, and is left alone
for a moment.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

from redis.exceptions import RedisError

from app.core.errors import InvalidEngineReply, Misconfigured
from app.core.packing import Vector, compress_vector, expand_vector
from app.stores.redis_wire import RedisWire

logger = logging.getLogger("ray.serve.embedgate")

_TIMEOUT_S = 0.05
_AWAY_FOR_S = 1.0
_PREFIX = b"embedgate:vector:"
_KEYS_AT_ONCE = 64
"""More would hold up the event loop while they are unpacked, and the answer past its timeout."""

_MAX_WRITES = 1024
"""On their way at a time; what comes beyond is not kept."""

_FAULTS = (RedisError, OSError, TimeoutError)


class RedisVectors:
    """``SharedVectors`` in Redis.

    Args:
        url: of a Redis of its own, with ``maxmemory`` and an ``allkeys-…`` policy.
        ttl_s: age after which a vector is forgotten.
        clock_s: monotonic clock.
    """

    def __init__(self, url: str, *, ttl_s: float, clock_s: Callable[[], float]) -> None:
        self._wire = RedisWire(url, timeout_s=_TIMEOUT_S)
        self._ttl_ms = round(ttl_s * 1000)
        self._clock_s = clock_s
        self._away_until_s = 0.0
        self._writes: set[asyncio.Task[None]] = set()

    async def require_bounded(self) -> None:
        """Look whether the store forgets before it is full; one that cannot be reached is believed.

        Raises:
            Misconfigured: it would fill up.
        """
        try:
            reply = await self._wire.call("INFO", "memory")
        except _FAULTS as error:
            logger.warning("the shared cache cannot be reached: %s", error)
            return
        if not isinstance(reply, bytes):
            logger.warning("the shared cache does not say how it is bounded: %s", reply)
            return
        facts = dict(line.split(":", 1) for line in reply.decode().split("\r\n") if ":" in line)
        if facts.get("maxmemory") == "0" or not facts.get("maxmemory_policy", "").startswith("allkeys-"):
            raise Misconfigured(
                "'cache.shared_url' names a Redis that would fill up: set its 'maxmemory' and an 'allkeys-lru' policy."
            )

    async def find(self, keys: Sequence[bytes], *, dimensions: int) -> Mapping[bytes, Vector]:
        """Those of the keys that are there."""
        found: dict[bytes, Vector] = {}
        for start in range(0, len(keys), _KEYS_AT_ONCE):
            await self._find_some(keys[start : start + _KEYS_AT_ONCE], dimensions, found)
        return found

    async def _find_some(self, keys: Sequence[bytes], dimensions: int, found: dict[bytes, Vector]) -> None:
        if self._clock_s() < self._away_until_s:
            return
        try:
            reply = await self._wire.call("MGET", *(_PREFIX + key for key in keys))
        except _FAULTS as error:
            self._leave_alone(error)
            return
        if isinstance(reply, Exception):
            self._leave_alone(reply)
            return
        for key, data in zip(keys, reply, strict=True):
            if data is not None:
                try:
                    found[key] = expand_vector(data, dimensions=dimensions)
                except InvalidEngineReply as error:
                    logger.warning("the shared cache holds what is no vector: %s", error)

    def keep(self, key: bytes, vector: Vector) -> None:
        """Write a vector, some time soon, if the store can be written to."""
        if self._clock_s() < self._away_until_s or len(self._writes) >= _MAX_WRITES:
            return
        task = asyncio.get_running_loop().create_task(self._write(key, compress_vector(vector)))
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)

    async def close(self) -> None:
        """Let go of the store after what is being written."""
        await asyncio.gather(*self._writes)
        self._wire.close()

    async def _write(self, key: bytes, data: bytes) -> None:
        try:
            reply = await self._wire.call("SET", _PREFIX + key, data, "PX", self._ttl_ms)
        except _FAULTS as error:
            self._leave_alone(error)
            return
        if isinstance(reply, Exception):
            self._leave_alone(reply)

    def _leave_alone(self, error: Exception) -> None:
        now_s = self._clock_s()
        if now_s >= self._away_until_s:
            logger.warning("the shared cache is left alone for %s s: %s", _AWAY_FOR_S, error)
        self._away_until_s = now_s + _AWAY_FOR_S
