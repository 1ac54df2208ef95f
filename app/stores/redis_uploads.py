"""Uploads in parts, in Redis.

- ``eg:{id}:uploads``: hash; upload id → upload, JSON
- ``eg:{id}:upload_parts:<upload id>``: hash; part id → part, JSON

Outside of a project: ``eg:upload_expiry``, a sorted set of ``<project id>/<upload id>`` by the
millisecond after which nothing of it is kept.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import orjson
from redis.asyncio import Redis

from app.core.errors import CapacityExceeded
from app.core.uploads import Part, Upload
from app.stores.redis_client import lua, raw, translated
from app.stores.redis_ledger import account_key

_EXPIRY = "eg:upload_expiry"


class RedisUploads:
    """``Uploads`` over one Redis."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._change = redis.register_script(lua("upload_change"))

    async def create(self, project_id: str, upload: Upload, *, until_ms: int, max_uploads: int) -> None:
        """Store a new upload; raises ``CapacityExceeded`` when the project has too many."""
        member = f"{project_id}/{upload.upload_id}"
        async with translated():
            await self._redis.zadd(_EXPIRY, {member: until_ms})
            arguments: list[str | bytes | int] = [upload.upload_id, "", _dump(upload), max_uploads]
            outcome = raw(await self._change(keys=[_uploads(project_id)], args=arguments))
            if outcome == b"full":
                await self._redis.zrem(_EXPIRY, member)
        if outcome == b"full":
            raise CapacityExceeded(
                f"The project has {max_uploads} uploads under way; complete or cancel some.", retry_after_s=60
            )

    async def get(self, project_id: str, upload_id: str) -> Upload | None:
        """An upload; None when there is none."""
        async with translated():
            found = await self._redis.hget(_uploads(project_id), upload_id)
        return Upload(**orjson.loads(raw(found))) if found else None

    async def replace(self, project_id: str, old: Upload, new: Upload) -> bool:
        """Put an upload into its next state; False when somebody else was first."""
        async with translated():
            arguments: list[str | bytes | int] = [old.upload_id, _dump(old), _dump(new), 0]
            return raw(await self._change(keys=[_uploads(project_id)], args=arguments)) == b"done"

    async def add_part(self, project_id: str, upload_id: str, part: Part) -> None:
        """Note a part, whose content is there."""
        async with translated():
            await self._redis.hset(_parts(project_id, upload_id), part.part_id, orjson.dumps(asdict(part)))

    async def parts(self, project_id: str, upload_id: str) -> Mapping[str, Part]:
        """All parts by id."""
        async with translated():
            found = await self._redis.hgetall(_parts(project_id, upload_id))
        parts = (Part(**orjson.loads(raw(document))) for document in found.values())
        return {part.part_id: part for part in parts}

    async def due(self, *, now_ms: int, limit: int) -> Sequence[tuple[str, str]]:
        """Project and upload ids of which nothing need be kept."""
        async with translated():
            found = await self._redis.zrangebyscore(_EXPIRY, "-inf", now_ms, start=0, num=limit)
        pairs = (raw(member).decode().split("/", 1) for member in found)  # type: ignore[arg-type]
        return [(project_id, upload_id) for project_id, upload_id in pairs]

    async def forget(self, project_id: str, upload_id: str) -> None:
        """Take an upload and its parts away; nothing is left of them on the object store."""
        async with translated():
            await self._redis.hdel(_uploads(project_id), upload_id)
            await self._redis.delete(_parts(project_id, upload_id))
            await self._redis.zrem(_EXPIRY, f"{project_id}/{upload_id}")


def _uploads(project_id: str) -> str:
    return account_key(project_id, "uploads")


def _parts(project_id: str, upload_id: str) -> str:
    return account_key(project_id, f"upload_parts:{upload_id}")


def _dump(upload: Upload) -> bytes:
    return orjson.dumps(asdict(upload))
