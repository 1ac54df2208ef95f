"""Batches in a real store: what the journal says is what the state is, whoever spoke at the same time."""

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import redis

from app.core.batch.record import dump_batch, dump_event, load_batch, load_event, replay
from app.core.batch.state import (
    Batch,
    BatchStatus,
    ChunkDone,
    Closed,
    Event,
    Finalizing,
    Finished,
    LineError,
    Refused,
    Validated,
)
from app.stores.redis_batches import RedisBatches
from app.stores.redis_client import PATIENT_S, connect

PROJECT = "proj_1"
NEW = Batch("batch_1", "key_1", "/v1/embeddings", "file-1", 5, 86_400_005, 2_592_000, metadata={"a": "ü"})
VALIDATED = Validated(
    10,
    "m",
    "embed",
    lines=40,
    chunks=20,
    price_nano_usd_per_mtok=7,
    multiplier_thousandths=500,
    model_id="m",
    dimensions=None,
)


def chunk(number: int) -> ChunkDone:
    return ChunkDone(20, number, 1, 1, tokens=3, cached_tokens=1)


@pytest.fixture
async def batches(redis_url: str) -> AsyncIterator[RedisBatches]:
    redis.Redis.from_url(redis_url).flushall()
    client = connect(redis_url, timeout_s=PATIENT_S)
    yield RedisBatches(client)
    await client.aclose()


async def derived(batches: RedisBatches) -> Batch:
    found = await batches.journal(PROJECT, NEW.batch_id)
    assert found is not None
    return replay(*found)


async def test_a_batch_is_what_its_journal_says(batches: RedisBatches) -> None:
    await batches.create(PROJECT, NEW, max_open=10, max_kept=10)
    await batches.create(PROJECT, replace(NEW, metadata={}), max_open=10, max_kept=10)
    assert await batches.get(PROJECT, NEW.batch_id) == NEW
    events: list[Event] = [
        VALIDATED,
        chunk(3),
        chunk(3),
        Closed(30, "expired"),
        Finalizing(40),
        Finished(50, "o", None),
    ]
    for event in events:
        said = await batches.say(PROJECT, NEW.batch_id, event)
        assert said == await batches.get(PROJECT, NEW.batch_id) == await derived(batches)
    assert said is not None
    assert said.status is BatchStatus.EXPIRED
    found = await batches.journal(PROJECT, NEW.batch_id)
    assert found is not None
    assert list(found[1]) == [events[0], *events[2:]], "what changes nothing is not journalled"


async def test_many_workers_at_once_lose_nothing_and_count_nothing_twice(batches: RedisBatches) -> None:
    await batches.create(PROJECT, NEW, max_open=10, max_kept=10)
    await batches.say(PROJECT, NEW.batch_id, VALIDATED)
    said = [chunk(n) for n in range(20)] * 3
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    random.Random(seed).shuffle(said)
    gate = asyncio.Semaphore(8)

    async def say(event: ChunkDone) -> None:
        async with gate:
            await batches.say(PROJECT, NEW.batch_id, event)

    await asyncio.gather(*map(say, said))
    batch = await batches.get(PROJECT, NEW.batch_id)
    assert batch == await derived(batches)
    assert batch is not None
    assert (batch.completed, batch.failed, batch.tokens, batch.is_worked_off) == (20, 20, 60, True)


async def test_batches_are_paged_newest_first_and_kept_apart(batches: RedisBatches) -> None:
    for n in range(5):
        await batches.create(PROJECT, replace(NEW, batch_id=f"batch_{n}"), max_open=10, max_kept=10)
    page = await batches.page(PROJECT, after=None, limit=2)
    assert [b.batch_id for b in page] == ["batch_4", "batch_3"]
    page = await batches.page(PROJECT, after="batch_3", limit=9)
    assert [b.batch_id for b in page] == ["batch_2", "batch_1", "batch_0"]
    assert await batches.page("proj_2", after=None, limit=9) == []
    assert await batches.get("proj_2", "batch_1") is None
    assert await batches.say("proj_2", "batch_1", VALIDATED) is None
    assert await batches.journal("proj_2", "batch_1") is None


@pytest.mark.parametrize(
    "event",
    [
        VALIDATED,
        Refused(5, (LineError("c", "m", None, 3),)),
        chunk(1),
        Closed(1, "unpaid"),
        Finalizing(2),
        Finished(3, None, "e"),
    ],
)
def test_documents_come_back(event: Event) -> None:
    assert load_event(dump_event(event)) == event
    batch = replay(NEW, [VALIDATED, event])
    assert load_batch(dump_batch(batch)) == batch


def test_a_later_releases_documents_are_read_as_far_as_they_are_known() -> None:
    assert load_batch(dump_batch(NEW).replace(b'"endpoint"', b'"new_field":1,"endpoint"', 1)) == NEW
    with pytest.raises(ValueError, match="later release"):
        load_event(b'{"event":"teleported"}')
