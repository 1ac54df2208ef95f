"""What files need of the stores: records, and content."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from app.core.files import FileBounds, FileRecord


class FileRecords(Protocol):
    """Records of files. Every method may raise ``DependencyDown``; see ``app.stores.redis_files``."""

    async def announce(self, project_id: str, file_id: str, *, until_ms: int) -> None:
        """Say that something of a file will lie on the object store."""

    async def check_room(self, project_id: str, bounds: FileBounds) -> None:
        """Raises ``InvalidRequest`` when the project keeps as much as it may."""

    async def create(self, project_id: str, record: FileRecord, bounds: FileBounds) -> None:
        """Store a record; raises ``InvalidRequest`` when the project keeps too much."""

    async def get(self, project_id: str, file_id: str) -> FileRecord | None:
        """A record; None when there is none."""

    async def page(self, project_id: str, *, after: str | None, limit: int, newest_first: bool) -> list[FileRecord]:
        """Records in order, from the one behind ``after``."""

    async def delete(self, project_id: str, file_id: str) -> bool:
        """Take a record away; False when there was none."""

    async def due(self, *, now_ms: int, limit: int) -> Sequence[tuple[str, str]]:
        """Project and file ids whose time has come."""

    async def gone(self, project_id: str, file_id: str) -> None:
        """Nothing of a file is left on the object store."""


class ContentWriter(Protocol):
    """Content that is being written. Every method may raise ``DependencyDown``."""

    async def write(self, piece: bytes) -> None:
        """Append."""

    async def finish(self) -> None:
        """Make it be there."""


class FileContents(Protocol):
    """Content of files. Every method may raise ``DependencyDown``."""

    def writing(self, project_id: str, file_id: str) -> AbstractAsyncContextManager[ContentWriter]:
        """Write content piece by piece."""

    def read(self, project_id: str, file_id: str, *, start: int, end: int) -> AsyncIterator[bytes]:
        """Content from ``start`` up to ``end``, piece by piece."""

    async def delete(self, project_id: str, file_id: str) -> None:
        """Delete content; none is no error."""
