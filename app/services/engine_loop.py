"""The thread that feeds a replica's engine from its TierQueue, one even step at a time.

The event loop pushes, cancels and asks for health; the thread takes steps and answers. The
queue is guarded by one condition; the engine itself is touched by the thread alone.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from app.core import metric_names as names
from app.core.errors import DeadlineExceeded, EmbedgateError, EngineError, EngineFault
from app.core.packing import Shares, TokenIds, check_norms, projects_of
from app.core.ports import Metrics
from app.core.tier_queue import QueuedItem, TierQueue
from app.core.tiers import Tier

logger = logging.getLogger("ray.serve.embedgate")

_FAILURES_THAT_MEAN_DEATH = 3
"""Single items in a row that failed for no fault of theirs."""


class StepEngine(Protocol):
    """An engine that computes one step at a time, on one thread."""

    dimensions: int

    def embed(self, items: Sequence[TokenIds]) -> NDArray[np.float32]:
        """Vectors of shape ``(len(items), dimensions)``, each of length one.

        Raises:
            EngineError: with its fault; after DEAD no further step is asked for.
        """


@dataclass(frozen=True, slots=True)
class LoopBounds:
    """Bounds of a step, and when a step counts as hanging."""

    max_step_items: int
    max_step_tokens: int
    hang_after_s: float


@dataclass(slots=True, eq=False)
class _Call:
    """Items that arrived together and are answered together."""

    vectors: NDArray[np.float32]
    left: int
    future: asyncio.Future[NDArray[np.float32]]
    rows: dict[int, int] = field(default_factory=dict)


class EngineLoop:
    """Owns the engine's thread.

    Args:
        engine: used by the thread alone.
        queue: the order of work.
        bounds: of a step.
        model_id: for metrics.
        metrics: where steps and queue are reported.
        clock_s: monotonic clock.
    """

    def __init__(
        self,
        engine: StepEngine,
        queue: TierQueue,
        *,
        bounds: LoopBounds,
        model_id: str,
        metrics: Metrics,
        clock_s: Callable[[], float],
    ) -> None:
        self._engine = engine
        self._queue = queue
        self._bounds = bounds
        self._model_id = model_id
        self._metrics = metrics
        self._clock_s = clock_s
        self._changed = threading.Condition()
        self._step_began_s: float | None = None
        self._death: EngineError | None = None
        self._failures_in_a_row = 0
        self._stopping = False
        self._event_loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self, event_loop: asyncio.AbstractEventLoop) -> None:
        """Start the thread; answers go to ``event_loop``."""
        self._event_loop = event_loop
        self._thread.start()

    def stop(self) -> None:
        """End the thread after the step under way."""
        with self._changed:
            self._stopping = True
            self._changed.notify()

    def check_health(self) -> None:
        """Raise ``EngineError`` when the engine died or hangs."""
        if self._death is not None:
            raise self._death
        if not self._thread.is_alive():
            raise EngineError("The engine's thread ended.", fault=EngineFault.DEAD)
        began_s = self._step_began_s
        if began_s is not None and self._clock_s() - began_s > self._bounds.hang_after_s:
            raise EngineError(f"An engine step takes over {self._bounds.hang_after_s} s.", fault=EngineFault.DEAD)

    async def embed(
        self, items: Sequence[TokenIds], *, tier: Tier, timeout_ms: int, shares: Shares = ()
    ) -> NDArray[np.float32]:
        """Compute items that travelled together; leaving early withdraws what has not begun.

        Raises:
            EmbedgateError: the queue is full, the deadline passed, or the engine failed.
        """
        self.check_health()
        now_s = self._clock_s()
        future: asyncio.Future[NDArray[np.float32]] = asyncio.get_running_loop().create_future()
        call = _Call(np.empty((len(items), self._engine.dimensions), np.float32), len(items), future)
        deadline_s = now_s + timeout_ms / 1000
        projects = projects_of(shares, count=len(items))
        queued = [
            QueuedItem(item, tier, now_s, deadline_s, call, project)
            for item, project in zip(items, projects, strict=True)
        ]
        call.rows = {id(item): row for row, item in enumerate(queued)}
        try:
            with self._changed:
                for item in queued:
                    self._queue.push(item)
                self._changed.notify()
            return await future
        finally:
            if not future.done() or future.cancelled() or future.exception() is not None:
                self._withdraw(queued)

    def _withdraw(self, items: Sequence[QueuedItem]) -> None:
        with self._changed:
            for item in items:
                self._queue.cancel(item)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not len(self._queue) and not self._stopping:
                    self._changed.wait()
                if self._stopping:
                    return
                step, expired = self._queue.take(
                    max_items=self._bounds.max_step_items,
                    max_tokens=self._bounds.max_step_tokens,
                    now_s=self._clock_s(),
                )
                queued_items, queued_tokens = len(self._queue), self._queue.queued_tokens
            self._fail(expired, DeadlineExceeded("The deadline passed in the model's queue; nothing was charged."))
            if step and not self._compute(step):
                return
            self._metrics.set(names.QUEUE_ITEMS, queued_items, model=self._model_id)
            self._metrics.set(names.QUEUE_TOKENS, queued_tokens, model=self._model_id)

    def _compute(self, step: Sequence[QueuedItem]) -> bool:
        """One engine step; False when the engine is beyond use.

        A step that fails is tried again item by item, so that nobody's request fails because of
        what a stranger sent.
        """
        began_s = self._step_began_s = self._clock_s()
        try:
            vectors = self._engine.embed([item.token_ids for item in step])
            check_norms(vectors)
        except EmbedgateError as error:
            failure = error
        except Exception as error:
            logger.exception("engine step failed")
            failure = EngineError(f"The engine failed: {type(error).__name__}.", fault=EngineFault.OTHER)
        else:
            self._failures_in_a_row = 0
            self._deliver(step, vectors)
            self._report(step, began_s)
            return True
        finally:
            self._step_began_s = None
        fault = self._note_failure(step, failure)
        if fault is EngineFault.DEAD:
            self._die(step, failure)
            return False
        if len(step) == 1:
            self._fail(step, failure)
            return True
        return self._compute_singly(step)

    def _compute_singly(self, step: Sequence[QueuedItem]) -> bool:
        for place, item in enumerate(step):
            if not self._compute([item]):
                assert self._death is not None, "only a dead engine ends a step early"
                self._fail(step[place + 1 :], self._death)
                return False
        return True

    def _note_failure(self, step: Sequence[QueuedItem], error: EmbedgateError) -> EngineFault:
        """Count a failure; an engine that fails again and again counts as dead."""
        fault = error.fault if isinstance(error, EngineError) else EngineFault.OTHER
        if len(step) == 1 and fault is EngineFault.OTHER:
            self._failures_in_a_row += 1
            if self._failures_in_a_row >= _FAILURES_THAT_MEAN_DEATH:
                fault = EngineFault.DEAD
        self._metrics.count(names.ENGINE_FAILURES, model=self._model_id, fault=fault)
        logger.error("engine step of %d items failed (%s): %s", len(step), fault, error)
        return fault

    def _die(self, step: Sequence[QueuedItem], error: EmbedgateError) -> None:
        self._death = EngineError(error.message, fault=EngineFault.DEAD, retry_after_s=5)
        with self._changed:
            left = self._queue.drain()
        self._fail([*step, *left], self._death)

    def _deliver(self, step: Sequence[QueuedItem], vectors: NDArray[np.float32]) -> None:
        finished: list[_Call] = []
        for item, vector in zip(step, vectors, strict=True):
            call = item.owner
            assert isinstance(call, _Call), "the loop queues its own calls only. This is a bug."
            call.vectors[call.rows[id(item)]] = vector
            call.left -= 1
            if call.left == 0:
                finished.append(call)
        if finished:
            self._tell(_finish, finished)

    def _fail(self, items: Sequence[QueuedItem], error: EmbedgateError) -> None:
        calls = list({id(item.owner): item.owner for item in items}.values())
        if calls:
            self._tell(_fail_calls, calls, error)

    def _tell(self, callback: Callable[..., None], *arguments: object) -> None:
        assert self._event_loop is not None, "start() comes first"
        self._event_loop.call_soon_threadsafe(callback, *arguments)

    def _report(self, step: Sequence[QueuedItem], began_s: float) -> None:
        model = self._model_id
        self._metrics.observe(names.STEP_MS, (self._clock_s() - began_s) * 1000, model=model)
        self._metrics.observe(names.STEP_ITEMS, len(step), model=model)
        self._metrics.observe(names.STEP_TOKENS, sum(len(item.token_ids) for item in step), model=model)
        # Items of one call waited equally long; the step's first item of each tier stands for its tier.
        for item in {item.tier: item for item in reversed(step)}.values():
            self._metrics.observe(names.QUEUE_WAIT_MS, (began_s - item.queued_at_s) * 1000, model=model, tier=item.tier)


def _finish(calls: Sequence[_Call]) -> None:
    for call in calls:
        if not call.future.done():
            call.future.set_result(call.vectors)


def _fail_calls(calls: Sequence[_Call], error: EmbedgateError) -> None:
    for call in calls:
        if not call.future.done():
            call.future.set_exception(error)
