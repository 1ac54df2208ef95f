"""Batches in Redis: the state of each, how often it changed, and the journal of its events.

- ``eg:{id}:batches``: hash; batch id → state, JSON
- ``eg:{id}:batch_versions``: hash; batch id → number of changes
- ``eg:{id}:batch_ids``: sorted set of ids, all with score 0: they sort by time
- ``eg:{id}:batches_open``: set of ids that nobody looked after to the end
- ``eg:{id}:batch_journal:<batch id>``: stream; the first entry is the batch as it was made, then
  one entry an event
- ``eg:{id}:batch_lease:<batch id>``: who does what takes long for it

Outside of a project: ``eg:batches_open`` and ``eg:batches_ended``, sorted sets of
``<project id>/<batch id>`` by the millisecond of their making, or after which they are forgotten. A
batch stands in the first before it is made, so that none is left alone.
"""

from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis

from app.core.batch.record import dump_batch, dump_event, load_batch, load_event
from app.core.batch.refs import BatchRef
from app.core.batch.state import Batch, Event, apply
from app.core.errors import CapacityExceeded, DependencyDown
from app.stores.redis_client import lua, raw, translated
from app.stores.redis_lease import RedisLease
from app.stores.redis_ledger import account_key

_ATTEMPTS = 32
_OPEN = "eg:batches_open"
_ENDED = "eg:batches_ended"


class RedisBatches:
    """``Batches`` over one Redis."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._change = redis.register_script(lua("batch_change"))
        self._create = redis.register_script(lua("batch_create"))

    async def create(self, project_id: str, batch: Batch, *, max_open: int, max_kept: int) -> None:
        """Store a new batch.

        Raises:
            CapacityExceeded: the project has too many that are open, or too many with those that ended lately.
        """
        states, versions, ids = _keys(project_id)
        member = f"{project_id}/{batch.batch_id}"
        async with translated():
            await self._redis.zadd(_OPEN, {member: batch.created_at_ms})
            keys = [states, versions, ids, _journal(project_id, batch.batch_id), _open(project_id)]
            outcome = raw(await self._create(keys=keys, args=[batch.batch_id, dump_batch(batch), max_open, max_kept]))
            if outcome in (b"full", b"kept"):
                await self._redis.zrem(_OPEN, member)
            else:  # again: somebody may have found it announced and not made for too long
                await self._redis.zadd(_OPEN, {member: batch.created_at_ms}, nx=True)
        if outcome == b"kept":
            raise CapacityExceeded(
                f"The project made {max_kept} batches in the last 30 days; put more lines into each.", retry_after_s=60
            )
        if outcome == b"full":
            raise CapacityExceeded(
                f"The project has {max_open} open batches; create more when some of them have ended.", retry_after_s=60
            )

    async def get(self, project_id: str, batch_id: str) -> Batch | None:
        """A batch; None when there is none."""
        async with translated():
            found = await self._redis.hget(_keys(project_id)[0], batch_id)
        return load_batch(raw(found)) if found else None

    async def page(self, project_id: str, *, after: str | None, limit: int) -> list[Batch]:
        """Batches, newest first, from the one behind ``after``, which need not exist any more."""
        states, _, ids = _keys(project_id)
        async with translated():
            found = await self._redis.zrevrangebylex(ids, f"({after}" if after else "+", "-", start=0, num=limit)
            documents = await self._redis.hmget(states, found) if found else []
        return [load_batch(raw(document)) for document in documents if document]

    async def say(self, project_id: str, batch_id: str, event: Event) -> Batch | None:
        """Apply an event, in turn with whatever others say; the batch after it, or None when there is none.

        Raises:
            DependencyDown: Redis does not answer, or others never stop.
        """
        states, versions, _ = _keys(project_id)
        for _ in range(_ATTEMPTS):
            async with translated():
                pipe = self._redis.pipeline(transaction=True)
                pipe.hget(states, batch_id)
                pipe.hget(versions, batch_id)
                document, version = await pipe.execute()
            if document is None:
                return None
            batch = load_batch(raw(document))
            changed = apply(batch, event)
            if changed == batch:
                return batch
            arguments: list[str | bytes] = [batch_id, raw(version), dump_batch(changed), dump_event(event)]
            async with translated():
                keys = [states, versions, _journal(project_id, batch_id)]
                if await self._change(keys=keys, args=arguments):
                    return changed
        raise DependencyDown("The batch is changed by others again and again; try again shortly.")

    async def active(self) -> list[tuple[BatchRef, int]]:
        """Every batch that somebody must look at, with the millisecond of its making."""
        async with translated():
            found = await self._redis.zrange(_OPEN, 0, -1, withscores=True)
        return [(_ref(member), int(score)) for member, score in found]  # type: ignore[str-unpack]

    async def rest(self, ref: BatchRef, *, until_ms: int) -> None:
        """Nobody need look at a batch before ``until_ms``, when it is to be forgotten."""
        async with translated():
            await self._redis.zadd(_ENDED, {_member(ref): until_ms})
            await self._redis.srem(_open(ref.project_id), ref.batch_id)
            await self._redis.zrem(_OPEN, _member(ref))

    async def due(self, *, now_ms: int, limit: int) -> list[BatchRef]:
        """Batches that are to be forgotten."""
        async with translated():
            found = await self._redis.zrangebyscore(_ENDED, "-inf", now_ms, start=0, num=limit)
        return [_ref(member) for member in found]

    async def forget(self, ref: BatchRef) -> None:
        """Take a batch and its journal away."""
        states, versions, ids = _keys(ref.project_id)
        async with translated():
            pipe = self._redis.pipeline(transaction=True)
            pipe.hdel(states, ref.batch_id)
            pipe.hdel(versions, ref.batch_id)
            pipe.zrem(ids, ref.batch_id)
            pipe.srem(_open(ref.project_id), ref.batch_id)
            pipe.delete(_journal(ref.project_id, ref.batch_id))
            await pipe.execute()
            for index in (_OPEN, _ENDED):
                await self._redis.zrem(index, _member(ref))

    async def take_lease(self, ref: BatchRef, owner: str, *, lasts_ms: int) -> bool:
        """Take or keep the lease of a batch's own work; False when another has it."""
        return await self._lease(ref, owner, lasts_ms).take()

    async def leave_lease(self, ref: BatchRef, owner: str) -> None:
        """Let others have it."""
        await self._lease(ref, owner, 1).leave()

    def _lease(self, ref: BatchRef, owner: str, lasts_ms: int) -> RedisLease:
        key = account_key(ref.project_id, f"batch_lease:{ref.batch_id}")
        return RedisLease(self._redis, key, owner=owner, lasts_ms=lasts_ms)

    async def journal(self, project_id: str, batch_id: str) -> tuple[Batch, Sequence[Event]] | None:
        """The batch as it was made, and every event since; None when there is none."""
        async with translated():
            entries = await self._redis.xrange(_journal(project_id, batch_id))
        if not entries:
            return None
        documents = [raw(value) for _, fields in entries for value in (fields or {}).values()]
        return load_batch(documents[0]), [load_event(document) for document in documents[1:]]


def _member(ref: BatchRef) -> str:
    return f"{ref.project_id}/{ref.batch_id}"


def _ref(member: Any) -> BatchRef:
    return BatchRef(*raw(member).decode().split("/", 1))


def _open(project_id: str) -> str:
    return account_key(project_id, "batches_open")


def _keys(project_id: str) -> list[str]:
    return [account_key(project_id, part) for part in ("batches", "batch_versions", "batch_ids")]


def _journal(project_id: str, batch_id: str) -> str:
    return account_key(project_id, f"batch_journal:{batch_id}")
