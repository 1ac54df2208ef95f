"""Calls from a gateway to the replicas of one model: what waits for one tier travels together.

A lane per tier, shared fairly among projects. Everything that arrives in one turn of the event
loop, or while the lane's calls are under way, leaves in one call, bounded in items and tokens; an
idle lane sends at once.
A call never mixes tiers, so an answer never waits for a lower tier's work.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.core import metric_names as names
from app.core.errors import CapacityExceeded, DeadlineExceeded, EmbedgateError
from app.core.fair_queue import FairQueue
from app.core.packing import TokenIds, Vector, pack_items, shares_of, unpack_vectors
from app.core.ports import EmbedderLink, Metrics
from app.core.tiers import Tier


@dataclass(frozen=True, slots=True)
class CallBounds:
    """How much one call carries, how many calls a lane keeps under way, and how much may wait in it."""

    max_items: int
    max_tokens: int
    max_calls: int
    max_waiting_tokens: int


@dataclass(slots=True, eq=False)
class _Waiting:
    token_ids: TokenIds
    future: asyncio.Future[Vector]
    deadline_s: float
    flow: str
    weight: int = 1
    is_queued: bool = False

    @property
    def tokens(self) -> int:
        return len(self.token_ids)


class _Lane:
    """What waits for one tier."""

    def __init__(self, tier: Tier, dispatcher: "Dispatcher") -> None:
        self.tier = tier
        self.waiting: FairQueue[_Waiting] = FairQueue()
        self.calls: set[asyncio.Task[None]] = set()
        self.pump_scheduled = False
        self._dispatcher = dispatcher

    def push(self, waiting: Sequence[_Waiting], tokens: int) -> None:
        if self.waiting.tokens and self.waiting.tokens + tokens > self._dispatcher.bounds.max_waiting_tokens:
            raise CapacityExceeded("More waits for this model than can be computed in time.", retry_after_s=2)
        for one in waiting:
            self.waiting.push(one)
            one.future.add_done_callback(lambda _, one=one: self.waiting.cancel(one))  # type: ignore[misc]
        self.schedule_pump()

    def schedule_pump(self) -> None:
        if not self.pump_scheduled:
            self.pump_scheduled = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        self.pump_scheduled = False
        while len(self.waiting) and len(self.calls) < self._dispatcher.bounds.max_calls:
            load = self._take_load()
            if load:
                task = asyncio.create_task(self._dispatcher.send(load, self.tier))
                self.calls.add(task)
                task.add_done_callback(self._on_call_done)
        self._dispatcher.report_waiting(self.tier, len(self.waiting))

    def _take_load(self) -> list[_Waiting]:
        bounds = self._dispatcher.bounds
        load: list[_Waiting] = []
        tokens = 0
        while (head := self.waiting.head()) is not None and len(load) < bounds.max_items:
            if head.future.done():  # its callback comes in the next turn
                self.waiting.cancel(head)
                continue
            tokens += head.tokens
            if load and tokens > bounds.max_tokens:
                break
            load.append(self.waiting.pop())
        return load

    def _on_call_done(self, task: asyncio.Task[None]) -> None:
        self.calls.discard(task)
        self.schedule_pump()


class Dispatcher:
    """``EmbedderPool`` over one model's :class:`EmbedderLink`.

    Args:
        model_id: for metrics.
        dimensions: what every reply is checked against.
        link: makes the calls.
        bounds: of a call and a lane.
        metrics: where waiting items are reported.
        clock_s: monotonic clock.
    """

    def __init__(
        self,
        *,
        model_id: str,
        dimensions: int,
        link: EmbedderLink,
        bounds: CallBounds,
        metrics: Metrics,
        clock_s: Callable[[], float],
    ) -> None:
        self.bounds = bounds
        self._model_id = model_id
        self._dimensions = dimensions
        self._link = link
        self._metrics = metrics
        self._clock_s = clock_s
        self._lanes = {tier: _Lane(tier, self) for tier in Tier}

    @property
    def is_ready(self) -> bool:
        """Whether a replica answered lately."""
        return self._link.is_ready

    def submit(
        self, items: Sequence[TokenIds], *, tier: Tier, project_id: str, timeout_ms: int
    ) -> list[asyncio.Future[Vector]]:
        """Queue items for the tier's next call; one future each, in order.

        Raises:
            CapacityExceeded: too much waits already; nothing of this was queued.
        """
        loop = asyncio.get_running_loop()
        deadline_s = self._clock_s() + timeout_ms / 1000
        waiting = [_Waiting(item, loop.create_future(), deadline_s, project_id) for item in items]
        self._lanes[tier].push(waiting, sum(map(len, items)))
        return [w.future for w in waiting]

    async def send(self, load: list[_Waiting], tier: Tier) -> None:
        """Make one call and tell each waiter its outcome; withdrawn when all of them leave."""
        call = asyncio.current_task()
        left = len(load)

        def on_waiter_done(future: asyncio.Future[Vector]) -> None:
            nonlocal left
            left -= 1
            if left == 0 and future.cancelled() and call is not None:
                call.cancel()

        for waiter in load:
            waiter.future.add_done_callback(on_waiter_done)
        try:
            timeout_ms = round((max(w.deadline_s for w in load) - self._clock_s()) * 1000)
            if timeout_ms <= 0:
                raise DeadlineExceeded("No vector was computed before the deadline; nothing was charged. Try again.")
            lengths, ids = pack_items([w.token_ids for w in load])
            shares = shares_of(w.flow for w in load)
            reply = await self._link.call(lengths, ids, tier=tier, shares=shares, timeout_ms=timeout_ms)
            vectors = unpack_vectors(reply, count=len(load), dimensions=self._dimensions)
        except EmbedgateError as error:
            _fail(load, error)
        except asyncio.CancelledError:
            for waiter in load:
                waiter.future.cancel()
        except Exception as error:
            _fail(load, error)
        else:
            for waiter, vector in zip(load, vectors, strict=True):
                if not waiter.future.done():
                    waiter.future.set_result(vector)

    def report_waiting(self, tier: Tier, count: int) -> None:
        """Publish how many items wait in a lane."""
        self._metrics.set(names.DISPATCH_WAITING_ITEMS, count, model=self._model_id, tier=tier)


def _fail(load: list[_Waiting], error: Exception) -> None:
    for waiter in load:
        if not waiter.future.done():
            waiter.future.set_exception(error)
            waiter.future.exception()  # marks it as seen: a waiter that left does not fetch it
