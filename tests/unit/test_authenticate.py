import asyncio

import pytest

from app.core.api_key import digest_of, key_id_of, mint
from app.core.directory import Credential, KeyRecord, Project, ProjectView
from app.core.errors import DependencyDown, Unauthenticated
from app.services.authenticate import Authenticator
from tests.fakes import FakeClock, RecordingMetrics

PEPPER = b"pepper" * 6
KEY = mint(prefix="eg", slug="demo", secret=bytes(32), pepper=PEPPER)


class FakeDirectory:
    """One project with one key; counts reads and can be made to fail."""

    def __init__(self) -> None:
        self.key: KeyRecord | None = KeyRecord(key_id_of(KEY), "ci", digest_of(KEY), 0)
        self.project = Project("proj_1", "Demo", "demo", "active", 0)
        self.reads = 0
        self.down = False
        self.current_pepper = PEPPER
        self.pepper_reads = 0

    async def pepper(self) -> bytes:
        self.pepper_reads += 1
        return self.current_pepper

    async def find_project(self, slug: str) -> str | None:
        self.reads += 1
        if self.down:
            raise DependencyDown("down")
        return "proj_1" if slug == "demo" else None

    async def read_credential(self, project_id: str, key_id: str) -> Credential:
        self.reads += 1
        await asyncio.sleep(0)
        if self.down:
            raise DependencyDown("down")
        return Credential(ProjectView(self.project, {}), self.key if self.key and key_id == self.key.key_id else None)


class House:
    def __init__(self) -> None:
        self.directory = FakeDirectory()
        self.clock = FakeClock()
        self.wall = FakeClock(1_800_000_000)
        self.authenticator = Authenticator(
            self.directory, capacity=100, clock_s=self.clock, wall_s=self.wall, metrics=RecordingMetrics()
        )

    async def opens(self, key: str = KEY) -> bool:
        try:
            await self.authenticator.authenticate(f"Bearer {key}")
        except Unauthenticated as error:
            assert key not in error.message
            return False
        return True


async def test_redis_is_read_once_a_second_however_many_ask() -> None:
    house = House()
    assert all(await asyncio.gather(*(house.opens() for _ in range(50))))
    assert house.directory.reads == 2
    house.clock.advance(0.5)
    assert await house.opens()
    assert house.directory.reads == 2
    house.clock.advance(0.5)
    assert await house.opens()
    assert house.directory.reads == 3


async def test_a_revoked_key_is_refused_within_a_second() -> None:
    house = House()
    assert await house.opens()
    record = house.directory.key
    assert record is not None
    house.directory.key = KeyRecord(record.key_id, record.name, record.digest, 0, revoked_at_s=1)
    house.clock.advance(0.999)
    assert not await house.opens()


async def test_a_disabled_project_is_refused_within_a_second() -> None:
    house = House()
    assert await house.opens()
    house.directory.project = Project("proj_1", "Demo", "demo", "disabled", 0)
    house.clock.advance(0.999)
    assert not await house.opens()


async def test_expiry_needs_no_read() -> None:
    house = House()
    house.directory.key = KeyRecord(key_id_of(KEY), "ci", digest_of(KEY), 0, expires_at_s=1_800_000_010)
    assert await house.opens()
    house.wall.advance(10)
    assert not await house.opens()
    assert house.directory.reads == 2


async def test_guessing_costs_redis_nothing() -> None:
    house = House()
    await house.opens()
    reads = house.directory.reads
    for guess in range(1000):
        forged = mint(prefix="eg", slug="demo", secret=guess.to_bytes(32), pepper=b"wrong")
        assert not await house.opens(forged)
        assert not await house.opens(f"eg_demo_{guess}")
    assert house.directory.reads == reads
    assert house.directory.pepper_reads == 1


async def test_a_key_takes_the_same_room_however_it_is_written() -> None:
    house = House()
    for spaces in range(1, 500):
        await house.authenticator.authenticate("Bearer" + " " * spaces + KEY)
    kept = house.authenticator._presented_keys
    assert len(kept) <= 100
    assert all(len(name) == 32 for name in kept), "a hash, never a key"


async def test_a_refused_key_is_remembered_briefly() -> None:
    house = House()
    house.directory.key = None
    for _ in range(100):
        assert not await house.opens()
    assert house.directory.reads == 2
    unknown = mint(prefix="eg", slug="nobody", secret=bytes(32), pepper=PEPPER)
    for _ in range(100):
        assert not await house.opens(unknown)
        house.clock.advance(0.01)
    assert house.directory.reads == 3


async def test_a_restored_store_with_another_pepper_is_noticed() -> None:
    house = House()
    assert await house.opens()
    house.directory.current_pepper = b"new" * 11
    key = mint(prefix="eg", slug="demo", secret=bytes(32), pepper=house.directory.current_pepper)
    house.directory.key = KeyRecord(key_id_of(key), "ci", digest_of(key), 0)
    house.clock.advance(1.1)
    assert await house.opens(key)
    assert not await house.opens()


async def test_redis_away_is_said_and_recovers() -> None:
    house = House()
    house.directory.down = True
    with pytest.raises(DependencyDown):
        await house.opens()
    house.directory.down = False
    assert await house.opens()


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic abc", KEY])
async def test_headers_without_a_key_say_how_to_send_one(header: str | None) -> None:
    with pytest.raises(Unauthenticated, match="Authorization: Bearer"):
        await House().authenticator.authenticate(header)


async def test_a_key_of_another_record_with_the_same_id_is_refused() -> None:
    house = House()
    house.directory.key = KeyRecord(key_id_of(KEY), "ci", "0" * 64, 0)
    assert not await house.opens()
