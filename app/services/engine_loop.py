"""The thread that feeds a replica's engine from its TierQueue, one even step at a time.

The event loop submits, withdraws and asks for health; the thread takes steps, and each item's
outcome is told on the event loop. The queue is guarded by one condition; the engine itself is
touched by the thread alone.
"""

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Sequence

from app.core.errors import CapacityExceeded, DeadlineExceeded, EmbedgateError, EngineError, EngineFault
from app.core.load import EngineState, RateMeter
from app.core.pace import ActiveFlows, Pacer
from app.core.packing import check_norms
from app.core.ports import Metrics
from app.core.step_size import StepSizer
from app.core.tier_queue import QueuedItem, TierQueue
from app.core.tiers import Flow, Tier
from app.core.tracing import Tracer
from app.services.idle_cores import IdleCores
from app.services.step_engine import LoopBounds, Outcomes, StepEngine
from app.services.step_report import StepReport

logger = logging.getLogger("ray.serve.embedgate")

_SEVERAL = 2
"""Flows that wait, or asked for something a moment ago."""

_FAILURES_THAT_MEAN_DEATH = 3
"""Single items in a row that failed for no fault of theirs."""


class EngineLoop:
    """Owns the engine's thread.

    Args:
        engine: used by the thread alone.
        queue: the order of work.
        meter: measures the engine.
        bounds: of a step.
        model_id: for metrics.
        metrics: where steps and queue are reported.
        tracer: told of steps; None where traces are off.
        clock_s: monotonic clock.
        idle_cores: while there are some, a project's steps are not put off; None never looks.
    """

    def __init__(
        self,
        engine: StepEngine,
        queue: TierQueue,
        *,
        meter: RateMeter,
        bounds: LoopBounds,
        model_id: str,
        metrics: Metrics,
        clock_s: Callable[[], float],
        tracer: Tracer | None = None,
        idle_cores: IdleCores | None = None,
    ) -> None:
        self._engine = engine
        self._queue = queue
        self._meter = meter
        self._pacer = Pacer(patience=bounds.patience)
        self._active = ActiveFlows()
        self._sizer = StepSizer(
            max_tokens=bounds.max_step_tokens,
            max_s=bounds.max_step_s,
            max_shared_s=bounds.max_shared_step_s,
            max_light_s=bounds.max_light_step_s,
        )
        self._bounds = bounds
        self._report = StepReport(model_id, metrics, tracer)
        self._clock_s = clock_s
        self._idle_cores = idle_cores
        self._changed = threading.Condition()
        self._step_began_s: float | None = None
        self._death: EngineError | None = None
        self._has_hung = False
        self._failures_in_a_row = 0
        self._stopping = False
        self._event_loop: asyncio.AbstractEventLoop | None = None
        self._outcomes: Outcomes
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self, event_loop: asyncio.AbstractEventLoop, outcomes: Outcomes) -> None:
        """Start the thread; ``outcomes`` is called on ``event_loop``."""
        self._event_loop = event_loop
        self._outcomes = outcomes
        self._thread.start()

    def stop(self) -> None:
        """End the thread after the step under way."""
        with self._changed:
            self._stopping = True
            self._changed.notify()

    def check_health(self) -> None:
        """Raise ``EngineError`` when the engine died or was seen to hang, which it is not forgiven."""
        if self._death is not None:
            raise self._death
        if not self._thread.is_alive():
            raise EngineError("The engine's thread ended.", fault=EngineFault.DEAD)
        began_s = self._step_began_s
        if began_s is not None and self._clock_s() - began_s > self._bounds.hang_after_s:
            self._has_hung = True
        if self._has_hung:
            raise EngineError(f"An engine step took over {self._bounds.hang_after_s} s.", fault=EngineFault.DEAD)

    def submit(self, items: Sequence[QueuedItem]) -> None:
        """Queue items. Each ends with one call of the outcomes, unless it is withdrawn before."""
        refused: list[QueuedItem] = []
        now_s = self._clock_s()
        with self._changed:
            death: EmbedgateError | None = self._death
            failure = death
            for item in items:
                try:
                    if death is None:
                        self._queue.push(item)
                        self._pacer.arrive(_flow(item), now_s)
                        self._active.note(_flow(item), now_s)
                        continue
                except CapacityExceeded as error:
                    failure = error
                refused.append(item)
            self._changed.notify()
        if failure is not None:
            self._fail(refused, failure)

    def withdraw(self, items: Sequence[QueuedItem]) -> None:
        """Take items back; those that are being computed are computed all the same."""
        with self._changed:
            for item in items:
                self._queue.cancel(item)

    def state(self) -> EngineState:
        """How fast it is and what it waits for."""
        now_s = self._clock_s()
        with self._changed:
            company, company_s = self._pacer.gathering(now_s)
            return EngineState(
                tokens_per_s=self._meter.tokens_per_s,
                available_per_s=self._meter.available_per_s(now_s),
                projects=self._queue.projects(),
                company=[(tier, project_id, items) for (tier, project_id), items in company.items()],
                company_s=company_s,
            )

    def _run(self) -> None:
        thread_id = threading.get_native_id()  # on Linux a priority is a thread's
        if self._bounds.niceness > os.getpriority(os.PRIO_PROCESS, thread_id):
            os.setpriority(os.PRIO_PROCESS, thread_id, self._bounds.niceness)
        while True:
            with self._changed:
                self._await_work()
                if self._stopping:
                    return
                now_s = self._clock_s()
                step, expired = self._take_step(now_s)
            self._fail(expired, DeadlineExceeded("The deadline passed in the model's queue; nothing was charged."))
            if step and not self._compute(step):
                return

    def _await_work(self) -> None:
        """Until a step should begin, or the thread end."""
        self._report.queue(self._queue)
        while not self._stopping:
            if not len(self._queue):
                self._report.queue(self._queue)  # the last ones may have been withdrawn
                self._pacer.nothing_waits()
                self._changed.wait()
            elif not self._is_step_full() and (wait_s := self._wait_s()) > 0:
                self._changed.wait(wait_s)
            else:
                return

    def _wait_s(self) -> float:
        """What one project asks for is put off for those who need the cores, of several for each other's sake."""
        now_s = self._clock_s()
        wait_s = self._pacer.wait_s(now_s)
        if not wait_s or self._idle_cores is None or self._asking(now_s) >= _SEVERAL:
            return wait_s
        return min(wait_s, self._idle_cores.look(now_s))

    def _asking(self, now_s: float) -> int:
        return max(sum(self._queue.projects()), self._active.count(now_s))

    def _is_step_full(self) -> bool:
        bounds = self._bounds
        return len(self._queue) >= bounds.max_step_items or self._queue.queued_tokens >= bounds.max_step_tokens

    def _take_step(self, now_s: float) -> tuple[list[QueuedItem], list[QueuedItem]]:
        """What to compute, and what came too late."""
        bounds = self._sizer.bounds(is_shared=self._asking(now_s) >= _SEVERAL, tokens_per_s=self._meter.tokens_per_s)
        step, expired = self._queue.take(
            max_items=self._bounds.max_step_items,
            max_tokens=bounds.max_tokens,
            light_tokens=bounds.light_tokens,
            worthwhile_tokens=bounds.worthwhile_tokens,
            now_s=now_s,
        )
        if step:
            flows = [_flow(item) for item in step]
            self._pacer.begin_step(flows, waits=self._queue.waits, waiting=self._queue.projects(), now_s=now_s)
        return step, expired

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
            tokens = self._note_success(step, began_s)
            self._tell(self._outcomes.computed, step, vectors)
            self._report.step(step, tokens=tokens, began_s=began_s, ended_s=self._clock_s())
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
        with self._changed:
            self._pacer.fail_step()
        self._report.failure(fault)
        logger.error("engine step of %d items failed (%s): %s", len(step), fault, error)
        return fault

    def _die(self, step: Sequence[QueuedItem], error: EmbedgateError) -> None:
        death = EngineError(error.message, fault=EngineFault.DEAD, retry_after_s=5)
        with self._changed:
            self._death = death
            left = self._queue.drain()
        self._fail([*step, *left], death)

    def _fail(self, items: Sequence[QueuedItem], error: EmbedgateError) -> None:
        if items:
            self._tell(self._outcomes.failed, items, error)

    def _tell(self, callback: Callable[..., None], *arguments: object) -> None:
        assert self._event_loop is not None, "start() comes first"
        try:
            self._event_loop.call_soon_threadsafe(callback, *arguments)
        except RuntimeError:
            logger.debug("the event loop ended before an outcome was told")

    def _note_success(self, step: Sequence[QueuedItem], began_s: float) -> int:
        """What gateways are told with the answers must be known before; returns the step's tokens."""
        self._step_began_s, now_s = None, self._clock_s()
        tokens: dict[Tier, int] = {}
        for item in step:
            tokens[item.tier] = tokens.get(item.tier, 0) + item.tokens
        with self._changed:
            self._pacer.end_step(began_s=began_s, ended_s=now_s)
            self._sizer.record(sum(tokens.values()), now_s - began_s)
            self._meter.record(tokens, busy_s=now_s - began_s, now_s=now_s)
        return sum(tokens.values())


def _flow(item: QueuedItem) -> Flow:
    return item.tier, item.flow
