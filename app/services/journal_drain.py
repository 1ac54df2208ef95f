"""Moves the journal out of the cluster's store, each entry into one part, whoever is killed when.

A part has a number and a day, which its first writer claims. Its file is created if it is not
there, so that of two writers one decides what it holds; then its usage is added up and its
entries are trimmed, once for each project; then the next part begins. A crash anywhere leaves a
position from which the same steps, done again, end in the same state.
"""

from collections.abc import Sequence

from app.core.journal import JournalLine
from app.core.ports import Journal, JournalParts

BATCH_ENTRIES = 20_000


class JournalDrain:
    """The steps above.

    Args:
        journal: where entries wait.
        parts: where they go.
    """

    def __init__(self, journal: Journal, parts: JournalParts) -> None:
        self._journal = journal
        self._parts = parts

    async def drain(self) -> tuple[int, bool]:
        """Move what waits now, about one batch of it; how many entries, and whether more wait.

        Raises:
            DependencyDown: either store is away; to be done again later.
        """
        ledger_id = await self._journal.ledger_id()
        while True:
            number, day = await self._journal.position()
            if day is not None:
                written = await self._parts.read_part(ledger_id, number, day)
                if written is not None:
                    await self._journal.finish(number, written)
                    continue
            waiting, has_more = await self._journal.pending(limit=BATCH_ENTRIES)
            if not waiting:
                return 0, False
            day = await self._journal.claim(number, min(line.day for line in waiting))
            if day is None:
                continue
            lines = [line for line in waiting if line.day == day]
            await self._save_directory(ledger_id, lines)
            if await self._parts.create_part(ledger_id, number, day, lines):
                await self._journal.finish(number, lines)
                return len(lines), has_more or len(lines) < len(waiting)

    async def _save_directory(self, ledger_id: str, lines: Sequence[JournalLine]) -> None:
        changed = sorted({line.project_id for line in lines if line.kind == "change"})
        if changed:
            for name, document in (await self._journal.directory_documents(changed)).items():
                await self._parts.put_directory(ledger_id, name, document)
