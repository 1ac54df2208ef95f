"""A batch worker: looks after batches, and works on chunks of those that are open.

Chunks are taken in turn: of the project that has fewest under way here, then of its batch that was
served longest ago. The engine's own queue ranks them below everything else, and shares among
projects by their weight.
"""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence

from app.core import metric_names as names
from app.core.batch.refs import BatchRef, ChunkLease
from app.core.batch.state import Batch, Closing
from app.core.errors import DependencyDown, EmbedgateError
from app.core.ports import Metrics
from app.services.batches.chunk_work import ChunkWork
from app.services.batches.patience import end
from app.services.batches.ports import ChunkQueue
from app.services.batches.steward import Steward

logger = logging.getLogger("ray.serve.embedgate")

_PERIOD_S = 0.5
_SHORTEST_PERIOD_S = 0.05
_BEAT_S = 5.0
STALE_MS = 20_000
"""A worker that is silent for so long about a chunk is taken for dead."""

_REST_S = 5.0
_FORGET_EVERY = 120


class BatchWorker:
    """Runs until it is closed.

    Args:
        steward: looks after batches.
        queue: of chunks.
        work: on one chunk.
        beside: loops that run with it.
        metrics: where open batches are shown.
        owner: this worker.
        models: how many it serves.
        chunks_at_once: as many are under way for each model, so that none waits for another's replicas.
        changed: set when the next look would see something new.
        clock_s: monotonic clock.
    """

    def __init__(
        self,
        *,
        steward: Steward,
        queue: ChunkQueue,
        work: ChunkWork,
        beside: Sequence[Callable[[], Coroutine[None, None, None]]],
        metrics: Metrics,
        owner: str,
        models: int,
        chunks_at_once: int,
        changed: asyncio.Event,
        clock_s: Callable[[], float],
    ) -> None:
        self._steward = steward
        self._queue = queue
        self._work = work
        self._beside = beside
        self._metrics = metrics
        self._owner = owner
        self._models = models
        self._chunks_at_once = chunks_at_once
        self._clock_s = clock_s
        self._known: dict[BatchRef, Batch] = {}
        self._busy: Counter[BatchRef] = Counter()
        self._served: dict[BatchRef, int] = {}
        self._resting_until_s: dict[BatchRef, float] = {}
        self._turns = 0
        self._leases: set[ChunkLease] = set()
        self._news = asyncio.Event()
        self._changed = changed
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin, on the running loop."""
        loop = asyncio.get_running_loop()
        loops = [self._look_forever, self._beat_forever, *self._beside]
        self._tasks = [loop.create_task(run()) for run in loops]
        self._tasks += [loop.create_task(self._work_forever()) for _ in range(self._models * self._chunks_at_once)]

    @property
    def is_alive(self) -> bool:
        """Whether nothing of it ended by itself."""
        return not any(task.done() for task in self._tasks)

    async def close(self) -> None:
        """Stop; what is under way is handed back, and its holds stay for whoever goes on with it."""
        await end(self._tasks)
        await self._steward.close()

    async def _look_forever(self) -> None:
        rounds = 0
        while True:
            try:
                self._known = await self._steward.look_at_all()
                self._forget_ended()
                self._metrics.set(names.OPEN_BATCHES, len(self._known))
                self._news.set()
                if rounds % _FORGET_EVERY == 0:
                    await self._steward.forget_due()
                rounds += 1
            except DependencyDown as error:
                logger.warning("batches wait: %s", error.__cause__ or error)
            except Exception:
                logger.exception("looking after batches failed; it goes on with the next round")
            await asyncio.sleep(_SHORTEST_PERIOD_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PERIOD_S):
                    await self._changed.wait()
            self._changed.clear()

    def _forget_ended(self) -> None:
        self._served = {ref: turn for ref, turn in self._served.items() if ref in self._known}
        self._resting_until_s = {ref: s for ref, s in self._resting_until_s.items() if ref in self._known}

    async def _beat_forever(self) -> None:
        while True:
            await asyncio.sleep(_BEAT_S)
            for lease in list(self._leases):
                try:
                    await self._queue.keep(lease, owner=self._owner)
                except DependencyDown as error:
                    logger.warning("chunk leases are not kept: %s", error.__cause__ or error)
                    break

    async def _work_forever(self) -> None:
        while True:
            try:
                lease = await self._next()
            except DependencyDown:
                lease = None
            except Exception:
                logger.exception("looking for a chunk failed; it goes on with the next round")
                lease = None
            if lease is None:
                self._news.clear()
                await self._news.wait()
                continue
            await self._work_on(lease)

    async def _next(self) -> ChunkLease | None:
        """A chunk of the batch whose turn it is."""
        for ref, batch in sorted(self._known.items(), key=lambda item: self._rank(item[0])):
            if not self._may_work_on(ref, batch):
                continue
            self._turns += 1
            self._served[ref] = self._turns
            self._busy[ref] += 1
            lease = None
            try:
                lease = await self._queue.lease(ref, owner=self._owner, stale_ms=STALE_MS)
            finally:
                if lease is None:
                    self._is_idle(ref)
            if lease is not None:
                return lease
        return None

    def _may_work_on(self, ref: BatchRef, batch: Batch) -> bool:
        """Chunks of a closed batch are taken out of the queue too, however little is done for them."""
        if not batch.chunks or batch.is_sealed or self._clock_s() < self._resting_until_s.get(ref, 0.0):
            return False
        of_model = sum(n for other, n in self._busy.items() if self._model_of(other) == batch.model)
        return of_model < self._chunks_at_once

    def _model_of(self, ref: BatchRef) -> str | None:
        batch = self._known.get(ref)
        return batch.model if batch is not None else None

    def _rank(self, ref: BatchRef) -> tuple[int, int]:
        of_project = sum(count for other, count in self._busy.items() if other.project_id == ref.project_id)
        return of_project, self._served.get(ref, 0)

    async def _work_on(self, lease: ChunkLease) -> None:
        self._leases.add(lease)
        try:
            await self._work.run(lease, lambda: self._cut(lease.ref))
            await self._queue.done(lease, owner=self._owner)
            self._changed.set()
        except asyncio.CancelledError:
            await asyncio.shield(self._hand_back(lease))
            raise
        except EmbedgateError as error:
            logger.warning("chunk %d of %s waits: %s", lease.chunk, lease.ref.batch_id, error.__cause__ or error)
            await self._rest(lease)
        except Exception:
            logger.exception("chunk %d of %s failed; it is tried again", lease.chunk, lease.ref.batch_id)
            await self._rest(lease)
        finally:
            self._leases.discard(lease)
            self._is_idle(lease.ref)

    def _is_idle(self, ref: BatchRef) -> None:
        """One chunk of it less is under way."""
        self._busy[ref] -= 1
        if not self._busy[ref]:
            del self._busy[ref]

    async def _rest(self, lease: ChunkLease) -> None:
        """Leave the batch alone for a while: what stopped this chunk is likely to stop its others."""
        self._resting_until_s[lease.ref] = self._clock_s() + _REST_S
        await self._hand_back(lease)

    def _cut(self, ref: BatchRef) -> Closing | None:
        batch = self._known.get(ref)
        return batch.closing if batch is not None and batch.closing in ("cancelled", "expired") else None

    async def _hand_back(self, lease: ChunkLease) -> None:
        try:
            await self._queue.give_back(lease, owner=self._owner)
        except DependencyDown as error:
            logger.warning("chunk %d of %s goes stale: %s", lease.chunk, lease.ref.batch_id, error.__cause__ or error)
