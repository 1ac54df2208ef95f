"""Where objects lie: a folder of this machine, or a bucket.

The store's blocking calls are made from threads: its own event loop has been seen to abort a process
that ends.
"""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlparse

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import LocalStore, from_url

from app.core.errors import DependencyDown

T = TypeVar("T")

_PIECE_BYTES = 8 * 1024 * 1024
"""S3 wants parts of 5 MiB or more."""

_GATHER_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ObjectPlace:
    """A store of ``obstore``; ``folder`` is set when it is one of this machine.

    Every method but :meth:`of` may raise ``DependencyDown``.
    """

    store: Any
    folder: Path | None
    executor: ThreadPoolExecutor | None = None

    @classmethod
    def of(cls, url: str, *, threads: int | None = None) -> "ObjectPlace":
        """A place by its URL.

        Args:
            url: a folder, ``file://…``, ``s3://…`` or ``gs://…``; credentials come from the
                environment, as the clouds' own tools read them.
            threads: of its own, so that slow traffic with it holds up nobody else; None shares the process's.
        """
        executor = ThreadPoolExecutor(threads, thread_name_prefix="objects") if threads else None
        if "://" in url and not url.startswith("file://"):
            return cls(from_url(url), None, executor)
        folder = Path(urlparse(url).path if "://" in url else url).absolute()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return cls(LocalStore(str(folder)), folder, executor)

    async def put(self, path: str, content: bytes) -> None:
        """Write an object, or replace it."""
        async with _translated():
            await self._run(obstore.put, self.store, path, content)

    async def create(self, path: str, content: bytes) -> bool:
        """Write an object, whole; False when there is one already, which is left as it is."""
        async with _translated():
            try:
                await self._run(obstore.put, self.store, path, content, mode="create")
            except AlreadyExistsError:
                return False
        return True

    async def get(self, path: str) -> bytes | None:
        """An object's content; None when there is none."""
        async with _translated():
            try:
                return await self._run(lambda: bytes(obstore.get(self.store, path).bytes()))
            except FileNotFoundError:
                return None

    @asynccontextmanager
    async def writing(self, path: str) -> AsyncIterator["ObjectWriter"]:
        """Write an object piece by piece; it is there when ``finish`` has returned, and else never."""
        async with _translated():
            opened = await self._run(obstore.open_writer, self.store, path, buffer_size=_PIECE_BYTES, max_concurrency=2)
        writer = ObjectWriter(opened, self._run)
        try:
            yield writer
        finally:
            if not writer.is_finished:
                await asyncio.shield(writer.abandon())

    async def read(self, path: str, *, start: int, end: int) -> AsyncIterator[bytes]:
        """Bytes of an object from ``start`` up to ``end``, piece by piece."""
        while start < end:
            upto = min(end, start + _PIECE_BYTES)
            async with _translated():
                piece = await self._run(obstore.get_range, self.store, path, start=start, end=upto)
            yield bytes(piece)
            start = upto

    async def paths(self, prefix: str) -> list[str]:
        """Paths of all objects below a prefix."""

        def found() -> list[str]:
            return [str(item["path"]) for page in obstore.list(self.store, prefix=prefix) for item in page]

        async with _translated():
            return await self._run(found)

    async def delete(self, paths: list[str]) -> None:
        """Delete objects; those that are gone already are no error."""
        async with _translated():
            with contextlib.suppress(FileNotFoundError):
                await self._run(obstore.delete, self.store, paths)
            if self.folder is not None:  # what a killed process was writing lies beside its object's place
                await self._run(_unlink_begun, self.folder, paths)

    async def delete_below(self, prefix: str) -> None:
        """Delete all objects below a prefix, and what killed processes were writing there."""
        paths = await self.paths(prefix)
        async with _translated():
            if paths:
                with contextlib.suppress(FileNotFoundError):
                    await self._run(obstore.delete, self.store, paths)
            if self.folder is not None:
                await self._run(shutil.rmtree, self.folder / prefix, ignore_errors=True)

    async def _run(self, work: Callable[..., T], *arguments: Any, **options: Any) -> T:
        """In one of this place's threads."""
        return await asyncio.get_running_loop().run_in_executor(self.executor, partial(work, *arguments, **options))


class ObjectWriter:
    """An object that is being written. Every method may raise ``DependencyDown``."""

    def __init__(self, opened: Any, run: Callable[..., Awaitable[Any]]) -> None:
        self._opened = opened
        self._run = run
        self._pieces: list[bytes] = []
        self._gathered = 0
        self.is_finished = False

    async def write(self, piece: bytes) -> None:
        """Append; small pieces are gathered first."""
        self._pieces.append(piece)
        self._gathered += len(piece)
        if self._gathered >= _GATHER_BYTES:
            await self._flush()

    async def finish(self) -> None:
        """Make the object be there."""
        await self._flush()
        async with _translated():
            await self._run(self._opened.close)
        self.is_finished = True

    async def abandon(self) -> None:
        """Give up what was written, as far as the store still lets us."""
        failure = RuntimeError("given up")
        with contextlib.suppress(Exception):
            await self._run(self._opened.__exit__, RuntimeError, failure, None)

    async def _flush(self) -> None:
        joined, self._pieces, self._gathered = b"".join(self._pieces), [], 0
        async with _translated():
            await self._run(self._opened.write, joined)


def _unlink_begun(folder: Path, paths: list[str]) -> None:
    for path in paths:
        place = folder / path
        for begun in place.parent.glob(f"{place.name}#*"):
            begun.unlink(missing_ok=True)


@asynccontextmanager
async def _translated() -> AsyncIterator[None]:
    try:
        yield
    except (BaseError, OSError) as error:
        raise DependencyDown("The object store does not answer; try again shortly.") from error
