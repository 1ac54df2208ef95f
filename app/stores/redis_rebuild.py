"""Fills an empty Redis from what the object store kept."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import orjson
from redis.asyncio import Redis

from app.core.journal import RebuiltAccount
from app.core.ledger_types import Entry
from app.stores.redis_client import translated
from app.stores.redis_directory import PEPPER, PROJECTS, directory_key, key_ids_key, keys_key, slug_key
from app.stores.redis_journal import LEDGER, POSITION, USAGE_KEPT_S, usage_field
from app.stores.redis_ledger import account_key, written_entry


class RedisRebuild:
    """``EmptyStore`` over one Redis."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def is_empty(self) -> bool:
        """Whether it holds no project."""
        async with translated():
            return not await self._redis.exists(PROJECTS)

    async def restore_directory(self, ledger_id: str, next_part: int, documents: Mapping[str, Any]) -> None:
        """Put projects, endpoints and keys back, and the journal's position."""
        async with translated():
            await self._redis.set(LEDGER, ledger_id)
            await self._redis.hset(POSITION, "part", str(next_part))
            for name, document in documents.items():
                if name == "cluster":
                    if document["pepper"]:
                        await self._redis.set(PEPPER, bytes.fromhex(document["pepper"]))
                    continue
                await self._restore_project(name, document)

    async def _restore_project(self, project_id: str, document: Mapping[str, Any]) -> None:
        directory = {field: orjson.dumps(value) for field, value in document["directory"].items()}
        project = document["directory"]["project"]
        await self._redis.hset(directory_key(project_id), mapping=directory)
        if document["keys"]:
            keys = {key_id: orjson.dumps(record) for key_id, record in document["keys"].items()}
            await self._redis.hset(keys_key(project_id), mapping=keys)
            await self._redis.zadd(key_ids_key(project_id), dict.fromkeys(keys, 0))
        await self._redis.hset(account_key(project_id, "account"), "delinquent", int(project["status"] == "delinquent"))
        await self._redis.set(slug_key(project["slug"]), project_id)

    async def restore_account(self, account: RebuiltAccount) -> None:
        """Put one account back, with its grants, its usage and the journal of what the rebuild released."""
        project_id, tally, balance = account.project_id, account.tally, account.balance
        by_month: dict[int, dict[bytes, str]] = defaultdict(dict)
        for key, usage in account.usage.items():
            totals = (usage.requests, usage.tokens, usage.cached_tokens, usage.amount_nano_usd)
            by_month[key.month][usage_field(key)] = "|".join(map(str, totals))
        async with translated():
            pipe = self._redis.pipeline(transaction=True)
            fields: dict[Any, Any] = {name: getattr(balance, name) for name in balance.__dataclass_fields__}
            fields |= {
                "month": tally.month,
                "month_tokens": tally.month_tokens,
                "month_nano_usd": tally.month_nano_usd,
                "open_count": 0,
            }
            pipe.hset(account_key(project_id, "account"), mapping=fields)
            for grant_id, line in tally.grants.items():
                written = f"{line.amount_nano_usd}|".encode() + orjson.dumps(line.details)
                pipe.hset(account_key(project_id, "grants"), grant_id, written)
            for month, usages in by_month.items():
                pipe.hset(account_key(project_id, f"usage:{month}"), mapping=usages)  # type: ignore[arg-type]
                pipe.expire(account_key(project_id, f"usage:{month}"), USAGE_KEPT_S)
            # The stream goes on where it ended, so that new entries come after those that are written outside.
            pipe.xadd(account_key(project_id, "journal"), {"mark": ""}, id=account.last_entry_id)
            pipe.xtrim(account_key(project_id, "journal"), maxlen=0, approximate=False)
            for line in account.released:
                details = orjson.dumps(line.details).decode()
                released = Entry("release", line.id, line.amount_nano_usd, line.tokens, details)
                pipe.xadd(account_key(project_id, "journal"), written_entry(released))
            await pipe.execute()
            # Last, because from now on gateways find it.
            await self._redis.zadd(PROJECTS, {project_id: 0})
