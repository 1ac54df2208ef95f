"""Activity and standing in Redis, shared by all gateways, bounded by age.

``eg:activity:<span>:<start>``: hash of counts, see ``app.core.activity``. ``eg:standing``: hash; gateway id → JSON.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import orjson
from redis.asyncio import Redis

from app.core.activity import GRAINS, Grain
from app.core.standing import GatewayStanding, ModelStanding
from app.stores.redis_client import known_fields, raw, translated

_STANDING = "eg:standing"
_STANDING_KEPT_S = 60


class RedisActivity:
    """``ActivityStore`` over one Redis."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def add(self, sums: Mapping[str, int], *, now_s: float) -> None:
        """Add counts to the present spans."""
        async with translated():
            pipe = self._redis.pipeline(transaction=False)
            for grain in GRAINS:
                key = _key(grain, grain.start_of(now_s))
                for name, amount in sums.items():
                    pipe.hincrby(key, name, amount)
                pipe.expire(key, grain.kept_s + grain.span_s)
            await pipe.execute()

    async def read(self, grain: Grain, starts: Sequence[int]) -> list[dict[str, int]]:
        """Counts of some spans, in order."""
        async with translated():
            pipe = self._redis.pipeline(transaction=False)
            for start in starts:
                pipe.hgetall(_key(grain, start))
            return [
                {sys.intern(name.decode()): int(amount) for name, amount in found.items()}
                for found in await pipe.execute()
            ]

    async def report(self, standing: GatewayStanding) -> None:
        """Say how a gateway stands."""
        async with translated():
            pipe = self._redis.pipeline(transaction=False)
            pipe.hset(_STANDING, standing.gateway_id, orjson.dumps(asdict(standing)))
            pipe.expire(_STANDING, _STANDING_KEPT_S)
            await pipe.execute()

    async def standings(self, *, now_s: float, within_s: float) -> list[GatewayStanding]:
        """Gateways that spoke lately; what others said is forgotten."""
        async with translated():
            found = [_standing(raw(value)) for value in (await self._redis.hgetall(_STANDING)).values()]
            spoke = [one for one in found if one.at_ms > (now_s - within_s) * 1000]
            silent = [one.gateway_id for one in found if one.at_ms <= (now_s - _STANDING_KEPT_S) * 1000]
            if silent:
                await self._redis.hdel(_STANDING, *silent)
        return spoke


def _key(grain: Grain, start_s: int) -> str:
    return f"eg:activity:{grain.span_s}:{start_s}"


def _standing(stored: bytes) -> GatewayStanding:
    fields = orjson.loads(stored)
    models = {name: ModelStanding(**known_fields(ModelStanding, model)) for name, model in fields.pop("models").items()}
    return GatewayStanding(**known_fields(GatewayStanding, fields), models=models)
