"""The journal's end in Redis: what waits to be written outside, and the usage that was.

``eg:drain`` (hash) names the part that is next and the day it was claimed for; ``eg:ledger`` is
the ledger's id, made with the first part. Of a project: ``…:drained`` (the next part's number),
``…:journal`` (stream) and ``…:usage:<month>`` (hash; kind of usage → requests|tokens|cached
tokens|nano-USD).
"""

import asyncio
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from redis.asyncio import Redis

from app.core.journal import OTHER_USERS, JournalLine, Usage, UsageKey, usage_of
from app.core.ports import JournalTail
from app.stores.redis_client import page_of_ids, raw, translated
from app.stores.redis_directory import PEPPER, PROJECTS, directory_key, keys_key
from app.stores.redis_ledger import account_key, account_state, read_entry
from app.stores.script_pipe import Script, ScriptPipe

MAX_USAGE_KINDS = 20_000
"""Kept apart for each project and month; users beyond that are summed up under one name."""

USAGE_KEPT_S = 400 * 86_400
_PAGE = 500
POSITION = "eg:drain"
LEDGER = "eg:ledger"


class RedisJournal:
    """Reads and trims the projects' journals."""

    def __init__(self, redis: Redis, pipe: ScriptPipe) -> None:
        self._redis = redis
        self._pipe = pipe
        self._drained = Script.of("drained")
        self._advance = Script.of("advance")
        self._claim = Script.of("claim")

    async def ledger_id(self) -> str:
        """The ledger's id, made on first use."""
        async with translated():
            await self._redis.set(LEDGER, os.urandom(8).hex(), nx=True)
            return raw(await self._redis.get(LEDGER)).decode()

    async def project_ids(self, *, after: str | None, limit: int) -> list[str]:
        """A page of all projects in order of id."""
        async with translated():
            return await page_of_ids(self._redis, PROJECTS, after=after, limit=limit)

    async def position(self) -> tuple[int, str | None]:
        """The part that is next, and the day it was claimed for, if it was."""
        async with translated():
            part, day = await self._redis.hmget(POSITION, ["part", "day"])
        return int(part or 0), raw(day).decode() if day else None

    async def claim(self, part: int, day: str) -> str | None:
        """Fix a part's day; whoever was first decides. None when the journal is at another part by now."""
        return raw(await self._pipe.run(self._claim, [POSITION], [part, day])).decode() or None

    async def pending(self, *, limit: int) -> tuple[list[JournalLine], bool]:
        """The first entries of every project that wait, about ``limit`` of them, and whether more do."""
        found: list[JournalLine] = []
        has_more = False
        after: str | None = None
        while len(found) < limit:
            page = await self.project_ids(after=after, limit=_PAGE)
            if not page:
                break
            after = page[-1]
            count = max(100, limit // len(page))
            async with translated():
                pipe = self._redis.pipeline(transaction=False)
                for project_id in page:
                    pipe.xrange(account_key(project_id, "journal"), count=count)
                replies = await pipe.execute()
            has_more |= any(len(entries) == count for entries in replies)
            for project_id, entries in zip(page, replies, strict=True):
                found += [_line(project_id, entry_id, fields) for entry_id, fields in entries]
        return found, has_more or len(found) >= limit

    async def finish(self, part: int, lines: Sequence[JournalLine]) -> None:
        """Sum up and trim what a part holds, once for each project, and go on to the next part."""
        by_project: dict[str, list[JournalLine]] = defaultdict(list)
        for line in lines:
            by_project[line.project_id].append(line)
        for project_id, own in by_project.items():
            at_ms, number = own[-1].order
            args: list[str | int | bytes] = [part, f"{at_ms}-{number + 1}", MAX_USAGE_KINDS, USAGE_KEPT_S]
            for key, usage in usage_of(own).items():
                beyond = UsageKey(key.day, key.endpoint, key.tier, key.key, OTHER_USERS)
                args += [usage_field(key), usage_field(beyond), usage.requests, usage.tokens]
                args += [usage.cached_tokens, usage.amount_nano_usd]
            keys = [account_key(project_id, name) for name in ("drained", "journal", f"usage:{own[0].month}")]
            await self._pipe.run(self._drained, keys, args)
        await self._pipe.run(self._advance, [POSITION], [part])

    async def usage(self, project_id: str, months: Sequence[int]) -> dict[UsageKey, Usage]:
        """All usage of some months, up to this moment."""
        async with translated():
            pipe = self._redis.pipeline(transaction=True)
            for month in months:
                pipe.hgetall(account_key(project_id, f"usage:{month}"))
            pipe.xrange(account_key(project_id, "journal"))
            *stored, waiting = await pipe.execute()
        return await asyncio.to_thread(_usage_of, project_id, stored, waiting, months)

    async def tail(self, project_id: str) -> JournalTail:
        """An account and the entries that wait, as of one moment."""
        async with translated():
            pipe = self._redis.pipeline(transaction=True)
            pipe.hgetall(account_key(project_id, "account"))
            pipe.xrange(account_key(project_id, "journal"))
            pipe.xinfo_stream(account_key(project_id, "journal"))
            fields, entries, stream = await pipe.execute(raise_on_error=False)
        if isinstance(stream, Exception):  # a project without a journal
            return JournalTail(account_state(fields), [], (0, -1))
        waiting = [_line(project_id, entry_id, entry) for entry_id, entry in entries]
        at_ms, _, number = raw(stream["last-generated-id"]).decode().partition("-")
        # Waiting entries have gone out meanwhile, or have not: they are counted here, once.
        before_us, before_number = waiting[0].order if waiting else (int(at_ms), int(number) + 1)
        return JournalTail(account_state(fields), waiting, (before_us, before_number - 1))

    async def directory_documents(self, project_ids: Sequence[str]) -> dict[str, object]:
        """What a rebuild needs of the directory, by name: the cluster's part and these projects."""
        async with translated():
            pepper = await self._redis.get(PEPPER)
            documents: dict[str, object] = {"cluster": {"pepper": raw(pepper).hex() if pepper else None}}
            for project_id in project_ids:
                pipe = self._redis.pipeline(transaction=True)
                pipe.hgetall(directory_key(project_id))
                pipe.hgetall(keys_key(project_id))
                directory, keys = await pipe.execute()
                documents[project_id] = {
                    "directory": {name.decode(): orjson.loads(value) for name, value in directory.items()},
                    "keys": {name.decode(): orjson.loads(value) for name, value in keys.items()},
                }
        return documents


def _usage_of(
    project_id: str, stored: Sequence[Mapping[Any, Any]], waiting: Sequence[tuple[Any, Any]], months: Sequence[int]
) -> dict[UsageKey, Usage]:
    """In a thread: a month may have twenty thousand kinds."""
    totals: dict[UsageKey, Usage] = {}
    for fields in stored:
        for name, value in fields.items():
            totals[UsageKey(*orjson.loads(name))] = Usage(*map(int, value.split(b"|")))
    recent = usage_of(_line(project_id, entry_id, entry) for entry_id, entry in waiting)
    for key, usage in recent.items():
        if key.month in months:
            totals[key] = totals.get(key, Usage()) + usage
    return totals


def usage_field(key: UsageKey) -> bytes:
    """A kind of usage in the hash of its month."""
    return orjson.dumps([key.day, key.endpoint, key.tier, key.key, key.user])


def _line(project_id: str, entry_id: bytes, fields: Mapping[bytes, bytes]) -> JournalLine:
    entry = read_entry(fields)
    return JournalLine(
        project_id=project_id,
        entry_id=entry_id.decode(),
        kind=entry.kind,
        id=entry.id,
        amount_nano_usd=entry.amount_nano_usd,
        tokens=entry.tokens,
        details=orjson.loads(entry.details or "{}"),
    )
