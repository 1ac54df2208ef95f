import asyncio
import threading
import time
from collections.abc import AsyncIterator, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from app.core.errors import CapacityExceeded, DeadlineExceeded, EngineError, EngineFault
from app.core.packing import TokenIds
from app.core.tier_queue import TierQueue
from app.core.tiers import Tier
from app.services.engine_loop import EngineLoop, LoopBounds
from tests.fakes import RecordingMetrics, fake_vector


class FakeEngine:
    """An engine that can be made to wait, to fail, or to answer nonsense."""

    dimensions = 8

    def __init__(self) -> None:
        self.steps: list[list[list[int]]] = []
        self.errors: list[Exception] = []
        self.scale = 1.0
        self.poison = -1
        self.gate = threading.Event()
        self.gate.set()

    def embed(self, items: Sequence[TokenIds]) -> NDArray[np.float32]:
        self.steps.append([item.tolist() for item in items])
        self.gate.wait(10)
        if self.errors:
            raise self.errors.pop()
        if any(item[0] == self.poison for item in items):
            raise EngineError("refused", fault=EngineFault.BAD_INPUT)
        return np.stack([fake_vector(item, 8) for item in items]) * np.float32(self.scale)


@pytest.fixture
async def house() -> AsyncIterator[tuple[FakeEngine, EngineLoop]]:
    engine = FakeEngine()
    loop = EngineLoop(
        engine,
        TierQueue(max_queued_tokens=100, min_shares_thousandths={}),
        bounds=LoopBounds(max_step_items=4, max_step_tokens=50, hang_after_s=0.2),
        model_id="m",
        metrics=RecordingMetrics(),
        clock_s=time.monotonic,
    )
    loop.start(asyncio.get_running_loop())
    yield engine, loop
    engine.gate.set()
    loop.stop()


def ids(*numbers: int) -> list[TokenIds]:
    return [np.array([n], np.int32) for n in numbers]


async def test_vectors_come_back_in_order(house: tuple[FakeEngine, EngineLoop]) -> None:
    engine, loop = house
    vectors = await loop.embed(ids(*range(1, 11)), tier=Tier.DEFAULT, timeout_ms=5000)
    assert np.array_equal(vectors, np.stack([fake_vector([n], 8) for n in range(1, 11)]))
    assert [len(step) for step in engine.steps] == [4, 3, 3]


async def test_urgent_work_goes_first(house: tuple[FakeEngine, EngineLoop]) -> None:
    engine, loop = house
    engine.gate.clear()
    tasks = [
        asyncio.create_task(loop.embed(ids(n), tier=tier, timeout_ms=5000))
        for n, tier in ((1, Tier.FLEX), (2, Tier.FLEX), (3, Tier.DEFAULT), (4, Tier.PRIORITY))
    ]
    await asyncio.sleep(0.05)
    engine.gate.set()
    await asyncio.gather(*tasks)
    flat = [item[0] for step in engine.steps for item in step]
    assert flat[-3:] == [4, 3, 2] or flat == [4, 3, 1, 2]


async def test_leaving_withdraws_what_has_not_begun(house: tuple[FakeEngine, EngineLoop]) -> None:
    engine, loop = house
    engine.gate.clear()
    running = asyncio.create_task(loop.embed(ids(1), tier=Tier.DEFAULT, timeout_ms=5000))
    await asyncio.sleep(0.05)
    leaving = asyncio.create_task(loop.embed(ids(2, 3), tier=Tier.DEFAULT, timeout_ms=5000))
    await asyncio.sleep(0.05)
    leaving.cancel()
    await asyncio.sleep(0.05)
    engine.gate.set()
    await running
    await loop.embed(ids(4), tier=Tier.DEFAULT, timeout_ms=5000)
    assert engine.steps == [[[1]], [[4]]]


async def test_what_is_too_late_is_dropped(house: tuple[FakeEngine, EngineLoop]) -> None:
    engine, loop = house
    engine.gate.clear()
    running = asyncio.create_task(loop.embed(ids(1), tier=Tier.DEFAULT, timeout_ms=5000))
    await asyncio.sleep(0.05)
    late = asyncio.create_task(loop.embed(ids(2), tier=Tier.DEFAULT, timeout_ms=20))
    await asyncio.sleep(0.1)
    engine.gate.set()
    await running
    with pytest.raises(DeadlineExceeded):
        await late
    assert engine.steps == [[[1]]]


async def test_a_full_queue_refuses_and_keeps_nothing_of_the_call(house: tuple[FakeEngine, EngineLoop]) -> None:
    engine, loop = house
    engine.gate.clear()
    running = asyncio.create_task(loop.embed(ids(1), tier=Tier.DEFAULT, timeout_ms=5000))
    await asyncio.sleep(0.05)
    with pytest.raises(CapacityExceeded):
        await loop.embed([np.ones(60, np.int32)] * 2, tier=Tier.DEFAULT, timeout_ms=5000)
    engine.gate.set()
    await running
    await loop.embed(ids(2), tier=Tier.DEFAULT, timeout_ms=5000)
    assert engine.steps == [[[1]], [[2]]]


async def test_a_failed_step_fails_its_items_only(house: tuple[FakeEngine, EngineLoop]) -> None:
    engine, loop = house
    engine.errors = [RuntimeError("boom")]
    with pytest.raises(EngineError) as caught:
        await loop.embed(ids(1), tier=Tier.DEFAULT, timeout_ms=5000)
    assert caught.value.fault is EngineFault.OTHER
    assert (await loop.embed(ids(1), tier=Tier.DEFAULT, timeout_ms=5000)).shape == (1, 8)
    loop.check_health()


async def test_one_items_failure_is_its_own(house: tuple[FakeEngine, EngineLoop]) -> None:
    engine, loop = house
    engine.gate.clear()
    first = asyncio.create_task(loop.embed(ids(1), tier=Tier.DEFAULT, timeout_ms=5000))
    await asyncio.sleep(0.05)
    engine.poison = 3
    others = [asyncio.create_task(loop.embed(ids(n), tier=Tier.DEFAULT, timeout_ms=5000)) for n in (2, 3, 4)]
    await asyncio.sleep(0.05)
    engine.gate.set()
    await first
    outcomes = await asyncio.gather(*others, return_exceptions=True)
    assert [isinstance(o, EngineError) for o in outcomes] == [False, True, False]
    loop.check_health()


async def test_an_engine_that_fails_again_and_again_counts_as_dead(house: tuple[FakeEngine, EngineLoop]) -> None:
    engine, loop = house
    engine.errors = [RuntimeError("illegal memory access")] * 10
    for _ in range(3):
        loop.check_health()
        with pytest.raises(EngineError):
            await loop.embed(ids(1), tier=Tier.DEFAULT, timeout_ms=5000)
    with pytest.raises(EngineError):
        loop.check_health()


async def test_a_dead_engine_fails_everything_and_its_health_check(house: tuple[FakeEngine, EngineLoop]) -> None:
    engine, loop = house
    engine.gate.clear()
    engine.errors = [EngineError("dead", fault=EngineFault.DEAD)]
    first = asyncio.create_task(loop.embed(ids(1), tier=Tier.DEFAULT, timeout_ms=5000))
    await asyncio.sleep(0.05)
    second = asyncio.create_task(loop.embed(ids(2), tier=Tier.DEFAULT, timeout_ms=5000))
    await asyncio.sleep(0.05)
    engine.gate.set()
    for task in (first, second):
        with pytest.raises(EngineError, match="dead"):
            await task
    with pytest.raises(EngineError, match="dead"):
        loop.check_health()
    with pytest.raises(EngineError, match="dead"):
        await loop.embed(ids(3), tier=Tier.DEFAULT, timeout_ms=5000)


async def test_a_hanging_engine_fails_its_health_check(house: tuple[FakeEngine, EngineLoop]) -> None:
    engine, loop = house
    engine.gate.clear()
    task = asyncio.create_task(loop.embed(ids(1), tier=Tier.DEFAULT, timeout_ms=5000))
    await asyncio.sleep(0.1)
    loop.check_health()
    await asyncio.sleep(0.2)
    with pytest.raises(EngineError, match=r"over 0\.2 s"):
        loop.check_health()
    engine.gate.set()
    await task
    loop.check_health()


async def test_a_vector_that_is_not_of_length_one_never_leaves_the_replica(
    house: tuple[FakeEngine, EngineLoop],
) -> None:
    engine, loop = house
    engine.scale = 2.0
    with pytest.raises(Exception, match="length one"):
        await loop.embed(ids(1), tier=Tier.DEFAULT, timeout_ms=5000)
