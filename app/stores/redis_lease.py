"""A lease that one of many processes holds."""

from redis.asyncio import Redis

from app.stores.redis_client import translated


class RedisLease:
    """Saves double work; it does not exclude it, because a paused owner may go on for a while.

    Args:
        redis: the cluster's store.
        key: of what is leased.
        owner: this process.
        lasts_ms: without another :meth:`take`.
    """

    def __init__(self, redis: Redis, key: str, *, owner: str, lasts_ms: int) -> None:
        self._redis = redis
        self._key = key
        self._owner = owner.encode()
        self._lasts_ms = lasts_ms

    async def take(self) -> bool:
        """Take the lease if it is free, keep it if it is ours; False when another has it."""
        async with translated():
            if await self._redis.set(self._key, self._owner, nx=True, px=self._lasts_ms):
                return True
            if await self._redis.get(self._key) != self._owner:
                return False
            return bool(await self._redis.pexpire(self._key, self._lasts_ms))

    async def leave(self) -> None:
        """Let others have it."""
        async with translated():
            if await self._redis.get(self._key) == self._owner:
                await self._redis.delete(self._key)
