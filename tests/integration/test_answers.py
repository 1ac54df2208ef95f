"""Idempotency keys on a real store: gateways that die at any point, and what is charged in the end."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from app.core.errors import Conflict, DependencyDown
from app.core.ledger_types import Charge, HoldState, Settlement, Terms
from app.services.idempotency import Idempotency, KeyedRequest
from app.stores.answers import AnswerFiles, RedisAnswerRecords
from app.stores.object_place import ObjectPlace
from app.stores.redis_client import PATIENT_S, connect
from app.stores.redis_ledger import RedisLedger
from app.stores.redis_wire import RedisWire
from app.stores.script_pipe import ScriptPipe

COST = 100
DAY_S = 1_790_000_000


class Died(BaseException):
    """A gateway was killed."""


class House:
    """Gateways that share a store. ``dies`` names where the next attempt is killed."""

    def __init__(self, url: str, folder: Path) -> None:
        self.redis = connect(url, timeout_s=PATIENT_S)
        self.wire = RedisWire(url, timeout_s=PATIENT_S)
        pipe = ScriptPipe(self.wire, clock_s=time.monotonic)
        self.ledger = RedisLedger(self.redis, pipe)
        self.records = RedisAnswerRecords(pipe)
        self.answers = AnswerFiles(ObjectPlace.of(str(folder)))
        self.attempts = 0
        self.dies = ""

    async def ask(self, body: bytes = b"body") -> tuple[bytes, bool]:
        self.attempts += 1
        number = self.attempts
        service = Idempotency(
            self.Dying(self), self.answers, self.Ledger(self), wall_s=lambda: DAY_S, clock_s=time.monotonic,
            new_hold_id=lambda: f"hold_{number}",
            lease_margin_ms=-950,
        )  # fmt: skip
        return await service.answer(KeyedRequest("proj_a", "key", body, 1000), self.work)

    @asynccontextmanager
    async def work(self, hold_id: str) -> AsyncIterator[bytes]:
        await self.ledger.admit("proj_a", Charge(hold_id, COST, 1, "k", "{}"), Terms(), ttl_ms=60_000)
        yield b"answer " + hold_id.encode()
        self.die("before capture")
        receipt = await self.ledger.settle("proj_a", hold_id, Settlement.CAPTURE, COST)
        assert receipt is not None and receipt.state is HoldState.CAPTURED
        self.die("after capture")

    def die(self, where: str) -> None:
        if self.dies == where:
            raise Died

    class Dying:
        """A killed gateway says nothing more to the store."""

        def __init__(self, house: "House") -> None:
            self.house = house

        def __getattr__(self, name: str) -> object:
            real = getattr(self.house.records, name)

            async def call(*args: object) -> object:
                if self.house.dies and name in ("forget", "finish"):
                    raise Died
                result = await real(*args)
                if name == "claim":
                    self.house.die("after claim")
                return result

            return call

    class Ledger:
        def __init__(self, house: "House") -> None:
            self.house = house

        async def settle(self, *args: object) -> object:
            if self.house.dies == "store is away":
                raise DependencyDown("away")
            result = await self.house.ledger.settle(*args)  # type: ignore[arg-type]
            self.house.die("after undoing")
            return result

    async def captured(self) -> int:
        """What the project paid in the end."""
        balance = (await self.ledger.read_account("proj_a")).balance
        return 10_000 - balance.available - balance.held


@pytest.fixture
async def house(redis_url: str, tmp_path: Path) -> AsyncIterator[House]:
    running = House(redis_url, tmp_path)
    await running.redis.flushall()
    await running.ledger.grant("proj_a", "g", 10_000, "{}")
    yield running
    running.wire.close()
    await running.redis.aclose()


async def lose(house: House, where: str) -> None:
    house.dies = where
    with pytest.raises((Died, DependencyDown)):
        await house.ask()
    house.dies = ""
    time.sleep(0.06)  # the lease is over


async def test_the_first_answer_stays(house: House) -> None:
    first = await house.ask()
    assert first == (b"answer hold_1", False)
    assert await house.ask() == (b"answer hold_1", True)
    assert await house.captured() == COST
    with pytest.raises(Conflict):
        await house.ask(b"another body")


@pytest.mark.parametrize(
    "deaths",
    [
        ["after claim"],
        ["before capture"],
        ["after capture"],
        ["after capture", "after claim"],
        ["after capture", "store is away"],
        ["after capture", "after undoing"],
        ["after capture", "after claim", "after capture", "before capture", "after undoing"],
    ],
    ids=", ".join,
)
async def test_whoever_dies_it_is_charged_once(house: House, deaths: list[str]) -> None:
    for where in deaths:
        await lose(house, where)
    answer, is_replay = await house.ask()
    assert (answer, is_replay) == (f"answer hold_{len(deaths) + 1}".encode(), False)
    assert (await house.ledger.read_account("proj_a")).balance.available == 10_000 - COST
    assert await house.ask() == (answer, True)


async def test_answers_of_earlier_days_are_deleted(house: House) -> None:
    for day in ("2026-01-01", "2026-01-02", "2026-01-03"):
        await house.answers.put("name", b"x", day=day)
    assert await house.answers.forget_before("2026-01-02") == 1
    assert await house.answers.get("name", day="2026-01-01") is None
    assert await house.answers.get("name", day="2026-01-02") == b"x"
