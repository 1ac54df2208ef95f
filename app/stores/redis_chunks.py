"""Chunks of batches that wait or are being worked on: a Redis stream for each batch, read by one group.

``eg:{id}:batch_chunks:<batch id>``: an entry a chunk; it is deleted when the chunk is dealt with, so
that an empty stream says that nothing waits and nobody is at work.
"""

from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from app.core.batch.refs import BatchRef, ChunkLease
from app.stores.redis_client import lua, raw, translated
from app.stores.redis_ledger import account_key

_GROUP = "workers"
_LONG_AGO_MS = 3_600_000


class RedisChunks:
    """``ChunkQueue`` over one Redis."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._feed = redis.register_script(lua("chunk_feed"))
        self._done = redis.register_script(lua("chunk_done"))

    async def feed(self, ref: BatchRef, chunks: Sequence[int]) -> None:
        """Put chunks in, if none waits and none is being worked on."""
        async with translated():
            await self._feed(keys=[_key(ref)], args=[_GROUP, *chunks])

    async def lease(self, ref: BatchRef, *, owner: str, stale_ms: int) -> ChunkLease | None:
        """Take a chunk whose worker was silent for ``stale_ms``, or one that waits."""
        key = _key(ref)
        async with translated():
            try:
                stale = await self._redis.xpending_range(key, _GROUP, min="-", max="+", count=1, idle=stale_ms)
                if stale:
                    taken = await self._redis.xclaim(key, _GROUP, owner, stale_ms, [stale[0]["message_id"]])
                    if taken:
                        return _lease(ref, taken[0], is_again=True)
                waiting: Any = await self._redis.xreadgroup(_GROUP, owner, {key: ">"}, count=1)
            except ResponseError as error:
                if str(error).startswith("NOGROUP"):
                    return None
                raise
        return _lease(ref, waiting[0][1][0], is_again=False) if waiting else None

    async def keep(self, lease: ChunkLease, *, owner: str) -> None:
        """Say that it is still being worked on, unless another has it by now."""
        key = _key(lease.ref)
        async with translated():
            try:
                ours = await self._redis.xpending_range(
                    key, _GROUP, min=lease.entry_id, max=lease.entry_id, count=1, consumername=owner
                )
                if ours:
                    await self._redis.xclaim(key, _GROUP, owner, 0, [lease.entry_id], justid=True)
            except ResponseError as error:
                if not str(error).startswith("NOGROUP"):
                    raise

    async def done(self, lease: ChunkLease, *, owner: str) -> None:
        """Take it out, unless another has it by now."""
        async with translated():
            await self._done(keys=[_key(lease.ref)], args=[_GROUP, owner, lease.entry_id])

    async def give_back(self, lease: ChunkLease, *, owner: str) -> None:
        """Let others have it at once."""
        async with translated():
            try:
                await self._redis.xclaim(
                    _key(lease.ref), _GROUP, owner, 0, [lease.entry_id], idle=_LONG_AGO_MS, justid=True
                )
            except ResponseError as error:
                if not str(error).startswith("NOGROUP"):
                    raise

    async def is_empty(self, ref: BatchRef) -> bool:
        """Whether none waits and none is being worked on."""
        async with translated():
            return not await self._redis.xlen(_key(ref))

    async def drop(self, ref: BatchRef) -> None:
        """Forget the batch's queue."""
        async with translated():
            await self._redis.delete(_key(ref))


def _key(ref: BatchRef) -> str:
    return account_key(ref.project_id, f"batch_chunks:{ref.batch_id}")


def _lease(ref: BatchRef, entry: Any, *, is_again: bool) -> ChunkLease:
    entry_id, fields = entry
    return ChunkLease(ref, int(fields[b"chunk"]), raw(entry_id).decode(), is_again)
