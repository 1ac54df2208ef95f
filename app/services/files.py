"""Files of a project: their records in the store, their content on the object store.

Content is written first, under an id that was announced, and shown when its record is there; a
record goes first, then the content. So whoever sees a file can read it, and what a crash leaves on
the object store is found by its announcement and deleted.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from app.core.directory import ID_BYTES
from app.core.errors import (
    CapacityExceeded,
    DeadlineExceeded,
    DependencyDown,
    EmbedgateError,
    InvalidRequest,
    RouteNotFound,
)
from app.core.files import FileBounds, FileRecord
from app.core.timed_id import FILE_IDS
from app.services.file_ports import FileContents, FileRecords
from app.services.receipt import Receipt

logger = logging.getLogger("ray.serve.embedgate")

_UPLOAD_TAKES_S = 3600
"""At most; what is left of one is looked for after twice as long."""

_MAX_AT_ONCE = 32
_MAX_OF_A_PROJECT = 8
"""Uploads at a time in one gateway: each takes up to 30 MB of memory where the store is a bucket."""

_PAGE = 500
_MOST_LISTED = 1000
_LATER_MS = 600_000
_DUE_AT_ONCE = 100


class FileService:
    """Use cases behind ``/v1/files``.

    Args:
        records: who has which file.
        contents: what is in them.
        bounds: of each project.
        random_bytes: source of ids.
        wall_s: Unix time.
    """

    def __init__(
        self,
        records: FileRecords,
        contents: FileContents,
        *,
        bounds: FileBounds,
        random_bytes: Callable[[int], bytes],
        wall_s: Callable[[], float],
    ) -> None:
        self._records = records
        self._contents = contents
        self._bounds = bounds
        self._random_bytes = random_bytes
        self._wall_s = wall_s
        self._receiving_now: Counter[str] = Counter()

    @asynccontextmanager
    async def receive(self, project_id: str) -> AsyncIterator[Receipt]:
        """Receive a file; nothing of it is left when the block ends without :meth:`Receipt.keep`.

        Raises:
            InvalidRequest: the project keeps too much already.
            CapacityExceeded: too many are being received.
            DeadlineExceeded: it took too long.
        """
        async with self.place(project_id), self._receiving(project_id) as receipt:
            yield receipt

    @asynccontextmanager
    async def place(self, project_id: str) -> AsyncIterator[None]:
        """A place among what is being received, which costs memory and room that is not counted yet.

        Raises:
            InvalidRequest: the project keeps too much already.
            CapacityExceeded: too much is being received.
            DeadlineExceeded: it took too long.
        """
        await self._records.check_room(project_id, self._bounds)
        with self._counted(project_id):
            try:
                async with asyncio.timeout(_UPLOAD_TAKES_S):
                    yield
            except TimeoutError:
                raise DeadlineExceeded("The upload took too long; nothing of it was kept. Try again.") from None

    @contextmanager
    def _counted(self, project_id: str) -> Iterator[None]:
        if self._receiving_now.total() >= _MAX_AT_ONCE or self._receiving_now[project_id] >= _MAX_OF_A_PROJECT:
            raise CapacityExceeded(
                "Too many files are being uploaded; try again when Retry-After says.", retry_after_s=5
            )
        self._receiving_now[project_id] += 1
        try:
            yield
        finally:
            self._receiving_now[project_id] -= 1
            if not self._receiving_now[project_id]:
                del self._receiving_now[project_id]

    @asynccontextmanager
    async def _receiving(self, project_id: str) -> AsyncIterator[Receipt]:
        now_ms = self._now_ms()
        file_id = FILE_IDS.new(now_ms=now_ms, random=self._random_bytes(ID_BYTES))
        await self._records.announce(project_id, file_id, until_ms=now_ms + 2000 * _UPLOAD_TAKES_S)
        receipt = None
        try:
            async with self._contents.writing(project_id, file_id) as writer:
                receipt = Receipt(
                    project_id, file_id, now_ms, writer=writer, records=self._records, bounds=self._bounds
                )
                yield receipt
        finally:
            if receipt is None or receipt.record is None:
                await asyncio.shield(self._undo(project_id, file_id))

    async def list_page(
        self, project_id: str, *, after: str | None, limit: int, newest_first: bool, purpose: str | None
    ) -> tuple[list[FileRecord], bool]:
        """A page of files that have not expired, 1,000 at most, and whether there are more."""
        if after is not None and not FILE_IDS.could_be(after):
            raise InvalidRequest("'after' must be a file's id.", param="after")
        limit = min(limit, _MOST_LISTED)
        found: list[FileRecord] = []
        while len(found) <= limit:
            page = await self._records.page(project_id, after=after, limit=_PAGE, newest_first=newest_first)
            if not page:
                break
            after = page[-1].file_id
            found += [record for record in page if self._is_there(record) and purpose in (None, record.purpose)]
        return found[:limit], len(found) > limit

    async def get(self, project_id: str, file_id: str) -> FileRecord:
        """A file's record; raises ``RouteNotFound``."""
        record = await self._records.get(project_id, file_id) if FILE_IDS.could_be(file_id) else None
        if record is None or not self._is_there(record):
            raise _no_such(file_id)
        return record

    def content(self, project_id: str, record: FileRecord, *, start: int, end: int) -> AsyncIterator[bytes]:
        """Bytes of a file from ``start`` up to ``end``."""
        return self._contents.read(project_id, record.file_id, start=start, end=end)

    async def delete(self, project_id: str, file_id: str) -> None:
        """Delete a file; raises ``RouteNotFound``."""
        await self.get(project_id, file_id)
        await self._records.announce(project_id, file_id, until_ms=self._now_ms())
        if not await self._records.delete(project_id, file_id):
            raise _no_such(file_id)
        try:
            await self._contents.delete(project_id, file_id)
            await self._records.gone(project_id, file_id)
        except DependencyDown as error:
            logger.warning("content of %s is left for later: %s", file_id, error.__cause__ or error)

    async def forget_due(self) -> bool:
        """Delete some of what has expired and of what was never whole.

        Returns:
            Whether there may be more.
        """
        due = await self._records.due(now_ms=self._now_ms(), limit=_DUE_AT_ONCE)
        for project_id, file_id in due:
            try:
                await self._forget(project_id, file_id)
            except DependencyDown as error:
                logger.warning("%s is left for later: %s", file_id, error.__cause__ or error)
                await self._records.announce(project_id, file_id, until_ms=self._now_ms() + _LATER_MS)
        return len(due) == _DUE_AT_ONCE

    async def _forget(self, project_id: str, file_id: str) -> None:
        record = await self._records.get(project_id, file_id)
        if record is not None and self._is_there(record):
            await self._records.announce(project_id, file_id, until_ms=record.expires_at_ms)
            return
        await self._records.delete(project_id, file_id)
        await self._contents.delete(project_id, file_id)
        await self._records.gone(project_id, file_id)

    async def _undo(self, project_id: str, file_id: str) -> None:
        """Of a file that was not kept, as far as is known: its record may be there, its content be about to come.

        So its announcement stays, and whatever appears later is found by it.
        """
        try:
            await self._records.delete(project_id, file_id)
            await self._contents.delete(project_id, file_id)
        except DependencyDown as error:
            logger.warning("what came of %s is left for later: %s", file_id, error.__cause__ or error)

    def _is_there(self, record: FileRecord) -> bool:
        return record.expires_at_ms > self._now_ms()

    def _now_ms(self) -> int:
        return int(self._wall_s() * 1000)


def _no_such(file_id: str) -> EmbedgateError:
    shown = file_id if FILE_IDS.could_be(file_id) else "of that id"
    return RouteNotFound(f"No such File object: {shown}", param="id")
