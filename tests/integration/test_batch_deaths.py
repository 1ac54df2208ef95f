"""Workers that die at every step, or go on after they were taken for dead: each line is charged once."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from app.core.batch.chunk import ChunkResults, LineHold
from app.core.batch.record import replay
from app.core.batch.refs import BatchRef, ChunkLease
from app.core.batch.state import BatchStatus, Closed, Event, Finalizing, Validated
from app.core.errors import ModelProvisioning
from app.services.batches import worker as worker_module
from app.services.batches.money import BatchMoney
from app.services.batches.worker import BatchWorker
from app.stores.redis_chunks import RedisChunks
from tests.batch_house import MODEL, PRICE, PROJECT, BatchHouse, lines_of
from tests.fakes import FakePool
from tests.integration.test_batch_worker import check_files, check_money

LINES = 600
DEATHS = 15


@pytest.fixture
async def house(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[BatchHouse]:
    monkeypatch.setattr(worker_module, "STALE_MS", 100)
    made = BatchHouse(redis_url, tmp_path, chunks_at_once=2)
    made.raw.flushall()
    await made.open_tenant()
    yield made
    await made.close()


class Life:
    """Ends before or after a certain call; nothing gets out of the process from then on."""

    def __init__(self, calls: int, *, after: bool) -> None:
        self._calls = calls
        self._after = after
        self.is_over = asyncio.Event()
        self.last = ""

    async def call(self, name: str, method: Callable[..., Any], arguments: tuple[Any, ...], options: Any) -> Any:
        self._calls -= 1
        is_last = self._calls == 0
        if is_last and not self._after:
            self.last = f"before {name}"
            self.is_over.set()
        if self.is_over.is_set():
            await asyncio.Event().wait()
        result = await method(*arguments, **options)
        if is_last:
            self.last = f"after {name}"
            self.is_over.set()
        if self.is_over.is_set():
            await asyncio.Event().wait()
        return result


class Mortal:
    """Passes calls on while its owner lives."""

    def __init__(self, inner: object, life: Life) -> None:
        self._inner = inner
        self._life = life

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)

        async def call(*arguments: Any, **options: Any) -> Any:
            return await self._life.call(name, method, arguments, options)

        return call


def make_mortal(worker: BatchWorker, life: Life) -> None:
    steward: Any = worker._steward
    work: Any = worker._work
    for owner, names in (
        (worker, ("_queue",)),
        (steward, ("_batches", "_queue", "_objects")),
        (steward._intake, ("_objects",)),
        (steward._merge, ("_objects", "_records")),
        (work, ("_batches", "_objects", "_ledger")),
    ):
        for name in names:
            setattr(owner, name, Mortal(getattr(owner, name), life))


async def bury(worker: BatchWorker) -> None:
    """What ``kill -9`` does: nothing is handed back."""
    worker._hand_back = _nothing  # type: ignore[method-assign]
    await worker.close()


async def _nothing(*_: object) -> None:
    pass


async def live_and_die(house: BatchHouse, ref: BatchRef, source: random.Random) -> str:
    """What the worker did last: most die early, some when they have dealt with a chunk or two."""
    calls = source.choice([source.randrange(1, 15), source.randrange(1, 300), source.randrange(500, 700)])
    life = Life(calls, after=source.random() < 0.5)
    worker = house.worker(prepare=lambda made: make_mortal(made, life))
    ended = asyncio.create_task(house.until_ended(ref, within_s=60))
    over = asyncio.create_task(life.is_over.wait())
    await asyncio.wait([ended, over], return_when=asyncio.FIRST_COMPLETED)
    for task in (ended, over):
        task.cancel()
    await bury(worker)
    house.workers.remove(worker)
    await asyncio.sleep(0.1)
    return life.last


async def test_workers_die_at_every_step(house: BatchHouse) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    source = random.Random(seed)
    ref = await house.submit(lines_of([f"text {n}" for n in range(LINES)]))
    deaths: list[str] = []
    async with asyncio.timeout(150):
        while len(deaths) < DEATHS and not (await house.batch(ref)).has_ended:
            deaths.append(await live_and_die(house, ref, source))
    house.worker()
    batch = await house.until_ended(ref)
    print(deaths)
    assert (batch.status, batch.completed) == (BatchStatus.COMPLETED, LINES)
    await check_money(house, batch)
    await check_files(house, batch)
    journal = await house.batches.journal(PROJECT, ref.batch_id)
    assert journal is not None
    assert replay(*journal) == batch


@pytest.mark.parametrize("closing", ["cancelled", "expired", None])
async def test_workers_that_are_taken_for_dead_and_go_on(
    house: BatchHouse, monkeypatch: pytest.MonkeyPatch, closing: str | None
) -> None:
    """Every chunk may be taken by the others at any moment, so most are worked on by several at once."""
    monkeypatch.setattr(worker_module, "STALE_MS", 0)
    gate = asyncio.Semaphore(0)
    house.pool.gate = gate.acquire
    for _ in range(3):
        house.worker()
    ref = await house.submit(lines_of([f"text {n}" for n in range(LINES)]))
    await house.until(ref, lambda batch: batch.status is BatchStatus.IN_PROGRESS)
    await asyncio.sleep(0.5)
    gate.release()
    await house.until(ref, lambda batch: bool(batch.done_chunks))
    if closing == "cancelled":
        await house.service.cancel(PROJECT, ref.batch_id)
    elif closing == "expired":
        house.clock.advance(86_400)
    for _ in range(30):
        gate.release()
    batch = await house.until_ended(ref)
    await asyncio.sleep(1)
    if closing is None:
        assert (batch.status, batch.completed) == (BatchStatus.COMPLETED, LINES)
    await check_money(house, batch)
    await check_files(house, batch)


def held(number: int, *, succeeded: bool = True) -> LineHold:
    return LineHold(number, 4, None, succeeded=succeeded)


async def in_progress(house: BatchHouse, *closing: Event) -> tuple[Any, BatchMoney, ChunkLease]:
    """A worker that was never started, the money of a batch of one chunk, and a lease of it."""
    ref = await house.submit(lines_of(["a", "b"]))
    validated = Validated(1, MODEL, "e", 2, 1, PRICE, 500, model_id=MODEL, dimensions=None)
    for event in (validated, *closing):
        batch = await house.batches.say(PROJECT, ref.batch_id, event)
    assert batch is not None
    view = await house.directory.read_view(PROJECT)
    assert view is not None
    worker = house.worker(started=False)
    return worker._work, BatchMoney(house.ledger, view.project, batch, now_ms=0), ChunkLease(ref, 0, "0-1", True)


async def test_a_capture_that_comes_after_its_hold_was_forgotten_charges_nothing(house: BatchHouse) -> None:
    """The worker stood still between its look at the batch and its captures, while another did all of it."""
    work, money, lease = await in_progress(house)
    results = ChunkResults.of([held(1), held(2)], [b"{}\n"] * 2, [], total_tokens=8)
    for line in results.head.holds:
        await money.hold(line)
    assert await work._charge(lease, results, money)
    house.raw.delete(f"eg:{{{PROJECT}}}:holds", f"eg:{{{PROJECT}}}:deadlines")
    await work._charge(lease, results, money)
    assert sorted(house.captured_lines()) == [1, 2]
    assert (await house.account()).open_holds == 0


async def test_captures_that_a_crashed_store_forgot_are_made_again(house: BatchHouse) -> None:
    work, money, lease = await in_progress(house)
    results = ChunkResults.of([held(1)], [b"{}\n"], [], total_tokens=4)
    assert await work._charge(lease, results, money), "never held, as far as the store knows"
    assert house.captured_lines() == [1]


@pytest.mark.parametrize("sealed_at", ["before", "between"])
async def test_what_was_captured_of_a_chunk_that_came_too_late_is_given_back(house: BatchHouse, sealed_at: str) -> None:
    closing: list[Event] = [Closed(2, "cancelled"), Finalizing(3)]
    work, money, lease = await in_progress(house, *(closing if sealed_at == "before" else []))
    results = ChunkResults.of([held(1), held(2, succeeded=False)], [b"{}\n"], [b"{}\n"], total_tokens=4)
    for line in results.head.holds:
        await money.hold(line)
    if sealed_at == "before":
        await money.capture(held(1), is_wanted=_yes)
    else:
        say = work._batches.say

        async def too_late(project_id: str, batch_id: str, event: Event) -> Any:
            for other in closing:
                await say(project_id, batch_id, other)
            return await say(project_id, batch_id, event)

        work._batches.say = too_late
    await work._settle(lease, results, money)
    account = await house.account()
    assert (account.balance.available, account.balance.held, account.open_holds) == (10**12, 0, 0)


async def _yes() -> bool:
    return True


async def test_only_its_worker_takes_a_chunk_out(house: BatchHouse) -> None:
    queue, ref = RedisChunks(house.client), BatchRef(PROJECT, "batch_x")
    await queue.feed(ref, range(30))
    for _ in range(20):
        first = await queue.lease(ref, owner="first", stale_ms=10_000)
    assert first is not None
    await asyncio.sleep(0.15)
    taken = [await queue.lease(ref, owner="second", stale_ms=100) for _ in range(20)]
    assert all(lease is not None and lease.is_again for lease in taken), "those behind ten live ones too"
    await queue.done(first, owner="first")
    assert house.raw.xlen(f"eg:{{{PROJECT}}}:batch_chunks:batch_x") == 30
    await queue.done(first, owner="second")
    assert house.raw.xlen(f"eg:{{{PROJECT}}}:batch_chunks:batch_x") == 29


class _Killing(FakePool):
    """Loses its replicas to one poisonous item."""

    poison: "list[int]" = []  # noqa: RUF012

    async def _compute(self, items: Any, futures: Any, gate: Any) -> None:
        self.error = (
            ModelProvisioning("lost", retry_after_s=5) if any(i.tolist() == self.poison for i in items) else None
        )
        await super()._compute(items, futures, gate)


async def test_a_line_that_kills_its_replica_fails_alone(house: BatchHouse) -> None:
    house.pool = _Killing()
    house.pool.poison = [101, 9947, 102]
    house.worker()
    batch = await house.until_ended(await house.submit(lines_of(["one", "poison", "two", "three"])), within_s=60)
    assert (batch.status, batch.completed, batch.failed) == (BatchStatus.COMPLETED, 3, 1)
    await check_money(house, batch)
