"""Use cases behind ``/v1/batches``."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from app.core.batch.state import Batch, Closed, check_cancel
from app.core.directory import ID_BYTES
from app.core.errors import DependencyDown, InvalidRequest, RouteNotFound
from app.core.files import LIFE_S
from app.core.timed_id import BATCH_IDS
from app.services.batches.patience import until_answered
from app.services.batches.ports import Batches

WINDOW_MS = 24 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """What a batch is asked for with, checked for its form."""

    endpoint: str
    input_file_id: str
    metadata: Mapping[str, str]
    output_life_s: int = LIFE_S


class BatchService:
    """Creates, shows and cancels batches; workers do the rest.

    Args:
        batches: of all projects.
        max_open: batches of a project that have not ended.
        max_kept: batches of a project, ended ones included.
        random_bytes: source of ids.
        wall_s: Unix time.
    """

    def __init__(
        self,
        batches: Batches,
        *,
        max_open: int,
        max_kept: int,
        random_bytes: Callable[[int], bytes],
        wall_s: Callable[[], float],
    ) -> None:
        self._batches = batches
        self._max_open = max_open
        self._max_kept = max_kept
        self._undoing: set[asyncio.Task[None]] = set()
        self._random_bytes = random_bytes
        self._wall_s = wall_s

    async def create(self, project_id: str, key_id: str, request: BatchRequest) -> Batch:
        """Ask for a batch; its input is looked at by a worker.

        Raises:
            CapacityExceeded: the project has too many batches.
            DependencyDown: the store did not answer; the batch is cancelled if it was made.
        """
        now_ms = self._now_ms()
        batch = Batch(
            batch_id=BATCH_IDS.new(now_ms=now_ms, random=self._random_bytes(ID_BYTES)),
            key_id=key_id,
            endpoint=request.endpoint,
            input_file_id=request.input_file_id,
            created_at_ms=now_ms,
            expires_at_ms=now_ms + WINDOW_MS,
            output_life_s=request.output_life_s,
            metadata=request.metadata,
        )
        try:
            await self._batches.create(project_id, batch, max_open=self._max_open, max_kept=self._max_kept)
        except (DependencyDown, asyncio.CancelledError):
            self._undo(project_id, batch.batch_id)
            raise
        return batch

    def _undo(self, project_id: str, batch_id: str) -> None:
        """Cancel a batch whose maker was not told of it, if it was made: whoever asks again gets another."""

        async def cancel() -> None:
            closed = Closed(self._now_ms(), "cancelled")
            with contextlib.suppress(DependencyDown):
                await until_answered(lambda: self._batches.say(project_id, batch_id, closed))

        task = asyncio.get_running_loop().create_task(cancel())
        self._undoing.add(task)
        task.add_done_callback(self._undoing.discard)

    async def get(self, project_id: str, batch_id: str) -> Batch:
        """A batch; raises ``RouteNotFound``."""
        batch = await self._batches.get(project_id, batch_id) if BATCH_IDS.could_be(batch_id) else None
        if batch is None:
            raise _no_such(batch_id)
        return batch

    async def list_page(self, project_id: str, *, after: str | None, limit: int) -> tuple[list[Batch], bool]:
        """A page, newest first, and whether there are more."""
        if after is not None and not BATCH_IDS.could_be(after):
            raise InvalidRequest("'after' must be a batch's id.", param="after")
        found = await self._batches.page(project_id, after=after, limit=limit + 1)
        return found[:limit], len(found) > limit

    async def cancel(self, project_id: str, batch_id: str) -> Batch:
        """Hand out no more of its work; what is done is kept.

        Raises:
            RouteNotFound: there is no such batch.
            Conflict: it is too late.
        """
        check_cancel(await self.get(project_id, batch_id))
        after = await self._batches.say(project_id, batch_id, Closed(self._now_ms(), "cancelled"))
        if after is None:
            raise _no_such(batch_id)
        check_cancel(after)
        return after

    def _now_ms(self) -> int:
        return int(self._wall_s() * 1000)


def _no_such(batch_id: str) -> RouteNotFound:
    return RouteNotFound(
        f"No such Batch object: {batch_id if BATCH_IDS.could_be(batch_id) else 'of that id'}", param="id"
    )
