"""All replicas of one model, as one gateway uses them.

Each item goes at once to the replica that has least to do ahead of it; order, fairness and
deadlines are the replica's queue's. What a lost replica left unanswered is sent to another, once.
"""

import asyncio
import contextlib
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from app.core import metric_names as names
from app.core.errors import ModelProvisioning
from app.core.load import Backlog, expected_wait_s, total_backlog
from app.core.packing import TokenIds, Vector
from app.core.placement import choose
from app.core.ports import Metrics
from app.core.standing import ModelStanding
from app.core.tiers import Tier
from app.link.client import Replica, ReplicaAddress, Waiting, fail_items
from app.link.shedding import Shedding

logger = logging.getLogger("ray.serve.embedgate")

_LOOK_PERIOD_S = 1.0
_LOOK_AGAIN_S = 0.25
"""While there is no replica, and the least time between two looks."""

_MIND_PERIOD_S = 0.5
_BACKLOG_VALID_S = 0.01
_SILENT_AFTER_S = 3.0
_DIAL_TIMEOUT_S = 3.0
_WANTED_FOR_S = 30.0
_RUN_ITEMS = 8
"""Items of one request that go to the same replica: fewer would make small steps of it, more would
leave other replicas idle."""


class Discovery(Protocol):
    """Finds the replicas of a model."""

    async def find(self, *, wanted: bool) -> Sequence[ReplicaAddress]:
        """Those that run now; where there is none and one is wanted, one is asked for."""


class ReplicaPool:
    """``EmbedderPool`` over the link.

    Args:
        model_id: for messages and metrics.
        dimensions: of the model's vectors.
        discovery: asked every second.
        max_wait_ms: how long an item may be expected to wait, by tier; more is shed.
        metrics: where load, retries and refusals are reported.
        clock_s: monotonic clock.
    """

    def __init__(
        self,
        *,
        model_id: str,
        dimensions: int,
        discovery: Discovery,
        max_wait_ms: Mapping[Tier, int],
        metrics: Metrics,
        clock_s: Callable[[], float],
    ) -> None:
        self._model_id = model_id
        self._dimensions = dimensions
        self._discovery = discovery
        self._shedding = Shedding(model_id=model_id, max_wait_ms=max_wait_ms, metrics=metrics)
        self._max_wait_ms = max_wait_ms
        self._metrics = metrics
        self._clock_s = clock_s
        self._replicas: dict[str, Replica] = {}
        self._tokens_of: dict[tuple[Tier, str], int] = {}
        self._wanted_until_s = 0.0
        self._backlog = total_backlog([])
        self._backlog_at_s = -math.inf
        self._look_now = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._look_forever()), loop.create_task(self._mind_forever())]

    @property
    def is_ready(self) -> bool:
        """Whether a replica takes work."""
        return bool(self._ready())

    @property
    def is_idle(self) -> bool:
        """Whether a replica takes work, this gateway has none there, and no replica tells of others' work."""
        return not self._tokens_of and self.is_ready and not any(self._present_backlog().tokens)

    def standing(self, *, may_sleep: bool) -> ModelStanding:
        """How the model stands; ``may_sleep`` says whether having no replica is normal."""
        backlog = self._present_backlog()
        return ModelStanding(
            replicas=len(self._ready()),
            may_sleep=may_sleep,
            tokens_per_s=backlog.tokens_per_s,
            waiting_tokens={tier.value: backlog.tokens[tier.rank] for tier in Tier},
            wait_ms={tier.value: self._wait_of_a_newcomer_s(backlog, tier) * 1000 for tier in Tier},
            max_wait_ms={tier.value: bound_ms for tier, bound_ms in self._max_wait_ms.items()},
        )

    def check(self, *, tier: Tier, project_id: str, tokens: int) -> None:
        """Refuse what could not be served in time, before anything is held for it.

        Raises:
            ModelProvisioning: no replica is ready; one is asked for.
            CapacityExceeded: the expected wait is longer than the tier's bound.
        """
        self._require_one()
        own_tokens = self._tokens_of.get((tier, project_id), 0)
        self._shedding.check(
            self._present_backlog(), tier=tier, own_tokens=own_tokens, tokens=tokens, now_s=self._clock_s()
        )

    def submit(
        self,
        items: Sequence[TokenIds],
        *,
        tier: Tier,
        project_id: str,
        weight: int = 1,
        timeout_ms: int,
        trace: str = "",
    ) -> list[asyncio.Future[Vector]]:
        """Send items to replicas; one future each, in order.

        Raises:
            ModelProvisioning: no replica is ready.
        """
        loop = asyncio.get_running_loop()
        deadline_s = self._clock_s() + timeout_ms / 1000
        waiting = [Waiting(item, tier, project_id, weight, deadline_s, loop.create_future(), trace) for item in items]
        self._assign(waiting)
        for one in waiting:
            self._count(one, one.tokens)
            one.future.add_done_callback(lambda _, one=one: self._on_done(one))  # type: ignore[misc]
        return [one.future for one in waiting]

    async def close(self) -> None:
        """Let go of all replicas."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for replica in list(self._replicas.values()):
            replica.close()

    def on_replica_ready(self, replica: Replica) -> None:
        """See :class:`app.link.client.Owner`."""
        logger.info("replica %s of %s is ready", replica.address.replica_id, self._model_id)

    def on_replica_lost(self, replica: Replica) -> None:
        """See :class:`app.link.client.Owner`."""
        logger.info("replica %s of %s is gone", replica.address.replica_id, self._model_id)
        self._replicas.pop(replica.address.replica_id, None)
        self._look_now.set()

    def on_items_lost(self, replica: Replica, items: Sequence[Waiting]) -> None:
        """Send what a replica lost to another, once.

        Twice is safe: a vector costs only time, and what it costs in money the gateway settles once.
        """
        if not items:
            return
        logger.error(
            "replica %s of %s left %d items unanswered", replica.address.replica_id, self._model_id, len(items)
        )
        self._metrics.count(names.EMBEDDER_RETRIES, len(items), model=self._model_id)
        lost = [item for item in items if item.sends > 1]
        for tier in Tier:
            again = [item for item in items if item.sends == 1 and item.tier is tier]
            try:
                self._assign(again)
            except ModelProvisioning:
                lost += again
        error = ModelProvisioning(f"{self._model_id} is being restarted; try again shortly.", retry_after_s=5)
        fail_items(lost, error)

    def _assign(self, items: Sequence[Waiting]) -> None:
        if not items:
            return
        ready = self._require_one()
        run_items = min(_RUN_ITEMS, -(-len(items) // len(ready)))
        for start in range(0, len(items), run_items):
            run = items[start : start + run_items]
            replica = ready[choose((r.view for r in ready), run[0].flow, sum(i.tokens for i in run), self._clock_s())]
            for item in run:
                replica.enqueue(item, is_alone=len(items) == 1)

    def _ready(self) -> list[Replica]:
        return [replica for replica in self._replicas.values() if replica.is_ready]

    def _count(self, item: Waiting, tokens: int) -> None:
        key = (item.tier, item.project_id)
        left = self._tokens_of.get(key, 0) + tokens
        if left:
            self._tokens_of[key] = left
        else:
            del self._tokens_of[key]

    def _on_done(self, item: Waiting) -> None:
        self._count(item, -item.tokens)
        assert item.replica is not None, "it was sent somewhere"
        item.replica.end(item)

    def _require_one(self) -> list[Replica]:
        ready = self._ready()
        if not ready:
            self._wanted_until_s = self._clock_s() + _WANTED_FOR_S
            self._look_now.set()
            raise ModelProvisioning(f"{self._model_id} is starting up; try again shortly.", retry_after_s=5)
        return ready

    def _present_backlog(self) -> Backlog:
        now_s = self._clock_s()
        if now_s - self._backlog_at_s > _BACKLOG_VALID_S:
            self._backlog_at_s = now_s
            self._backlog = total_backlog(
                (replica.view.load.engine, replica.view.tokens()) for replica in self._ready()
            )
        return self._backlog

    async def _look_forever(self) -> None:
        while True:
            self._look_now.clear()
            try:
                await self._look()
            except Exception:
                logger.exception("looking for replicas of %s failed", self._model_id)
            await asyncio.sleep(_LOOK_AGAIN_S)
            if self.is_ready:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_PERIOD_S):
                        await self._look_now.wait()

    async def _mind_forever(self) -> None:
        while True:
            due_s = self._clock_s() + _MIND_PERIOD_S
            await asyncio.sleep(_MIND_PERIOD_S)
            try:
                self._mind_the_silent(due_s)
                self._give_up_the_hopeless()
                self._report()
            except Exception:
                logger.exception("minding the replicas of %s failed", self._model_id)

    async def _look(self) -> None:
        found = await self._discovery.find(wanted=self._clock_s() < self._wanted_until_s)
        new = [address for address in found if address.replica_id not in self._replicas]
        await asyncio.gather(*(self._dial(address) for address in new))

    async def _dial(self, address: ReplicaAddress) -> None:
        loop = asyncio.get_running_loop()
        replica = Replica(address, dimensions=self._dimensions, owner=self, clock_s=self._clock_s)
        self._replicas[address.replica_id] = replica
        try:
            async with asyncio.timeout(_DIAL_TIMEOUT_S):
                await loop.create_connection(lambda: replica, address.host, address.port)
        except OSError as error:  # TimeoutError is one
            self._replicas.pop(address.replica_id, None)
            logger.info("replica %s of %s cannot be reached: %s", address.replica_id, self._model_id, error)

    def _mind_the_silent(self, due_s: float) -> None:
        """A replica that says nothing counts as lost: what it has goes elsewhere.

        Time in which this gateway stood still is no silence: what was said meanwhile may lie there unread.
        """
        now_s = self._clock_s()
        stood_still_s = max(0.0, now_s - due_s)
        for replica in list(self._replicas.values()):
            replica.heard_at_s = min(now_s, replica.heard_at_s + stood_still_s)
            if now_s - replica.heard_at_s > _SILENT_AFTER_S:
                logger.error("replica %s of %s is silent", replica.address.replica_id, self._model_id)
                replica.abort()

    def _give_up_the_hopeless(self) -> None:
        waiting = [item for replica in self._ready() for item in replica.waiting()]
        given_up = self._shedding.give_up(self._present_backlog(), waiting, self._clock_s())
        for item, error in given_up.items():
            fail_items([item], error)
            assert item.replica is not None, "it waits there"
            item.replica.withdraw(item)

    def _report(self) -> None:
        waiting = dict.fromkeys(Tier, 0)
        for (tier, _), tokens in self._tokens_of.items():
            waiting[tier] += tokens
        backlog = self._present_backlog()
        for tier, tokens in waiting.items():
            self._metrics.set(names.DISPATCH_TOKENS, tokens, model=self._model_id, tier=tier)
            wait_s = self._wait_of_a_newcomer_s(backlog, tier)
            self._metrics.set(names.EXPECTED_WAIT_MS, wait_s * 1000, model=self._model_id, tier=tier)

    def _wait_of_a_newcomer_s(self, backlog: Backlog, tier: Tier) -> float:
        return expected_wait_s(backlog, tier, own_tokens=sum(backlog.tokens), tokens=0)
