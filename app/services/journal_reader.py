"""A project's journal for people: newest first, page by page, by what they look for.

Entries that left the store lie in parts with those of all projects. A page looks through a bounded
number of parts and says how far back it got; the next goes on there.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol

from app.core.errors import InvalidRequest
from app.core.journal import JournalLine
from app.core.ports import Journal

_PARTS_A_PAGE = 100
_PAGES_AT_ONCE = 2
"""In one gateway: whoever looks back far must not slow down those who embed."""


class JournalDay(Protocol):
    """Parts of a day, outside the cluster's store. Every method may raise ``DependencyDown``."""

    async def parts_of(self, ledger_id: str, day: str) -> Sequence[int]:
        """Numbers of a day's parts, in order."""

    async def lines_of(
        self, ledger_id: str, number: int, day: str, project_id: str, is_sought: Callable[[JournalLine], bool]
    ) -> Sequence[JournalLine]:
        """One project's entries in a part, in order, of those that are sought; called from a thread."""


@dataclass(frozen=True, slots=True)
class Sought:
    """Which entries are meant; None takes any."""

    kind: str | None = None
    request_id: str | None = None
    endpoint: str | None = None
    key_id: str | None = None
    user: str | None = None

    def matches(self, line: JournalLine) -> bool:
        """Whether an entry is one of them."""
        details = line.details
        return (
            (self.kind is None or line.kind == self.kind)
            and (self.request_id is None or details.get("request_id") == self.request_id)
            and (self.endpoint is None or details.get("endpoint") == self.endpoint)
            and (self.key_id is None or details.get("key_id") == self.key_id)
            and (self.user is None or details.get("user") == self.user)
        )


@dataclass(frozen=True, slots=True)
class JournalPage:
    """Entries, newest first, and where to go on; None at the day's beginning."""

    lines: Sequence[JournalLine]
    next_cursor: str | None


class JournalReader:
    """Reads what waits in the store and what has left it."""

    def __init__(self, journal: Journal, parts: JournalDay) -> None:
        self._journal = journal
        self._parts = parts
        self._turns = asyncio.Semaphore(_PAGES_AT_ONCE)

    async def page(self, project_id: str, *, day: date, sought: Sought, before: str | None, limit: int) -> JournalPage:
        """Entries of one UTC day.

        Args:
            project_id: whose.
            day: of the entries.
            sought: which.
            before: the cursor of the page before.
            limit: of entries.

        Raises:
            InvalidRequest: the cursor is none of ours.
            DependencyDown: either store is away.
        """
        async with self._turns:
            return await self._page(project_id, day, sought, before, limit)

    async def _page(self, project_id: str, day: date, sought: Sought, before: str | None, limit: int) -> JournalPage:
        below, last_part = _read_cursor(before)
        ledger_id = await self._journal.ledger_id()
        wanted = day.isoformat()
        # What waits is read before the parts are listed: what moves meanwhile is seen twice, and taken once.
        waiting = (await self._journal.tail(project_id)).waiting
        numbers = [number for number in await self._parts.parts_of(ledger_id, wanted) if number <= last_part]
        found: dict[tuple[int, int], tuple[JournalLine, int]] = {}

        def take(lines: Sequence[JournalLine], part: int) -> None:
            for line in lines:
                if line.day == wanted and line.order < below:
                    found[line.order] = line, part

        take([line for line in waiting if sought.matches(line)], _LATEST)
        looked = 0
        for number in reversed(numbers):
            if len(found) > limit or looked == _PARTS_A_PAGE:
                break
            take(await self._parts.lines_of(ledger_id, number, wanted, project_id, sought.matches), number)
            looked += 1
        newest = [found[order] for order in sorted(found, reverse=True)]
        page = [line for line, _ in newest[:limit]]
        last = page[-1].order if page else below
        if len(newest) > limit:
            return JournalPage(page, _cursor(last, newest[limit - 1][1]))
        if looked < len(numbers):
            return JournalPage(page, _cursor(last, numbers[-1 - looked]))
        return JournalPage(page, None)


_LATEST = 2**62
"""Stands for the part that waiting entries will go into."""

_FIRST = (2**63, 0)


def _cursor(below: tuple[int, int], part: int) -> str:
    return f"{below[0]}-{below[1]}.{part}"


def _read_cursor(cursor: str | None) -> tuple[tuple[int, int], int]:
    """Below which entry, and from which part, to go on."""
    if cursor is None:
        return _FIRST, _LATEST
    entry, _, part = cursor.partition(".")
    at_ms, _, number = entry.partition("-")
    if not (at_ms.isdecimal() and number.isdecimal() and part.isdecimal() and len(cursor) < 100):
        raise InvalidRequest("'after' is not a cursor of this list.", param="after")
    return (int(at_ms), int(number)), int(part)
