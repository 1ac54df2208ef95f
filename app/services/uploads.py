"""Uploads in parts: each part is whole or not there, and the file appears when all are named in order."""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Protocol

from app.core.directory import ID_BYTES
from app.core.errors import Conflict, DependencyDown, InvalidRequest, RequestTooLarge, RouteNotFound
from app.core.files import FileRecord, FileTerms, Purpose
from app.core.timed_id import PART_IDS, UPLOAD_IDS
from app.core.uploads import (
    LIFE_MS,
    MAX_PART_BYTES,
    MAX_PARTS,
    Part,
    Upload,
    choose_parts,
)
from app.services.file_ports import ContentWriter
from app.services.files import FileService

logger = logging.getLogger("ray.serve.embedgate")

_MAX_UPLOADS = 50
"""Of a project, those that ended in the last two hours included."""

_KEPT_MS = 2 * LIFE_MS
_DUE_AT_ONCE = 100


class Uploads(Protocol):
    """Uploads and their parts; see ``app.stores.redis_uploads``. Every method may raise ``DependencyDown``."""

    async def create(self, project_id: str, upload: Upload, *, until_ms: int, max_uploads: int) -> None:
        """Store a new upload; raises ``CapacityExceeded`` when the project has too many."""

    async def get(self, project_id: str, upload_id: str) -> Upload | None:
        """An upload; None when there is none."""

    async def replace(self, project_id: str, old: Upload, new: Upload) -> bool:
        """Put an upload into its next state; False when somebody else was first."""

    async def add_part(self, project_id: str, upload_id: str, part: Part) -> None:
        """Note a part, whose content is there."""

    async def parts(self, project_id: str, upload_id: str) -> Mapping[str, Part]:
        """All parts by id."""

    async def due(self, *, now_ms: int, limit: int) -> Sequence[tuple[str, str]]:
        """Project and upload ids of which nothing need be kept."""

    async def forget(self, project_id: str, upload_id: str) -> None:
        """Take an upload and its parts away."""


class PartContents(Protocol):
    """Content of parts. Every method may raise ``DependencyDown``."""

    def writing(self, project_id: str, upload_id: str, part_id: str) -> AbstractAsyncContextManager[ContentWriter]:
        """Write a part piece by piece."""

    def read(self, project_id: str, upload_id: str, part_id: str, *, size_bytes: int) -> AsyncIterator[bytes]:
        """A part, piece by piece."""

    async def delete_all(self, project_id: str, upload_id: str) -> None:
        """Delete all parts of an upload."""


class PartReceipt:
    """A part on its way in.

    Args:
        writer: where its content goes.
        max_bytes: that it may have.
    """

    def __init__(self, writer: ContentWriter, *, max_bytes: int) -> None:
        self._writer = writer
        self._max_bytes = max_bytes
        self.size_bytes = 0

    async def write(self, piece: bytes) -> None:
        """Take the next piece; raises ``RequestTooLarge``."""
        self.size_bytes += len(piece)
        if self.size_bytes > self._max_bytes:
            raise RequestTooLarge(f"This part may have {self._max_bytes} bytes at most.")
        await self._writer.write(piece)


class UploadService:
    """Use cases behind ``/v1/uploads``.

    Args:
        uploads: of all projects.
        contents: of their parts.
        files: what they become.
        max_bytes: of one upload.
        random_bytes: source of ids.
        wall_s: Unix time.
    """

    def __init__(
        self,
        uploads: Uploads,
        contents: PartContents,
        files: FileService,
        *,
        max_bytes: int,
        random_bytes: Callable[[int], bytes],
        wall_s: Callable[[], float],
    ) -> None:
        self._uploads = uploads
        self._contents = contents
        self._files = files
        self._max_bytes = max_bytes
        self._random_bytes = random_bytes
        self._wall_s = wall_s

    async def create(self, project_id: str, terms: FileTerms, *, size_bytes: int, mime_type: str) -> Upload:
        """Announce a file.

        Raises:
            RequestTooLarge: it is over the bound of a file.
            CapacityExceeded: the project has too many uploads.
        """
        if size_bytes > self._max_bytes:
            raise RequestTooLarge(f"A file may have {self._max_bytes} bytes.")
        now_ms = self._now_ms()
        upload = Upload(
            upload_id=UPLOAD_IDS.new(now_ms=now_ms, random=self._random_bytes(ID_BYTES)),
            filename=terms.filename,
            purpose=terms.purpose.value,
            mime_type=mime_type,
            size_bytes=size_bytes,
            life_s=terms.life_s,
            created_at_ms=now_ms,
        )
        await self._uploads.create(project_id, upload, until_ms=now_ms + _KEPT_MS, max_uploads=_MAX_UPLOADS)
        return upload

    async def get(self, project_id: str, upload_id: str) -> Upload:
        """An upload; raises ``RouteNotFound``."""
        found = await self._uploads.get(project_id, upload_id) if UPLOAD_IDS.could_be(upload_id) else None
        if found is None:
            raise RouteNotFound("No such Upload object.", param="id")
        return replace(found, status=found.status_at(self._now_ms()))

    @asynccontextmanager
    async def receive_part(self, project_id: str, upload_id: str) -> AsyncIterator[tuple[Part, PartReceipt]]:
        """Receive a part; it is there when the block ends without an error.

        Raises:
            RouteNotFound, Conflict: there is no such upload, or it takes no more parts.
            InvalidRequest: it has as many bytes as were announced.
            CapacityExceeded: too much is being received.
        """
        upload = await self._pending(project_id, upload_id)
        known = await self._uploads.parts(project_id, upload_id)
        room_bytes = upload.size_bytes - sum(part.size_bytes for part in known.values())
        if room_bytes <= 0 or len(known) >= MAX_PARTS:
            raise InvalidRequest("The upload has all its bytes already; complete it, or cancel it and begin anew.")
        now_ms = self._now_ms()
        part = Part(PART_IDS.new(now_ms=now_ms, random=self._random_bytes(ID_BYTES)), 0, now_ms)
        async with self._files.place(project_id):
            async with self._contents.writing(project_id, upload_id, part.part_id) as writer:
                receipt = PartReceipt(writer, max_bytes=min(MAX_PART_BYTES, room_bytes))
                yield part, receipt
                if not receipt.size_bytes:
                    raise InvalidRequest("The part is empty.", param="data")
                await writer.finish()
            try:
                await self._pending(project_id, upload_id)
            except (Conflict, RouteNotFound):
                await self._tidy(project_id, upload_id)
                raise
            await self._uploads.add_part(project_id, upload_id, replace(part, size_bytes=receipt.size_bytes))

    async def complete(
        self, project_id: str, upload_id: str, part_ids: Sequence[str], *, md5: str | None
    ) -> tuple[Upload, FileRecord]:
        """Make the file; asked again, it is the same one.

        Raises:
            RouteNotFound, Conflict, InvalidRequest: as named.
        """
        upload = await self.get(project_id, upload_id)
        if upload.status == "completed" and upload.file_id is not None:
            return upload, await self._files.get(project_id, upload.file_id)
        upload = await self._pending(project_id, upload_id)
        parts = choose_parts(upload, await self._uploads.parts(project_id, upload_id), part_ids)
        digest = hashlib.md5(usedforsecurity=False)
        async with self._files.receive(project_id) as receipt:
            for part in parts:
                content = self._contents.read(project_id, upload_id, part.part_id, size_bytes=part.size_bytes)
                async for piece in content:
                    await asyncio.to_thread(digest.update, piece)
                    await receipt.write(piece)
            if md5 is not None and digest.hexdigest() != md5.lower():
                raise InvalidRequest("'md5' is not that of the parts.", param="md5")
            record = await receipt.keep(FileTerms(Purpose(upload.purpose), upload.filename, upload.life_s))
        completed = replace(upload, status="completed", file_id=record.file_id)
        if not await self._uploads.replace(project_id, upload, completed):
            found = await self.get(project_id, upload_id)
            if found.file_id != record.file_id:
                await self._files.delete(project_id, record.file_id)
            if found.file_id is None:
                raise Conflict("The upload was cancelled at the same time.")
            return found, await self._files.get(project_id, found.file_id)
        await self._tidy(project_id, upload_id)
        return completed, record

    async def cancel(self, project_id: str, upload_id: str) -> Upload:
        """Give it up; raises ``RouteNotFound`` or ``Conflict``."""
        upload = await self._pending(project_id, upload_id)
        cancelled = replace(upload, status="cancelled")
        if not await self._uploads.replace(project_id, upload, cancelled):
            raise Conflict("The upload was completed or cancelled at the same time.")
        await self._tidy(project_id, upload_id)
        return cancelled

    async def forget_due(self) -> bool:
        """Delete what is left of some old uploads; whether there may be more."""
        due = await self._uploads.due(now_ms=self._now_ms(), limit=_DUE_AT_ONCE)
        left = 0
        for project_id, upload_id in due:
            try:
                await self._contents.delete_all(project_id, upload_id)
                await self._uploads.forget(project_id, upload_id)
            except DependencyDown as error:
                left += 1
                logger.warning("%s is left for later: %s", upload_id, error.__cause__ or error)
        return len(due) == _DUE_AT_ONCE and not left

    async def _pending(self, project_id: str, upload_id: str) -> Upload:
        upload = await self.get(project_id, upload_id)
        if upload.status != "pending":
            raise Conflict(f"This upload is {upload.status}.")
        return upload

    async def _tidy(self, project_id: str, upload_id: str) -> None:
        try:
            await self._contents.delete_all(project_id, upload_id)
        except DependencyDown as error:
            logger.warning("parts of %s are left for later: %s", upload_id, error.__cause__ or error)

    def _now_ms(self) -> int:
        return int(self._wall_s() * 1000)
