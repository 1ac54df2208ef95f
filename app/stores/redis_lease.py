"""A lease that one of many processes holds."""

from redis.asyncio import Redis

from app.stores.redis_client import translated

_KEY = "eg:housekeeping"
_LASTS_MS = 5000


class RedisLease:
    """Saves double work; it does not exclude it, because a paused owner may go on for a while.

    Args:
        redis: the cluster's store.
        owner: this process.
    """

    def __init__(self, redis: Redis, *, owner: str) -> None:
        self._redis = redis
        self._owner = owner.encode()

    async def take(self) -> bool:
        """Take the lease if it is free, keep it if it is ours; False when another has it."""
        async with translated():
            if await self._redis.set(_KEY, self._owner, nx=True, px=_LASTS_MS):
                return True
            if await self._redis.get(_KEY) != self._owner:
                return False
            return bool(await self._redis.pexpire(_KEY, _LASTS_MS))
