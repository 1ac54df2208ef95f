"""The journal outside Redis: date-partitioned files of JSON lines on an object store.

``journal/date=2026-11-21/part-<ledger id>-<number>.jsonl.gz`` is written once and never changed;
each entry is in one part. ``directory/<ledger id>/…json`` are the latest projects, endpoints and
hashed keys, which a rebuild needs besides. A folder or any store of ``obstore`` by its URL.
"""

import asyncio
import gzip
import os
import re
from collections.abc import Callable, Sequence
from typing import Any

import orjson

from app.core.journal import JournalLine
from app.stores.object_place import ObjectPlace

_PART = re.compile(r"^journal/date=(?P<day>[\d-]+)/part-(?P<ledger>[0-9a-f]+)-(?P<number>\d+)\.jsonl\.gz$")


class JournalFiles:
    """Parts of the journal.

    Args:
        place: where it lies.
    """

    def __init__(self, place: ObjectPlace) -> None:
        self._place = place

    async def create_part(self, ledger_id: str, number: int, day: str, lines: Sequence[JournalLine]) -> bool:
        """Write a part, whole; False when it exists already, and is left as it is."""
        path = _path(ledger_id, number, day)
        if not await self._place.create(path, await asyncio.to_thread(_pack, lines)):
            return False
        await asyncio.to_thread(self._sync, path)
        return True

    async def read_part(self, ledger_id: str, number: int, day: str) -> list[JournalLine] | None:
        """The entries of a part; None when there is none."""
        packed = await self._place.get(_path(ledger_id, number, day))
        if packed is None:
            return None
        return [JournalLine(**orjson.loads(text)) for text in gzip.decompress(packed).splitlines()]

    async def parts_of(self, ledger_id: str, day: str) -> list[int]:
        """Numbers of a day's parts, in order."""
        paths = await self._place.paths(f"journal/date={day}")
        matches = filter(None, map(_PART.match, paths))
        return sorted(int(match["number"]) for match in matches if match["ledger"] == ledger_id)

    async def lines_of(
        self, ledger_id: str, number: int, day: str, project_id: str, is_sought: Callable[[JournalLine], bool]
    ) -> list[JournalLine]:
        """One project's entries in a part, in order, of those that are sought."""
        packed = await self._place.get(_path(ledger_id, number, day))
        return await asyncio.to_thread(_lines_of, packed, project_id, is_sought) if packed is not None else []

    async def parts(self) -> dict[str, list[tuple[int, str]]]:
        """Numbers and days of all parts in order, by ledger."""
        found: dict[str, list[tuple[int, str]]] = {}
        for path in await self._place.paths("journal"):
            if match := _PART.match(path):
                found.setdefault(match["ledger"], []).append((int(match["number"]), match["day"]))
        return {ledger_id: sorted(parts) for ledger_id, parts in found.items()}

    async def put_directory(self, ledger_id: str, name: str, document: object) -> None:
        """Replace a document of the directory."""
        path = f"directory/{ledger_id}/{name}.json"
        await self._place.put(path, orjson.dumps(document))
        await asyncio.to_thread(self._sync, path)

    async def read_directory(self, ledger_id: str) -> dict[str, Any]:
        """All documents of a directory, by name."""
        documents: dict[str, Any] = {}
        for path in await self._place.paths(f"directory/{ledger_id}"):
            content = await self._place.get(path)
            if content is not None:
                documents[path.rpartition("/")[2].removesuffix(".json")] = orjson.loads(content)
        return documents

    def _sync(self, path: str) -> None:
        """On a local disk, what Redis is about to forget must survive a loss of power."""
        folder = self._place.folder
        if folder is None:
            return
        place = folder / path
        for entry in (place, *place.parents):
            handle = os.open(entry, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
            if entry == folder:
                break


def _path(ledger_id: str, number: int, day: str) -> str:
    return f"journal/date={day}/part-{ledger_id}-{number:012}.jsonl.gz"


def _pack(lines: Sequence[JournalLine]) -> bytes:
    return gzip.compress(b"".join(orjson.dumps(line) + b"\n" for line in lines), 6, mtime=0)


def _lines_of(packed: bytes, project_id: str, is_sought: Callable[[JournalLine], bool]) -> list[JournalLine]:
    name = project_id.encode()
    own = (JournalLine(**orjson.loads(text)) for text in gzip.decompress(packed).splitlines() if name in text)
    return [line for line in own if line.project_id == project_id and is_sought(line)]
