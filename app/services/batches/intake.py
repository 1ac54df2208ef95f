"""A batch's input file, looked at line by line and cut into chunks that do not depend on it any more."""

from collections.abc import AsyncIterator, Awaitable, Callable

from app.core.batch.chunk import ChunkCutter, InputLine
from app.core.batch.input_check import InputCheck, LineBounds
from app.core.batch.refs import BatchRef
from app.core.batch.state import Batch, Event, LineError, Refused, Validated
from app.core.directory import Endpoint, ProjectView
from app.core.errors import RouteNotFound
from app.services.batches.ports import BatchObjects
from app.services.files import FileService


class LineSplitter:
    """Lines of a stream, numbered from 1; one that is too long is not gathered.

    Args:
        max_bytes: of a line.
    """

    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._begun: list[bytes] = []
        self._begun_bytes = 0
        self._number = 0

    def feed(self, piece: bytes) -> "list[tuple[int, bytes | None]]":
        """Lines that end in this piece; None for one that is too long."""
        *whole, rest = piece.split(b"\n")
        lines = []
        for part in whole:
            self._gather(part)
            lines.append(self._line())
        self._gather(rest)
        return lines

    def rest(self) -> "list[tuple[int, bytes | None]]":
        """The last line, where no line break ends it."""
        return [self._line()] if self._begun_bytes else []

    def _gather(self, part: bytes) -> None:
        self._begun_bytes += len(part)
        if self._begun_bytes <= self._max_bytes:
            self._begun.append(part)

    def _line(self) -> "tuple[int, bytes | None]":
        self._number += 1
        text = b"".join(self._begun) if self._begun_bytes <= self._max_bytes else None
        self._begun, self._begun_bytes = [], 0
        return self._number, text


class Intake:
    """Validates batches.

    Args:
        files: of all projects.
        objects: where chunks go.
        bounds: of a batch.
        max_line_bytes: of a line.
        multiplier_thousandths: what the batch tier does to a price.
        serves: whether an endpoint can be used at all.
        wall_s: Unix time.
    """

    def __init__(
        self,
        files: FileService,
        objects: BatchObjects,
        *,
        bounds: LineBounds,
        max_line_bytes: int,
        multiplier_thousandths: int,
        serves: Callable[[Endpoint], bool],
        wall_s: Callable[[], float],
    ) -> None:
        self._files = files
        self._objects = objects
        self._bounds = bounds
        self._max_line_bytes = max_line_bytes
        self._multiplier_thousandths = multiplier_thousandths
        self._serves = serves
        self._wall_s = wall_s

    async def look_at(self, ref: BatchRef, batch: Batch, view: ProjectView) -> Event:
        """Look at all of the input; its chunks are on the object store when it is good.

        Raises:
            DependencyDown: nothing is decided.
        """
        try:
            record = await self._files.get(ref.project_id, batch.input_file_id)
        except RouteNotFound:
            return self._refused([_no_file(batch)])
        check = InputCheck(
            url=batch.endpoint, bounds=self._bounds, serves=lambda name: self._endpoint(view, name) is not None
        )
        pieces = self._files.content(ref.project_id, record, start=0, end=record.size_bytes)
        chunks = 0

        async def put(chunk: bytes | None) -> None:
            nonlocal chunks
            if chunk is not None:
                await self._objects.put_input(ref, chunks, chunk)
                chunks += 1

        await self._cut(check, pieces, put)
        check.finish()
        if check.errors:
            return self._refused(check.errors)
        endpoint = self._endpoint(view, check.model or "")
        assert endpoint is not None, "the check asked for it"
        return Validated(
            self._now_ms(),
            model=check.model or "",
            endpoint_slug=endpoint.slug,
            lines=check.lines,
            chunks=chunks,
            price_nano_usd_per_mtok=endpoint.price_nano_usd_per_mtok,
            multiplier_thousandths=self._multiplier_thousandths,
            model_id=endpoint.model,
            dimensions=endpoint.dimensions,
        )

    async def _cut(
        self, check: InputCheck, pieces: AsyncIterator[bytes], put: Callable[[bytes | None], Awaitable[None]]
    ) -> None:
        splitter, cutter = LineSplitter(max_bytes=self._max_line_bytes), ChunkCutter()

        async def take(lines: "list[tuple[int, bytes | None]]") -> None:
            for number, text in lines:
                if text is None:
                    check.too_long(number, max_bytes=self._max_line_bytes)
                    continue
                inputs = check.feed(number, text)
                if inputs and not check.errors:
                    await put(cutter.add(InputLine(number, text.strip()), inputs))

        async for piece in pieces:
            await take(splitter.feed(piece))
            if check.is_hopeless:
                return
        await take(splitter.rest())
        await put(cutter.rest())

    def _endpoint(self, view: ProjectView, name: str) -> Endpoint | None:
        endpoint = view.endpoint_for_model(name)
        return endpoint if endpoint is not None and self._serves(endpoint) else None

    def _refused(self, errors: "list[LineError]") -> Refused:
        return Refused(self._now_ms(), tuple(errors))

    def _now_ms(self) -> int:
        return int(self._wall_s() * 1000)


def _no_file(batch: Batch) -> LineError:
    return LineError(
        "invalid_request",
        f"Cannot find file {batch.input_file_id}, or this project does not have access to it.",
        "file_id",
    )
