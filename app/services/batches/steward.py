"""What a batch needs besides its chunks: validation, its clock, its seal, its files, its end.

Every worker looks at every open batch about twice a second. What takes long is done by the one that
has the batch's lease; like all else here it may be done twice, and nothing depends on the lease.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from app.core.batch.refs import BatchRef
from app.core.batch.state import Batch, BatchStatus, Closed, Event, Finalizing
from app.core.directory import ProjectView
from app.core.errors import DependencyDown, EmbedgateError
from app.services.batches.intake import Intake
from app.services.batches.merge import Merge
from app.services.batches.patience import end
from app.services.batches.ports import Batches, BatchObjects, ChunkQueue

logger = logging.getLogger("ray.serve.embedgate")

LEASE_MS = 15_000
_NEVER_MADE_MS = 60_000
_KEPT_MS = 30 * 86_400_000
"""How long an ended batch can be retrieved; its files go at about the same time."""

_AT_ONCE = 2


class Steward:
    """Leads batches from one status to the next.

    Args:
        batches: their states.
        queue: their chunks.
        objects: what is kept of them while they run.
        intake: validates.
        merge: makes files.
        read_view: a project as it is now.
        on_end: told of each batch that ended, at least once.
        changed: set when something that takes long was done.
        owner: this worker.
        wall_s: Unix time.
    """

    def __init__(
        self,
        *,
        batches: Batches,
        queue: ChunkQueue,
        objects: BatchObjects,
        intake: Intake,
        merge: Merge,
        read_view: Callable[[str], Awaitable[ProjectView | None]],
        on_end: Callable[[BatchRef, Batch], Awaitable[None]],
        changed: asyncio.Event,
        owner: str,
        wall_s: Callable[[], float],
    ) -> None:
        self._batches = batches
        self._queue = queue
        self._objects = objects
        self._intake = intake
        self._merge = merge
        self._read_view = read_view
        self._on_end = on_end
        self._changed = changed
        self._owner = owner
        self._wall_s = wall_s
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._long: dict[BatchRef, asyncio.Task[None]] = {}

    async def look_at_all(self) -> dict[BatchRef, Batch]:
        """Lead every open batch one step on; the batches as they were found."""
        found: dict[BatchRef, Batch] = {}
        for ref, since_ms in await self._batches.active():
            batch = await self._batches.get(ref.project_id, ref.batch_id)
            if batch is not None:
                found[ref] = batch
                try:
                    await self._lead(ref, batch)
                except EmbedgateError as error:
                    logger.warning("%s waits: %s", ref.batch_id, error.__cause__ or error)
                except Exception:
                    logger.exception("%s does not get on; it is tried again", ref.batch_id)
            elif self._now_ms() - since_ms > _NEVER_MADE_MS:
                await self._batches.forget(ref)
        return found

    async def forget_due(self) -> None:
        """Forget some batches that ended long ago, with what a worker may have written after their end."""
        for ref in await self._batches.due(now_ms=self._now_ms(), limit=100):
            await self._queue.drop(ref)
            await self._objects.delete_all(ref)
            await self._batches.forget(ref)

    async def close(self) -> None:
        """Stop what is under way; another goes on with it."""
        await end(list(self._long.values()))

    async def _lead(self, ref: BatchRef, batch: Batch) -> None:
        now_ms = self._now_ms()
        is_late = now_ms >= batch.expires_at_ms and batch.closing is None and not batch.is_sealed
        if batch.has_ended:
            self._do_long(ref, lambda: self._see_off(ref, batch))
        elif is_late:
            await self._say(ref, Closed(now_ms, "expired"))
        elif batch.is_sealed:
            self._do_long(ref, lambda: self._finish(ref))
        elif batch.status is BatchStatus.VALIDATING and batch.closing is None:
            self._do_long(ref, lambda: self._validate(ref))
        elif batch.is_worked_off or (batch.closing and await self._queue.is_empty(ref)):
            await self._say(ref, Finalizing(now_ms))
        elif batch.takes_work:
            await self._queue.feed(ref, sorted(set(range(batch.chunks)) - batch.done_chunks))

    async def _validate(self, ref: BatchRef) -> None:
        batch = await self._batches.get(ref.project_id, ref.batch_id)
        view = await self._read_view(ref.project_id)
        if batch is None or view is None or batch.status is not BatchStatus.VALIDATING:
            return
        if view.project.status == "disabled":
            return
        after = await self._say(ref, await self._intake.look_at(ref, batch, view))
        if after is None or after.has_ended:  # cancelled meanwhile, and seen off before its last chunk was copied
            await self._objects.delete_all(ref)

    async def _finish(self, ref: BatchRef) -> None:
        batch = await self._batches.get(ref.project_id, ref.batch_id)
        if batch is not None and batch.is_sealed and not batch.has_ended:
            await self._say(ref, await self._merge.run(ref, batch))

    async def _see_off(self, ref: BatchRef, batch: Batch) -> None:
        """Tidy, tell, and then look at it no more."""
        await self._queue.drop(ref)
        await self._objects.delete_all(ref)
        await self._on_end(ref, batch)
        await self._batches.rest(ref, until_ms=self._now_ms() + _KEPT_MS)

    async def _say(self, ref: BatchRef, event: Event) -> Batch | None:
        return await self._batches.say(ref.project_id, ref.batch_id, event)

    def _do_long(self, ref: BatchRef, work: Callable[[], Awaitable[None]]) -> None:
        if ref not in self._long:
            task = asyncio.get_running_loop().create_task(self._under_lease(ref, work))
            self._long[ref] = task
            task.add_done_callback(lambda _: self._long.pop(ref, None))

    async def _under_lease(self, ref: BatchRef, work: Callable[[], Awaitable[None]]) -> None:
        async with self._places:
            try:
                if not await self._batches.take_lease(ref, self._owner, lasts_ms=LEASE_MS):
                    return
                beat = asyncio.get_running_loop().create_task(self._keep_lease(ref))
                try:
                    await work()
                    self._changed.set()
                finally:
                    await end([beat])
                    await self._batches.leave_lease(ref, self._owner)
            except DependencyDown as error:
                logger.warning("%s waits: %s", ref.batch_id, error.__cause__ or error)
            except Exception:
                logger.exception("%s does not get on; it is tried again", ref.batch_id)

    async def _keep_lease(self, ref: BatchRef) -> None:
        while True:
            await asyncio.sleep(LEASE_MS / 3000)
            try:
                await self._batches.take_lease(ref, self._owner, lasts_ms=LEASE_MS)
            except EmbedgateError as error:
                logger.warning("the lease of %s is not kept: %s", ref.batch_id, error)

    def _now_ms(self) -> int:
        return int(self._wall_s() * 1000)
