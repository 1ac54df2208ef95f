"""Telling projects what happened: at least once, in any order, for three days."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from app.core import metric_names as names
from app.core.batch.refs import BatchRef
from app.core.batch.state import Batch
from app.core.errors import DependencyDown, RouteNotFound
from app.core.ports import Metrics
from app.core.webhook import SECRET_BYTES, Webhook, WebhookEvent, event_of, headers_of, new_secret

logger = logging.getLogger("ray.serve.embedgate")

_PERIOD_S = 1.0
_AT_ONCE = 20
_TAKES_MS = 60_000
_GONE = 410

Post = Callable[[str, bytes, Mapping[str, str]], Awaitable[int | None]]


class Webhooks(Protocol):
    """Webhooks and what they are to be told; see ``app.stores.redis_webhooks``. May raise ``DependencyDown``."""

    async def set(self, project_id: str, webhook: Webhook) -> None:
        """Set or replace a project's webhook."""

    async def get(self, project_id: str) -> Webhook | None:
        """A project's webhook; None when it has none."""

    async def remove(self, project_id: str) -> bool:
        """Tell the project nothing any more; False when it had no webhook."""

    async def plan(self, event: WebhookEvent, *, at_ms: int) -> None:
        """Try to tell an event at ``at_ms``."""

    async def plan_new(self, event: WebhookEvent, *, at_ms: int) -> None:
        """Try to tell an event at ``at_ms``, unless it is planned already."""

    async def take_due(self, *, now_ms: int, limit: int, again_at_ms: int) -> Sequence[WebhookEvent]:
        """Events whose time has come; they come again at ``again_at_ms`` unless they are planned anew or done."""

    async def done(self, event: WebhookEvent) -> None:
        """Tell an event no more."""


class WebhookSettings:
    """What operators do with a project's webhook.

    Args:
        webhooks: of all projects.
        random_bytes: source of secrets.
    """

    def __init__(self, webhooks: Webhooks, *, random_bytes: Callable[[int], bytes]) -> None:
        self._webhooks = webhooks
        self._random_bytes = random_bytes

    async def set(self, project_id: str, url: str) -> Webhook:
        """Set or replace it, with a new secret, which is shown this once."""
        webhook = Webhook(url, new_secret(self._random_bytes(SECRET_BYTES)))
        await self._webhooks.set(project_id, webhook)
        return webhook

    async def get(self, project_id: str) -> Webhook:
        """It; raises ``RouteNotFound``."""
        webhook = await self._webhooks.get(project_id)
        if webhook is None:
            raise RouteNotFound("This project has no webhook.")
        return webhook

    async def remove(self, project_id: str) -> None:
        """Take it away; raises ``RouteNotFound``."""
        if not await self._webhooks.remove(project_id):
            raise RouteNotFound("This project has no webhook.")


class WebhookSender:
    """Tells projects of their batches.

    Args:
        webhooks: of all projects.
        post: sends.
        metrics: where attempts are counted.
        wall_s: Unix time.
    """

    def __init__(self, webhooks: Webhooks, post: Post, *, metrics: Metrics, wall_s: Callable[[], float]) -> None:
        self._webhooks = webhooks
        self._post = post
        self._metrics = metrics
        self._wall_s = wall_s

    async def on_end(self, ref: BatchRef, batch: Batch) -> None:
        """A batch has ended; raises ``DependencyDown``."""
        if await self._webhooks.get(ref.project_id) is not None:
            await self._webhooks.plan_new(event_of(ref.project_id, batch), at_ms=self._now_ms())

    async def run_forever(self) -> None:
        """Tell what is due until cancelled."""
        while True:
            try:
                await self.tell_due()
            except DependencyDown as error:
                logger.warning("webhooks wait: %s", error.__cause__ or error)
            except Exception:
                logger.exception("telling webhooks failed; it goes on with the next round")
            await asyncio.sleep(_PERIOD_S)

    async def tell_due(self) -> None:
        """Tell what is due, some at a time."""
        now_ms = self._now_ms()
        events = await self._webhooks.take_due(now_ms=now_ms, limit=_AT_ONCE, again_at_ms=now_ms + _TAKES_MS)
        await asyncio.gather(*(self._tell(event) for event in events))

    async def _tell(self, event: WebhookEvent) -> None:
        webhook = await self._webhooks.get(event.project_id)
        if webhook is None:
            await self._webhooks.done(event)
            return
        headers = headers_of(event, webhook, now_s=int(self._wall_s()))
        status = await self._post(webhook.url, event.body(), headers)
        was_taken = status is not None and 200 <= status < 300
        self._metrics.count(names.WEBHOOKS, outcome="taken" if was_taken else "refused" if status else "unanswered")
        if was_taken or status == _GONE:
            await self._webhooks.done(event)
            return
        failed = WebhookEvent(
            event.project_id, event.event_id, event.type, event.subject_id, event.created_at_ms, event.attempts + 1
        )
        again_at_ms = failed.next_at_ms(self._now_ms())
        if again_at_ms is None:
            logger.error("%s of %s was told %d times in vain", event.type, event.subject_id, failed.attempts)
            await self._webhooks.done(event)
        else:
            await self._webhooks.plan(failed, at_ms=again_at_ms)

    def _now_ms(self) -> int:
        return int(self._wall_s() * 1000)
