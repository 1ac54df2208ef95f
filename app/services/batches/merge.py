"""A sealed batch's output and error file, merged from its chunks one after another."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import replace

from app.core.batch.chunk import load_lines, load_results
from app.core.batch.refs import BatchRef
from app.core.batch.state import Batch, Finished
from app.core.directory import ID_BYTES
from app.core.files import FileBounds, FileRecord, Purpose
from app.core.timed_id import FILE_IDS
from app.services.batches.lines import not_executed
from app.services.batches.ports import BatchObjects, LineCodec
from app.services.file_ports import ContentWriter, FileContents, FileRecords

_NO_BOUNDS = FileBounds(max_file_bytes=2**60, max_files=2**60, max_total_bytes=2**60)
"""What was computed and paid for is never refused a place; it counts for what the project uploads later."""


class Merge:
    """Makes the files of sealed batches. Whoever does it makes the same ones, so it may be done again.

    Args:
        records: of files.
        contents: of files.
        objects: chunks.
        codec: knows the wire.
        wall_s: Unix time.
    """

    def __init__(
        self,
        records: FileRecords,
        contents: FileContents,
        objects: BatchObjects,
        codec: LineCodec,
        *,
        wall_s: Callable[[], float],
    ) -> None:
        self._records = records
        self._contents = contents
        self._objects = objects
        self._codec = codec
        self._wall_s = wall_s

    async def run(self, ref: BatchRef, batch: Batch) -> Finished:
        """Write both files.

        Raises:
            DependencyDown: nothing is decided; try again.
        """
        async with AsyncExitStack() as stack:
            output = _Part(self, stack, ref, batch, "output")
            errors = _Part(self, stack, ref, batch, "error")
            async for good, bad in self._pieces(ref, batch):
                await output.write(good)
                await errors.write(bad)
            file_ids = [await part.keep() for part in (output, errors)]
        return Finished(int(self._wall_s() * 1000), *file_ids)

    async def _pieces(self, ref: BatchRef, batch: Batch) -> AsyncIterator[tuple[bytes, bytes]]:
        for chunk in range(batch.chunks):
            if chunk in batch.done_chunks:
                content = await self._objects.get_results(ref, chunk)
                assert content is not None, f"results of chunk {chunk} of {ref.batch_id} are gone"
                results = load_results(content)
                yield results.output, results.errors
            else:
                content = await self._objects.get_input(ref, chunk)
                assert content is not None, f"lines of chunk {chunk} of {ref.batch_id} are gone"
                assert batch.closing is not None, "only a closed batch is sealed with chunks to do"
                yield b"", not_executed(batch.batch_id, load_lines(content), self._codec, batch.closing).errors
            await asyncio.sleep(0)

    async def open(self, stack: AsyncExitStack, project_id: str, file_id: str, until_ms: int) -> ContentWriter:
        """Begin to write a file's content."""
        await self._records.announce(project_id, file_id, until_ms=until_ms)
        return await stack.enter_async_context(self._contents.writing(project_id, file_id))

    async def keep(self, project_id: str, record: FileRecord) -> None:
        """Make a file be there, whose content is."""
        await self._records.create(project_id, record, _NO_BOUNDS)


class _Part:
    """One of the two files; it is begun when something comes for it."""

    def __init__(self, merge: Merge, stack: AsyncExitStack, ref: BatchRef, batch: Batch, kind: str) -> None:
        self._merge = merge
        self._stack = stack
        self._ref = ref
        created_at_ms = batch.sealed_at_ms
        assert created_at_ms is not None, "only a sealed batch is merged"
        random = hashlib.blake2b(f"{batch.batch_id}/{kind}".encode(), digest_size=ID_BYTES).digest()
        self._record = FileRecord(
            file_id=FILE_IDS.new(now_ms=created_at_ms, random=random),
            purpose=Purpose.BATCH_OUTPUT.value,
            filename=f"{batch.batch_id}_{kind}.jsonl",
            size_bytes=0,
            created_at_ms=created_at_ms,
            expires_at_ms=created_at_ms + batch.output_life_s * 1000,
        )
        self._size_bytes = 0
        self._writer: ContentWriter | None = None

    async def write(self, piece: bytes) -> None:
        if not piece:
            return
        if self._writer is None:
            record = self._record
            self._writer = await self._merge.open(
                self._stack, self._ref.project_id, record.file_id, record.expires_at_ms
            )
        self._size_bytes += len(piece)
        await self._writer.write(piece)

    async def keep(self) -> str | None:
        """The file's id; None when nothing came."""
        if self._writer is None:
            return None
        await self._writer.finish()
        record = self._record
        await self._merge.keep(self._ref.project_id, replace(record, size_bytes=self._size_bytes))
        return record.file_id
