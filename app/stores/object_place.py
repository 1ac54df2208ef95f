"""Where objects lie: a folder of this machine, or a bucket.

The store's blocking calls are made from threads: its own event loop has been seen to abort a process
that ends.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import LocalStore, from_url

from app.core.errors import DependencyDown


@dataclass(frozen=True, slots=True)
class ObjectPlace:
    """A store of ``obstore``; ``folder`` is set when it is one of this machine.

    Every method but :meth:`of` may raise ``DependencyDown``.
    """

    store: Any
    folder: Path | None

    @classmethod
    def of(cls, url: str) -> "ObjectPlace":
        """A place by its URL.

        Args:
            url: a folder, ``file://…``, ``s3://…`` or ``gs://…``; credentials come from the
                environment, as the clouds' own tools read them.
        """
        if "://" in url and not url.startswith("file://"):
            return cls(from_url(url), None)
        folder = Path(urlparse(url).path if "://" in url else url).absolute()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return cls(LocalStore(str(folder)), folder)

    async def put(self, path: str, content: bytes) -> None:
        """Write an object, or replace it."""
        async with _translated():
            await asyncio.to_thread(obstore.put, self.store, path, content)

    async def create(self, path: str, content: bytes) -> bool:
        """Write an object, whole; False when there is one already, which is left as it is."""
        async with _translated():
            try:
                await asyncio.to_thread(obstore.put, self.store, path, content, mode="create")
            except AlreadyExistsError:
                return False
        return True

    async def get(self, path: str) -> bytes | None:
        """An object's content; None when there is none."""
        async with _translated():
            try:
                return await asyncio.to_thread(lambda: bytes(obstore.get(self.store, path).bytes()))
            except FileNotFoundError:
                return None

    async def paths(self, prefix: str) -> list[str]:
        """Paths of all objects below a prefix."""

        def found() -> list[str]:
            return [str(item["path"]) for page in obstore.list(self.store, prefix=prefix) for item in page]

        async with _translated():
            return await asyncio.to_thread(found)

    async def delete(self, paths: list[str]) -> None:
        """Delete objects."""
        async with _translated():
            await asyncio.to_thread(obstore.delete, self.store, paths)


@asynccontextmanager
async def _translated() -> AsyncIterator[None]:
    try:
        yield
    except (BaseError, OSError) as error:
        raise DependencyDown("The object store does not answer; try again shortly.") from error
