"""Records of files in Redis.

- ``eg:{id}:files``: hash; file id → record, JSON
- ``eg:{id}:file_ids``: sorted set of ids, all with score 0: they sort by time
- ``eg:{id}:file_totals``: hash; ``files`` and ``bytes``

Outside of a project: ``eg:file_expiry``, a sorted set of ``<project id>/<file id>`` by the
millisecond after which nothing of it need be kept. An id stands there before anything of its file
is written and until everything is gone, so that nothing can be forgotten on the object store.
"""

from collections.abc import Sequence
from dataclasses import asdict

import orjson
from redis.asyncio import Redis

from app.core.errors import InvalidRequest
from app.core.files import FileBounds, FileRecord
from app.stores.redis_client import lua, raw, translated
from app.stores.redis_ledger import account_key

_EXPIRY = "eg:file_expiry"


class RedisFiles:
    """``FileRecords`` over one Redis."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._create = redis.register_script(lua("file_create"))
        self._delete = redis.register_script(lua("file_delete"))

    async def announce(self, project_id: str, file_id: str, *, until_ms: int) -> None:
        """Say that something of a file will lie on the object store; without a record it goes at that time."""
        async with translated():
            await self._redis.zadd(_EXPIRY, {f"{project_id}/{file_id}": until_ms})

    async def check_room(self, project_id: str, bounds: FileBounds) -> None:
        """Look whether there is room for any file at all.

        Raises:
            InvalidRequest: the project keeps as much as it may.
        """
        async with translated():
            files, size_bytes = await self._redis.hmget(_keys(project_id)[2], ["files", "bytes"])
        if int(files or 0) >= bounds.max_files:
            raise _too_many(bounds)
        if int(size_bytes or 0) >= bounds.max_total_bytes:
            raise _too_large(bounds)

    async def create(self, project_id: str, record: FileRecord, bounds: FileBounds) -> None:
        """Store a record; its content is on the object store.

        Raises:
            InvalidRequest: the project keeps too much already.
        """
        document = orjson.dumps(asdict(record))
        async with translated():
            arguments: list[str | bytes | int] = [
                record.file_id,
                document,
                record.size_bytes,
                bounds.max_files,
                bounds.max_total_bytes,
            ]
            outcome = raw(await self._create(keys=_keys(project_id), args=arguments))
        if outcome == b"files":
            raise _too_many(bounds)
        if outcome == b"bytes":
            raise _too_large(bounds)
        await self.announce(project_id, record.file_id, until_ms=record.expires_at_ms)

    async def get(self, project_id: str, file_id: str) -> FileRecord | None:
        """A record; None when there is none."""
        async with translated():
            found = await self._redis.hget(_keys(project_id)[0], file_id)
        return _load(raw(found)) if found else None

    async def page(self, project_id: str, *, after: str | None, limit: int, newest_first: bool) -> list[FileRecord]:
        """Records in order of their ids, from the one behind ``after``, which need not exist any more."""
        records, ids, _ = _keys(project_id)
        async with translated():
            if newest_first:
                found = await self._redis.zrevrangebylex(ids, f"({after}" if after else "+", "-", start=0, num=limit)
            else:
                found = await self._redis.zrangebylex(ids, f"({after}" if after else "-", "+", start=0, num=limit)
            documents = await self._redis.hmget(records, found) if found else []
        return [_load(raw(document)) for document in documents if document]

    async def delete(self, project_id: str, file_id: str) -> bool:
        """Take a record away; False when there was none. Its content is for the caller to delete."""
        async with translated():
            return bool(await self._delete(keys=_keys(project_id), args=[file_id]))

    async def due(self, *, now_ms: int, limit: int) -> Sequence[tuple[str, str]]:
        """Project and file ids whose time has come."""
        async with translated():
            found = await self._redis.zrangebyscore(_EXPIRY, "-inf", now_ms, start=0, num=limit)
        pairs = (raw(member).decode().split("/", 1) for member in found)  # type: ignore[arg-type]
        return [(project_id, file_id) for project_id, file_id in pairs]

    async def gone(self, project_id: str, file_id: str) -> None:
        """Nothing of a file is left on the object store."""
        async with translated():
            await self._redis.zrem(_EXPIRY, f"{project_id}/{file_id}")


def _keys(project_id: str) -> list[str]:
    return [account_key(project_id, part) for part in ("files", "file_ids", "file_totals")]


def _too_many(bounds: FileBounds) -> InvalidRequest:
    return InvalidRequest(f"The project has {bounds.max_files} files already; delete some.", param="file")


def _too_large(bounds: FileBounds) -> InvalidRequest:
    message = f"The project's files would be over {bounds.max_total_bytes} bytes; delete some."
    return InvalidRequest(message, param="file")


def _load(document: bytes) -> FileRecord:
    return FileRecord(**orjson.loads(document))
