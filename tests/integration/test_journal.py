"""The journal's way out of Redis: each entry once, whoever is killed when; and the way back."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import redis as sync_redis

from app.core.directory import Author, Endpoint, KeyRecord, Project
from app.core.errors import Conflict, InvalidRequest
from app.core.journal import JournalLine, grouped
from app.core.ledger_types import Charge, Settlement, Terms
from app.services.journal_drain import JournalDrain
from app.services.ledger_audit import LedgerAudit
from app.stores.journal_files import JournalFiles
from app.stores.object_place import ObjectPlace
from app.stores.redis_client import PATIENT_S, connect
from app.stores.redis_directory import RedisDirectory
from app.stores.redis_journal import MAX_USAGE_KINDS, RedisJournal
from app.stores.redis_ledger import RedisLedger
from app.stores.redis_rebuild import RedisRebuild
from app.stores.redis_wire import RedisWire
from app.stores.script_pipe import ScriptPipe

BY = Author("tester", "because")


class House:
    """Two projects, a ledger, a journal and a folder for it."""

    projects = ("proj_a", "proj_b")

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.redis = connect(url, timeout_s=PATIENT_S)
        self.raw = sync_redis.Redis.from_url(url)
        self.wire = RedisWire(url, timeout_s=PATIENT_S)
        pipe = ScriptPipe(self.wire, clock_s=time.monotonic)
        self.ledger = RedisLedger(self.redis, pipe)
        self.journal = RedisJournal(self.redis, pipe)
        self.files = JournalFiles(ObjectPlace.of(str(folder)))
        self.folder = folder
        self.directory = RedisDirectory(self.redis)

    async def furnish(self) -> None:
        for project_id in self.projects:
            await self.directory.create_project(Project(project_id, "n", project_id[-1], "active", 0), BY)
            await self.directory.create_endpoint(
                project_id, Endpoint("e", "m", "embed", "active", "default", 1000, 0), BY
            )
            await self.directory.create_key(project_id, KeyRecord("key_1", "k", "digest", 0), BY)
            await self.ledger.grant(project_id, "g1", 10**6, "{}")
        await self.directory.pepper()

    async def use(
        self, project_id: str, *names: str, user: str = "u", end: Settlement | None = Settlement.CAPTURE
    ) -> None:
        details = f'{{"endpoint":"e","tier":"default","key_id":"key_1","user":"{user}","cached_tokens":1}}'
        for name in names:
            await self.ledger.admit(project_id, Charge(name, 10, 5, "key_1", details), Terms(), ttl_ms=60_000)
            if end is not None:
                await self.ledger.settle(project_id, name, end, 10)

    def drain(self, **replaced: Any) -> JournalDrain:
        return JournalDrain(replaced.get("journal", self.journal), replaced.get("files", self.files))

    async def written(self) -> list[JournalLine]:
        ledger_id = await self.journal.ledger_id()
        found: list[JournalLine] = []
        for number, day in (await self.files.parts()).get(ledger_id, []):
            found += await self.files.read_part(ledger_id, number, day) or []
        return found

    async def faults(self) -> list[str]:
        verdicts = [verdict async for verdict in LedgerAudit(self.journal, self.files).verify()]
        assert {v.project_id for v in verdicts} == set(self.projects)
        return [f"{v.project_id}: {fault}" for v in verdicts for fault in v.faults]


@pytest.fixture
async def house(redis_url: str, tmp_path: Path) -> AsyncIterator[House]:
    running = House(redis_url, tmp_path / "journal")
    running.raw.flushall()
    await running.furnish()
    yield running
    running.wire.close()
    await running.redis.aclose()


async def test_every_entry_leaves_once(house: House) -> None:
    await house.use("proj_a", "h1", "h2")
    await house.use("proj_b", "h3", end=Settlement.RELEASE)
    assert (await house.drain().drain())[0] == 2 * 4 + 6
    assert await house.drain().drain() == (0, False)
    await house.use("proj_a", "h4")
    assert (await house.drain().drain())[0] == 2
    lines = await house.written()
    ids = [(line.project_id, line.entry_id) for line in lines]
    assert len(ids) == len(set(ids)) == 16
    assert house.raw.xlen("eg:{proj_a}:journal") == 0
    assert await house.faults() == []
    usage = await house.journal.usage("proj_a", [int(time.strftime("%Y%m", time.gmtime()))])
    ((key, one),) = usage.items()
    assert (key.endpoint, key.key, key.user) == ("e", "key_1", "u")
    assert (one.requests, one.tokens, one.cached_tokens, one.amount_nano_usd) == (3, 15, 3, 30)


class Killed(Exception):
    pass


def killing(thing: object, method: str, *, after: bool) -> Any:
    """The same object, whose process ends at one call: before it, or right after it."""

    class Wrapper:
        def __getattr__(self, name: str) -> Callable[..., Any]:
            real = getattr(thing, name)
            if name != method:
                return real

            async def dying(*args: Any, **kwargs: Any) -> Any:
                if after:
                    await real(*args, **kwargs)
                raise Killed

            return dying

    return Wrapper()


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("method", ["claim", "create_part", "finish", "put_directory"])
async def test_a_drainer_is_killed_anywhere(house: House, method: str, after: bool) -> None:
    await house.use("proj_a", "h1")
    doomed = house.drain(
        journal=killing(house.journal, method, after=after), files=killing(house.files, method, after=after)
    )
    with pytest.raises(Killed):
        await doomed.drain()
    await house.use("proj_a", "h2")
    while (await house.drain().drain())[0]:
        pass
    ids = [(line.project_id, line.entry_id) for line in await house.written()]
    assert len(ids) == len(set(ids)) == 2 * 4 + 4
    assert await house.faults() == []
    month = int(time.strftime("%Y%m", time.gmtime()))
    assert sum(u.requests for u in (await house.journal.usage("proj_a", [month])).values()) == 2


async def test_two_drainers_at_once(house: House) -> None:
    for n in range(10):
        await house.use("proj_a", f"h{n}")
        await asyncio.gather(*(house.drain().drain() for _ in range(3)))
    while (await house.drain().drain())[0]:
        pass
    ids = [(line.project_id, line.entry_id) for line in await house.written()]
    assert len(ids) == len(set(ids)) == 2 * 4 + 20
    assert await house.faults() == []


async def test_one_nano_dollar_is_named(house: House) -> None:
    await house.use("proj_a", "h1", "h2")
    await house.drain().drain()
    await house.use("proj_a", "h3", end=None)
    assert await house.faults() == []
    for field in ("granted", "available", "held", "captured"):
        house.raw.hincrby("eg:{proj_a}:account", field, 1)
        assert any("proj_a" in fault and "off by 1 nano-USD" in fault for fault in await house.faults()), field
        house.raw.hincrby("eg:{proj_a}:account", field, -1)
    assert await house.faults() == []


async def test_a_lost_store_is_rebuilt(house: House) -> None:
    await house.use("proj_a", "h1", "h2")
    await house.use("proj_b", "h3", end=None)
    await house.ledger.settle("proj_a", "h2", Settlement.UNDELIVERED, 0)
    await house.directory.update_project("proj_b", {"status": "delinquent"}, BY)
    while (await house.drain().drain())[0]:
        pass
    before = {p: await house.ledger.read_account(p) for p in house.projects}
    views = {p: await house.directory.read_view(p) for p in house.projects}
    pepper = await house.directory.pepper()
    audit = LedgerAudit(house.journal, house.files)
    with pytest.raises(Conflict):
        [a async for a in audit.rebuild(RedisRebuild(house.redis), None)]
    month = before["proj_a"].month
    usage = await house.journal.usage("proj_a", [month])
    house.raw.flushall()
    with pytest.raises(InvalidRequest):
        [a async for a in audit.rebuild(RedisRebuild(house.redis), "other")]
    rebuilt = {a.project_id: a async for a in audit.rebuild(RedisRebuild(house.redis), None)}
    assert set(rebuilt) == set(house.projects)
    assert await house.ledger.read_account("proj_a") == before["proj_a"]
    other = await house.ledger.read_account("proj_b")
    assert (other.balance.available, other.balance.held, other.open_holds) == (10**6, 0, 0)
    assert other.is_delinquent
    assert {p: await house.directory.read_view(p) for p in house.projects} == views
    assert (await house.directory.read_credential("proj_a", "key_1")).key == KeyRecord("key_1", "k", "digest", 0)
    assert await house.directory.find_project("a") == "proj_a"
    assert await house.directory.pepper() == pepper
    assert await house.journal.usage("proj_a", [month]) == usage
    assert await house.ledger.grant("proj_a", "g1", 10**6, "{}") == "granted"
    assert (await house.ledger.read_account("proj_a")).balance.granted == before["proj_a"].balance.granted
    await house.use("proj_a", "h9")
    while (await house.drain().drain())[0]:
        pass
    assert await house.faults() == []


async def test_a_spent_grant_that_was_lost_becomes_a_debt(house: House) -> None:
    while (await house.drain().drain())[0]:
        pass
    await house.ledger.grant("proj_a", "g2", 10**6, "{}")
    house.raw.xtrim("eg:{proj_a}:journal", maxlen=0)
    assert any("granted" in fault for fault in await house.faults())
    await house.ledger.admit("proj_a", Charge("big", 1_500_000, 1, "key_1", "{}"), Terms(), ttl_ms=1000)
    await house.ledger.settle("proj_a", "big", Settlement.CAPTURE, 1_500_000)
    await house.drain().drain()
    house.raw.flushall()
    audit = LedgerAudit(house.journal, house.files)
    rebuilt = {a.project_id: a async for a in audit.rebuild(RedisRebuild(house.redis), None)}
    assert rebuilt["proj_a"].balance.debt == 500_000
    state = await house.ledger.read_account("proj_a")
    assert (state.balance.available, state.balance.debt) == (0, 500_000)
    assert await house.faults() == []


async def test_users_beyond_the_bound_are_summed_up(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_USAGE_KINDS >= 10_000
    monkeypatch.setattr("app.stores.redis_journal.MAX_USAGE_KINDS", 3)
    for n in range(6):
        await house.use("proj_a", f"h{n}", user=f"user{n}")
        await house.drain().drain()
    usage = await house.journal.usage("proj_a", [int(time.strftime("%Y%m", time.gmtime()))])
    by_user = {group["user"]: one.requests for group, one in grouped(usage, ["user"])}
    assert by_user == {"user0": 1, "user1": 1, "user2": 1, "(other)": 3}


async def test_changes_are_journalled_with_who_and_why(house: House) -> None:
    await house.directory.update_endpoint("proj_a", "e", {"price_nano_usd_per_mtok": 7}, Author("ann", "new prices"))
    await house.drain().drain()
    change = [line for line in await house.written() if line.kind == "change"][-1]
    wanted = {
        "what": "endpoint:e",
        "before": {"price_nano_usd_per_mtok": 0},
        "after": {"price_nano_usd_per_mtok": 7},
        "actor": "ann",
        "reason": "new prices",
    }
    lines = [line.details for line in await house.written() if line.kind == "change" and line.project_id == "proj_a"]
    assert wanted in lines, change
    assert "digest" not in str(lines)


async def test_a_drainer_that_stalls_over_midnight_writes_nothing_twice(house: House) -> None:
    """It read the position, slept while another wrote that part, and wakes on the next day."""
    await house.use("proj_a", "h1")
    real = house.journal.position
    other = house.drain()

    class Stalling:
        has_slept = False

        def __getattr__(self, name: str) -> Any:
            return getattr(house.journal, name)

        async def position(self) -> tuple[int, str | None]:
            found = await real()
            if not Stalling.has_slept:
                Stalling.has_slept = True
                await other.drain()
                await house.use("proj_a", "h2")
            return found

    await house.drain(journal=Stalling()).drain()
    while (await house.drain().drain())[0]:
        pass
    assert await house.journal.claim(0, "2030-01-01") is None, "a part that is done has its day"
    ids = [(line.project_id, line.entry_id) for line in await house.written()]
    assert len(ids) == len(set(ids)) == 2 * 4 + 4
    assert await house.faults() == []


async def test_a_busy_project_among_idle_ones_is_drained_at_once(house: House) -> None:
    for n in range(60):
        await house.use("proj_a", f"h{n}")
    house.raw.zadd("eg:projects", {f"proj_idle{n}": 0 for n in range(400)})
    moved, has_more = await house.drain().drain()
    assert has_more
    assert moved >= 100
