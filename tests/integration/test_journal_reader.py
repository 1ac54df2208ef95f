"""A project's journal, page by page, while it leaves the store."""

from datetime import UTC, datetime

import pytest

from app.core.errors import InvalidRequest
from app.core.journal import JournalLine
from app.core.ledger_types import Settlement
from app.services import journal_reader
from app.services.journal_reader import JournalReader, Sought
from tests.integration.test_journal import House, house  # noqa: F401  # a fixture

TODAY = datetime.now(UTC).date()


async def pages(house: House, project_id: str, sought: Sought = Sought(), limit: int = 3) -> list[JournalLine]:  # noqa: B008, F811
    reader = JournalReader(house.journal, house.files)
    found: list[JournalLine] = []
    before = None
    while True:
        page = await reader.page(project_id, day=TODAY, sought=sought, before=before, limit=limit)
        assert len(page.lines) <= limit
        found += page.lines
        before = page.next_cursor
        if before is None:
            return found


async def all_of(house: House, project_id: str) -> list[JournalLine]:  # noqa: F811
    waiting = (await house.journal.tail(project_id)).waiting
    lines = [line for line in [*await house.written(), *waiting] if line.project_id == project_id]
    return sorted(lines, key=lambda line: line.order, reverse=True)


async def test_pages_hold_each_entry_once_newest_first(house: House) -> None:  # noqa: F811
    for part in range(5):
        await house.use("proj_a", f"a{part}", f"b{part}")
        await house.use("proj_b", f"c{part}", user="other")
        if part < 4:
            await house.drain().drain()
    wanted = await all_of(house, "proj_a")
    assert len(wanted) > 20
    assert await pages(house, "proj_a") == wanted
    assert await pages(house, "proj_a", limit=500) == wanted


async def test_entries_that_leave_the_store_between_two_pages_are_neither_lost_nor_repeated(house: House) -> None:  # noqa: F811
    await house.use("proj_a", *(f"h{n}" for n in range(6)))
    wanted = await all_of(house, "proj_a")
    reader = JournalReader(house.journal, house.files)
    found: list[JournalLine] = []
    before = None
    for _ in range(50):
        page = await reader.page("proj_a", day=TODAY, sought=Sought(), before=before, limit=2)
        found += page.lines
        before = page.next_cursor
        if before is None:
            break
        await house.use("proj_b", f"x{len(found)}")
        await house.drain().drain()
    assert found == wanted


async def test_entries_that_leave_the_store_while_a_page_is_read_are_on_it(house: House) -> None:  # noqa: F811
    await house.use("proj_a", "moving")
    wanted = await all_of(house, "proj_a")

    class Slow:
        """Lists parts, and is overtaken by the drain before and after."""

        async def parts_of(self, ledger_id: str, day: str) -> list[int]:
            listed = await house.files.parts_of(ledger_id, day)
            await house.drain().drain()
            return listed if self.first else await house.files.parts_of(ledger_id, day)

        lines_of = house.files.lines_of
        first = True

    for first in (True, False):
        slow = Slow()
        slow.first = first
        page = await JournalReader(house.journal, slow).page(  # type: ignore[arg-type]
            "proj_a", day=TODAY, sought=Sought(), before=None, limit=100
        )
        assert list(page.lines) == wanted


async def test_what_is_sought(house: House) -> None:  # noqa: F811
    await house.use("proj_a", "one", user="ann")
    await house.use("proj_a", "two", user="bob", end=Settlement.RELEASE)
    await house.drain().drain()
    await house.use("proj_a", "three", user="ann")
    assert {line.id for line in await pages(house, "proj_a", Sought(user="ann"))} == {"one", "three"}
    assert [line.id for line in await pages(house, "proj_a", Sought(kind="release"))] == ["two"]
    assert {line.id for line in await pages(house, "proj_a", Sought(kind="capture", endpoint="e"))} == {"one", "three"}
    assert await pages(house, "proj_a", Sought(request_id="none")) == []
    assert {line.kind for line in await pages(house, "proj_a", Sought(kind="change"))} == {"change"}


async def test_a_page_looks_through_a_bounded_number_of_parts(house: House, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setattr(journal_reader, "_PARTS_A_PAGE", 2)
    await house.use("proj_a", "old", user="sought")
    for part in range(6):
        await house.drain().drain()
        await house.use("proj_b", f"x{part}")
    reader = JournalReader(house.journal, house.files)
    first = await reader.page("proj_a", day=TODAY, sought=Sought(user="sought"), before=None, limit=5)
    assert not first.lines and first.next_cursor
    assert {line.id for line in await pages(house, "proj_a", Sought(user="sought"))} == {"old"}


async def test_another_day_is_empty_and_a_made_up_cursor_is_refused(house: House) -> None:  # noqa: F811
    reader = JournalReader(house.journal, house.files)
    past = TODAY.replace(year=TODAY.year - 1)
    page = await reader.page("proj_a", day=past, sought=Sought(), before=None, limit=5)
    assert (list(page.lines), page.next_cursor) == ([], None)
    for cursor in ("x", "1-2", "1-2.x", "-.-", "1-2.3" * 40):
        with pytest.raises(InvalidRequest):
            await reader.page("proj_a", day=TODAY, sought=Sought(), before=cursor, limit=5)
