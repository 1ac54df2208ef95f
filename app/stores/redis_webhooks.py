"""Webhooks in Redis: where each project wants to be told, and what is to be told when.

- ``eg:{id}:webhook``: hash; ``url`` and ``secret``
- ``eg:{id}:webhook_events``: hash; event id → event, JSON

Outside of a project: ``eg:webhooks_due``, a sorted set of ``<project id>/<event id>`` by the
millisecond of the next attempt.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import orjson
from redis.asyncio import Redis

from app.core.webhook import Webhook, WebhookEvent
from app.stores.redis_client import lua, raw, translated
from app.stores.redis_ledger import account_key

_DUE = "eg:webhooks_due"


class RedisWebhooks:
    """``Webhooks`` over one Redis."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._claim = redis.register_script(lua("webhook_claim"))

    async def set(self, project_id: str, webhook: Webhook) -> None:
        """Set or replace a project's webhook."""
        async with translated():
            await self._redis.hset(_webhook(project_id), mapping={"url": webhook.url, "secret": webhook.secret})

    async def get(self, project_id: str) -> Webhook | None:
        """A project's webhook; None when it has none."""
        async with translated():
            url, secret = await self._redis.hmget(_webhook(project_id), ["url", "secret"])
        return Webhook(raw(url).decode(), raw(secret).decode()) if url else None

    async def remove(self, project_id: str) -> bool:
        """Tell the project nothing any more; False when it had no webhook."""
        async with translated():
            return bool(await self._redis.delete(_webhook(project_id)))

    async def plan(self, event: WebhookEvent, *, at_ms: int) -> None:
        """Try to tell an event at ``at_ms``."""
        async with translated():
            await self._redis.hset(_events(event.project_id), event.event_id, orjson.dumps(asdict(event)))
            await self._redis.zadd(_DUE, {_member(event): at_ms})

    async def plan_new(self, event: WebhookEvent, *, at_ms: int) -> None:
        """Try to tell an event at ``at_ms``, unless it is planned already."""
        async with translated():
            await self._redis.hsetnx(_events(event.project_id), event.event_id, orjson.dumps(asdict(event)).decode())
            await self._redis.zadd(_DUE, {_member(event): at_ms}, nx=True)

    async def take_due(self, *, now_ms: int, limit: int, again_at_ms: int) -> Sequence[WebhookEvent]:
        """Events whose time has come; they come again at ``again_at_ms`` unless they are planned anew or done."""
        async with translated():
            members: list[Any] = await self._redis.zrangebyscore(_DUE, "-inf", now_ms, start=0, num=limit)
            events = []
            for member in members:
                project_id, event_id = raw(member).decode().split("/", 1)
                if not await self._claim(keys=[_DUE], args=[raw(member), now_ms, again_at_ms]):
                    continue
                document = await self._redis.hget(_events(project_id), event_id)
                if document is None:
                    await self._redis.zrem(_DUE, member)
                else:
                    events.append(WebhookEvent(**orjson.loads(raw(document))))
        return events

    async def done(self, event: WebhookEvent) -> None:
        """Tell an event no more."""
        async with translated():
            await self._redis.hdel(_events(event.project_id), event.event_id)
            await self._redis.zrem(_DUE, _member(event))


def _webhook(project_id: str) -> str:
    return account_key(project_id, "webhook")


def _events(project_id: str) -> str:
    return account_key(project_id, "webhook_events")


def _member(event: WebhookEvent) -> str:
    return f"{event.project_id}/{event.event_id}"
