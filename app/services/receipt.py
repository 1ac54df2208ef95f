"""One file that is being received: looked at while it comes, and kept when it is whole."""

from app.core.errors import InvalidRequest, RequestTooLarge
from app.core.files import FileBounds, FileRecord, FileTerms, Utf8Check
from app.services.file_ports import ContentWriter, FileRecords


class Receipt:
    """A file on its way in.

    Args:
        project_id: whose it is.
        file_id: announced, and nobody else's.
        created_at_ms: Unix time.
        writer: where its content goes.
        records: where its record goes in the end.
        bounds: of the project.

    Attributes:
        record: None until the file is kept.
    """

    def __init__(
        self,
        project_id: str,
        file_id: str,
        created_at_ms: int,
        *,
        writer: ContentWriter,
        records: FileRecords,
        bounds: FileBounds,
    ) -> None:
        self._project_id = project_id
        self._file_id = file_id
        self._created_at_ms = created_at_ms
        self._writer = writer
        self._records = records
        self._bounds = bounds
        self._utf8 = Utf8Check()
        self._size_bytes = 0
        self.record: FileRecord | None = None

    async def write(self, piece: bytes) -> None:
        """Take the next piece.

        Raises:
            RequestTooLarge: the file is over its bound.
            DependencyDown: the object store does not take it.
        """
        self._size_bytes += len(piece)
        if self._size_bytes > self._bounds.max_file_bytes:
            raise RequestTooLarge(f"The file is larger than {self._bounds.max_file_bytes} bytes.")
        self._utf8.feed(piece)
        await self._writer.write(piece)

    async def keep(self, terms: FileTerms) -> FileRecord:
        """Make the file be there.

        Raises:
            InvalidRequest: it is no text, or the project keeps too much already.
            DependencyDown: whether it is there is unknown.
        """
        self._utf8.feed(b"", last=True)
        if not self._utf8.is_valid:
            raise InvalidRequest("Invalid file for Batch API. Must be utf-8 encoded", param="file")
        await self._writer.finish()
        record = FileRecord(
            file_id=self._file_id,
            purpose=terms.purpose.value,
            filename=terms.filename,
            size_bytes=self._size_bytes,
            created_at_ms=self._created_at_ms,
            expires_at_ms=self._created_at_ms + terms.life_s * 1000,
        )
        await self._records.create(self._project_id, record, self._bounds)
        self.record = record
        return record
