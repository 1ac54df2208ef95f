"""Files on a real store and a folder, with a virtual clock, crashes and an object store that fails."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import redis

from app.core.errors import CapacityExceeded, DependencyDown, InvalidRequest, RequestTooLarge, RouteNotFound
from app.core.files import FileBounds, FileRecord, Purpose, check_terms
from app.services.files import FileService
from app.stores.file_objects import FileObjects
from app.stores.object_place import ObjectPlace, ObjectWriter
from app.stores.redis_client import PATIENT_S, connect
from app.stores.redis_files import RedisFiles
from tests.fakes import FakeClock

PROJECT = "proj_1"
TERMS = check_terms(purpose="batch", filename="a.jsonl")
DAY_S = 86_400


class FailingObjects(FileObjects):
    """An object store that fails when told to."""

    fails_to_delete = False
    fails_to_write = False

    async def delete(self, project_id: str, file_id: str) -> None:
        if self.fails_to_delete:
            raise DependencyDown("away")
        await super().delete(project_id, file_id)


class House:
    def __init__(self, redis_url: str, folder: Path) -> None:
        self.folder = folder
        self.clock = FakeClock(1_700_000_000.0)
        self.client = connect(redis_url, timeout_s=PATIENT_S)
        self.records = RedisFiles(self.client)
        self.contents = FailingObjects(ObjectPlace.of(str(folder)))
        self.service = FileService(
            self.records,
            self.contents,
            bounds=FileBounds(max_file_bytes=1000, max_files=3, max_total_bytes=2000),
            random_bytes=secrets.token_bytes,
            wall_s=self.clock,
        )

    async def upload(self, content: bytes = b"{}\n") -> FileRecord:
        async with self.service.receive(PROJECT) as receipt:
            await receipt.write(content)
            return await receipt.keep(TERMS)

    async def ids(self) -> list[str]:
        page, _ = await self.service.list_page(PROJECT, after=None, limit=10, newest_first=True, purpose=None)
        return [record.file_id for record in page]

    async def content(self, record: FileRecord) -> bytes:
        pieces = self.service.content(PROJECT, record, start=0, end=record.size_bytes)
        return b"".join([piece async for piece in pieces])

    def stored(self) -> list[str]:
        return [path.name for path in self.folder.rglob("*") if path.is_file()]

    async def announced(self) -> int:
        return int(await self.client.zcard("eg:file_expiry"))


@pytest.fixture
async def house(redis_url: str, tmp_path: Path) -> AsyncIterator[House]:
    redis.Redis.from_url(redis_url).flushall()
    made = House(redis_url, tmp_path)
    yield made
    await made.client.aclose()


async def test_a_file_is_gone_when_it_expires_and_makes_room(house: House) -> None:
    record = await house.upload(b"x" * 1000)
    await house.upload(b"y" * 1000)
    with pytest.raises(InvalidRequest, match="2000 bytes"):
        await house.upload(b"z")
    house.clock.advance(30 * DAY_S - 1)
    await house.service.forget_due()
    assert await house.content(record) == b"x" * 1000
    house.clock.advance(1)
    with pytest.raises(RouteNotFound):
        await house.service.get(PROJECT, record.file_id)
    assert await house.ids() == []
    assert not await house.service.forget_due()
    assert (house.stored(), await house.announced()) == ([], 0)
    await house.upload(b"z" * 1000)


async def test_nothing_is_left_of_what_was_not_kept(house: House) -> None:
    async with house.service.receive(PROJECT) as receipt:
        await receipt.write(b"x")
    with pytest.raises(RequestTooLarge):
        await house.upload(b"x" * 1001)
    with pytest.raises(InvalidRequest, match="utf-8"):
        await house.upload(b"\xff")
    with pytest.raises(ZeroDivisionError):
        async with house.service.receive(PROJECT) as receipt:
            await receipt.write(b"x" * 100)
            raise ZeroDivisionError
    assert (house.stored(), await house.ids()) == ([], [])
    assert await house.announced() == 4, "something may appear yet"
    house.clock.advance(2 * 3600)
    await house.service.forget_due()
    assert (house.stored(), await house.announced()) == ([], 0)


async def test_what_a_crash_leaves_on_the_object_store_is_found(house: House) -> None:
    """The gateway dies between the content's end and its record."""
    file_id = "file-" + "0" * 36
    await house.records.announce(PROJECT, file_id, until_ms=int(house.clock() * 1000) + 6 * 3_600_000)
    async with house.contents.writing(PROJECT, file_id) as writer:
        await writer.write(b"x")
        await writer.finish()
    assert house.stored() == [file_id]
    assert await house.ids() == []
    house.clock.advance(6 * 3600)
    await house.service.forget_due()
    assert (house.stored(), await house.announced()) == ([], 0)


async def test_a_crash_before_the_last_announcement_loses_no_file(house: House) -> None:
    record = await house.upload()
    await house.records.announce(PROJECT, record.file_id, until_ms=int(house.clock() * 1000))
    await house.service.forget_due()
    assert await house.ids() == [record.file_id]
    await house.service.forget_due()
    assert house.stored() == [record.file_id]
    house.clock.advance(30 * DAY_S)
    await house.service.forget_due()
    assert house.stored() == []


async def test_content_that_cannot_be_deleted_now_goes_with_the_next_round(house: House) -> None:
    record = await house.upload()
    house.contents.fails_to_delete = True
    await house.service.delete(PROJECT, record.file_id)
    assert await house.ids() == []
    assert house.stored() == [record.file_id]
    other = await house.upload()
    house.clock.advance(1)
    await house.service.forget_due()
    assert sorted(house.stored()) == sorted([record.file_id, other.file_id])
    house.contents.fails_to_delete = False
    await house.service.delete(PROJECT, other.file_id)
    house.clock.advance(600)
    await house.service.forget_due()
    assert (house.stored(), await house.announced()) == ([], 0)


async def test_a_store_that_fails_while_it_is_written_to_is_said_so_and_nothing_is_left(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(self: ObjectWriter) -> None:
        raise DependencyDown("disk full")

    monkeypatch.setattr(ObjectWriter, "_flush", fails)
    with pytest.raises(DependencyDown):
        await house.upload()
    monkeypatch.undo()
    assert (house.stored(), await house.ids()) == ([], [])
    await house.upload()


async def test_an_answer_that_is_lost_after_the_record_was_made_leaves_no_empty_file(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store makes the record, and its answer does not come in time."""
    create = house.records.create

    async def loses_its_answer(project_id: str, record: FileRecord, bounds: FileBounds) -> None:
        await create(project_id, record, bounds)
        raise DependencyDown("no answer")

    monkeypatch.setattr(house.records, "create", loses_its_answer)
    with pytest.raises(DependencyDown):
        await house.upload(b"x" * 1000)
    monkeypatch.undo()
    assert (house.stored(), await house.ids()) == ([], [])
    for _ in range(2):
        await house.upload(b"x" * 1000)


async def test_content_that_appears_after_its_caller_left_is_found(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The object store finishes what its caller does not wait for any more."""
    finish = ObjectWriter.finish

    async def slowly(self: ObjectWriter) -> None:
        await asyncio.sleep(0.05)
        await finish(self)

    late: list[asyncio.Task[None]] = []

    async def goes_on_alone(self: ObjectWriter) -> None:
        late.append(asyncio.create_task(slowly(self)))
        await asyncio.sleep(10)

    async def stays_open(self: ObjectWriter) -> None:
        pass

    monkeypatch.setattr(ObjectWriter, "finish", goes_on_alone)
    monkeypatch.setattr(ObjectWriter, "abandon", stays_open)
    upload = asyncio.create_task(house.upload())
    await asyncio.sleep(0.02)
    upload.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upload
    await late[0]
    assert len(house.stored()) == 1
    house.clock.advance(2 * 3600)
    await house.service.forget_due()
    assert (house.stored(), await house.announced()) == ([], 0)


async def test_what_a_killed_process_was_writing_is_deleted_with_it(house: House) -> None:
    record = await house.upload()
    begun = house.folder / "files" / PROJECT / f"{record.file_id}#1"
    begun.write_bytes(b"x")
    await house.service.delete(PROJECT, record.file_id)
    assert house.stored() == []


async def test_a_large_upload_that_is_given_up_leaves_nothing(redis_url: str, tmp_path: Path) -> None:
    place = ObjectPlace.of(str(tmp_path))
    with pytest.raises(ZeroDivisionError):
        async with place.writing("a/b") as writer:
            await writer.write(b"x" * 20_000_000)
            raise ZeroDivisionError
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


async def test_uploads_at_a_time_are_bounded(house: House) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(8):
            await stack.enter_async_context(house.service.receive(PROJECT))
        with pytest.raises(CapacityExceeded):
            await house.upload()
        async with house.service.receive("proj_2"):
            pass
    await house.upload()


async def test_a_missing_folder_is_a_dependency_that_is_down(house: House) -> None:
    record = await house.upload()
    for path in house.folder.rglob("*"):
        if path.is_file():
            path.unlink()
    with pytest.raises(DependencyDown):
        await house.content(record)
    await house.service.delete(PROJECT, record.file_id)


async def test_large_content_is_read_piece_by_piece(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.stores.object_place._PIECE_BYTES", 7)
    monkeypatch.setattr("app.stores.object_place._GATHER_BYTES", 5)
    content = b"0123456789" * 9
    async with house.service.receive(PROJECT) as receipt:
        for start in range(0, len(content), 4):
            await receipt.write(content[start : start + 4])
        record = await receipt.keep(TERMS)
    assert (record.size_bytes, record.purpose) == (90, Purpose.BATCH)
    pieces = [piece async for piece in house.service.content(PROJECT, record, start=3, end=50)]
    assert b"".join(pieces) == content[3:50]
    assert max(map(len, pieces)) == 7
