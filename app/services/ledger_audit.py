"""Verifying and rebuilding the ledger from its journal: what finance and disaster recovery rest on."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from app.core.errors import Conflict, InvalidRequest
from app.core.journal import JournalLine, RebuiltAccount, Tally, Usage, UsageKey, usage_of
from app.core.ledger_types import Balance
from app.core.ports import EmptyStore, Journal, JournalParts, JournalTail

_PAGE = 500


@dataclass(frozen=True, slots=True)
class Verdict:
    """One project's account against its journal; ``faults`` is empty when it is right."""

    project_id: str
    balance: Balance
    entries: int
    faults: Sequence[str]


class LedgerAudit:
    """Reads every part of the journal, and what still waits.

    Args:
        journal: the cluster's store.
        parts: the journal outside of it.
    """

    def __init__(self, journal: Journal, parts: JournalParts) -> None:
        self._journal = journal
        self._parts = parts

    async def verify(self) -> AsyncIterator[Verdict]:
        """Recompute every balance from grants and journal.

        What waits is read before the parts: an entry may then be seen in both, never in neither.
        """
        ledger_id = await self._journal.ledger_id()
        tails: dict[str, JournalTail] = {}
        async for project_id in self._projects():
            tails[project_id] = await self._journal.tail(project_id)
        tallies = {project_id: Tally() for project_id in tails}
        counts = dict.fromkeys(tails, 0)
        last = dict.fromkeys(tails, (0, -1))
        async for line in self._written(ledger_id):
            tail = tails.get(line.project_id)
            if tail is None or line.order > tail.written_up_to:
                continue
            if line.order <= last[line.project_id]:
                tallies[line.project_id].faults.append(f"entry {line.entry_id} is written twice or out of order")
            last[line.project_id] = line.order
            tallies[line.project_id].add(line)
            counts[line.project_id] += 1
        for project_id, tail in tails.items():
            for line in tail.waiting:
                tallies[project_id].add(line)
            faults = tallies[project_id].difference(tail.account.balance, tail.account.open_holds)
            yield Verdict(project_id, tail.account.balance, counts[project_id] + len(tail.waiting), faults)

    async def rebuild(self, store: EmptyStore, ledger_id: str | None) -> AsyncIterator[RebuiltAccount]:
        """Fill an empty store from the parts.

        Args:
            store: must be empty.
            ledger_id: which ledger, where the object store holds several.

        Raises:
            Conflict: the store is not empty.
            InvalidRequest: there is no ledger, or there are several and none was named.
        """
        if not await store.is_empty():
            raise Conflict("The store is not empty: a rebuild is for one that was lost. Flush it first.")
        found = await self._parts.parts()
        chosen = ledger_id or (next(iter(found)) if len(found) == 1 else None)
        if chosen is None or chosen not in found:
            raise InvalidRequest(f"Name one of the ledgers that are there: {', '.join(sorted(found)) or 'none'}.")
        await store.restore_directory(chosen, found[chosen][-1][0] + 1, await self._parts.read_directory(chosen))
        tallies: dict[str, Tally] = {}
        usage: dict[str, dict[UsageKey, Usage]] = {}
        last: dict[str, JournalLine] = {}
        async for line in self._written(chosen):
            if line.project_id in last and line.order <= last[line.project_id].order:
                continue
            last[line.project_id] = line
            tallies.setdefault(line.project_id, Tally()).add(line)
            totals = usage.setdefault(line.project_id, {})
            for key, one in usage_of([line]).items():
                totals[key] = totals.get(key, Usage()) + one
        for project_id, tally in sorted(tallies.items()):
            released = tuple(tally.release_open())
            account = RebuiltAccount(project_id, tally, usage[project_id], released, last[project_id].entry_id)
            await store.restore_account(account)
            yield account

    async def _projects(self) -> AsyncIterator[str]:
        after: str | None = None
        while page := await self._journal.project_ids(after=after, limit=_PAGE):
            after = page[-1]
            for project_id in page:
                yield project_id

    async def _written(self, ledger_id: str) -> AsyncIterator[JournalLine]:
        for number, day in (await self._parts.parts()).get(ledger_id, ()):
            for line in await self._parts.read_part(ledger_id, number, day) or ():
                yield line
