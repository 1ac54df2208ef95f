import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app.core import metric_names as names
from app.core.errors import CapacityExceeded, DeadlineExceeded, EmbedgateError, EngineError, EngineFault
from app.core.load import RateMeter
from app.core.packing import TokenIds
from app.core.tier_queue import QueuedItem, TierQueue
from app.core.tiers import Tier
from app.services.engine_loop import EngineLoop
from app.services.idle_cores import IdleCores
from app.services.step_engine import LoopBounds
from tests.fakes import FakeEngine, RecordingMetrics, fake_vector


class Recorder:
    """``Outcomes`` that lets a test await the vectors of items that it submitted together."""

    def __init__(self) -> None:
        self.loop: EngineLoop
        self.futures: dict[int, asyncio.Future[NDArray[np.float32]]] = {}

    def computed(self, items: Sequence[QueuedItem], vectors: NDArray[np.float32]) -> None:
        for item, vector in zip(items, vectors, strict=True):
            self.futures[id(item)].set_result(vector)

    def failed(self, items: Sequence[QueuedItem], error: EmbedgateError) -> None:
        for item in items:
            self.futures[id(item)].set_exception(error)

    async def embed(self, items: Sequence[TokenIds], *, tier: Tier, timeout_ms: int) -> NDArray[np.float32]:
        now_s = time.monotonic()
        queued = [QueuedItem(item, tier, now_s, now_s + timeout_ms / 1000, None) for item in items]
        futures = [asyncio.get_running_loop().create_future() for _ in queued]
        self.futures |= {id(item): future for item, future in zip(queued, futures, strict=True)}
        self.loop.submit(queued)
        try:
            outcomes = await asyncio.gather(*futures, return_exceptions=True)
        except asyncio.CancelledError:
            self.loop.withdraw(queued)
            raise
        if failure := next((o for o in outcomes if isinstance(o, BaseException)), None):
            raise failure
        return np.stack([o for o in outcomes if not isinstance(o, BaseException)])

    def check_health(self) -> None:
        self.loop.check_health()


def make_loop(
    engine: FakeEngine,
    *,
    patience: float = 0.0,
    max_step_items: int = 4,
    max_step_s: float = 10.0,
    max_shared_step_s: float = 10.0,
    niceness: int = 0,
    metrics: RecordingMetrics | None = None,
    idle_cores: IdleCores | None = None,
) -> EngineLoop:
    return EngineLoop(
        engine,
        TierQueue(max_queued_tokens=100, min_shares_thousandths={}),
        meter=RateMeter({}),
        bounds=LoopBounds(
            max_step_items=max_step_items,
            max_step_tokens=50,
            hang_after_s=0.2,
            patience=patience,
            max_step_s=max_step_s,
            max_shared_step_s=max_shared_step_s,
            max_light_step_s=10.0,
            niceness=niceness,
        ),
        model_id="m",
        metrics=metrics or RecordingMetrics(),
        clock_s=time.monotonic,
        idle_cores=idle_cores,
    )


@pytest.fixture
async def house() -> AsyncIterator[tuple[FakeEngine, Recorder]]:
    engine, recorder = FakeEngine(), Recorder()
    recorder.loop = make_loop(engine)
    recorder.loop.start(asyncio.get_running_loop(), recorder)
    yield engine, recorder
    engine.gate.set()
    recorder.loop.stop()


def with_another_loop(
    house: tuple[FakeEngine, Recorder], *, takes_s: float, **bounds: Any
) -> tuple[FakeEngine, Recorder]:
    """The same engine, each step of which takes so long, in a loop of other bounds."""
    engine, recorder = house
    recorder.loop.stop()
    engine.takes_s = takes_s
    recorder.loop = make_loop(engine, **bounds)
    recorder.loop.start(asyncio.get_running_loop(), recorder)
    return engine, recorder


def ids(*numbers: int) -> list[TokenIds]:
    return [np.array([n], np.int32) for n in numbers]


async def test_vectors_come_back_in_order(house: tuple[FakeEngine, Recorder]) -> None:
    engine, loop = house
    vectors = await loop.embed(ids(*range(1, 11)), tier=Tier.DEFAULT, timeout_ms=5000)
    assert np.array_equal(vectors, np.stack([fake_vector([n], 8) for n in range(1, 11)]))
    assert [len(step) for step in engine.steps] == [4, 3, 3]


async def test_urgent_work_goes_first(house: tuple[FakeEngine, Recorder]) -> None:
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


async def test_leaving_withdraws_what_has_not_begun(house: tuple[FakeEngine, Recorder]) -> None:
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


async def test_what_is_too_late_is_dropped(house: tuple[FakeEngine, Recorder]) -> None:
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


async def test_a_full_queue_refuses_what_does_not_fit(house: tuple[FakeEngine, Recorder]) -> None:
    engine, loop = house
    engine.gate.clear()
    running = asyncio.create_task(loop.embed(ids(1), tier=Tier.DEFAULT, timeout_ms=5000))
    await asyncio.sleep(0.05)
    waiting = asyncio.create_task(loop.embed([np.ones(60, np.int32)], tier=Tier.DEFAULT, timeout_ms=5000))
    await asyncio.sleep(0.05)
    with pytest.raises(CapacityExceeded):
        await loop.embed([np.ones(60, np.int32)], tier=Tier.DEFAULT, timeout_ms=5000)
    engine.gate.set()
    await asyncio.gather(running, waiting)
    assert [len(step) for step in engine.steps] == [1, 1]


async def test_a_step_waits_for_the_company_of_the_last_one() -> None:
    engine, recorder = FakeEngine(), Recorder()
    engine.takes_s = 0.2
    recorder.loop = make_loop(engine, patience=1.0)
    recorder.loop.start(asyncio.get_running_loop(), recorder)
    await recorder.embed(ids(1, 2, 3), tier=Tier.DEFAULT, timeout_ms=5000)
    state = recorder.loop.state()
    assert state.company == [(Tier.DEFAULT, "", 3)]
    assert 0 < state.company_s <= 0.1
    first = asyncio.create_task(recorder.embed(ids(4), tier=Tier.DEFAULT, timeout_ms=5000))
    await asyncio.sleep(0.02)
    await asyncio.gather(first, recorder.embed(ids(5, 6), tier=Tier.DEFAULT, timeout_ms=5000))
    assert [len(step) for step in engine.steps] == [3, 3]
    began_s = time.monotonic()
    await recorder.embed(ids(7), tier=Tier.DEFAULT, timeout_ms=5000)
    assert 0.23 < time.monotonic() - began_s < 0.6, "a tenth of a second more than its own step, no longer"
    recorder.loop.stop()


async def test_a_full_step_waits_for_nobody() -> None:
    engine, recorder = FakeEngine(), Recorder()
    engine.takes_s = 0.2
    recorder.loop = make_loop(engine, patience=1.0)
    recorder.loop.start(asyncio.get_running_loop(), recorder)
    crowd = asyncio.create_task(recorder.embed(ids(1, 2, 3, 4), tier=Tier.DEFAULT, timeout_ms=5000))
    await asyncio.sleep(0.1)
    began_s = time.monotonic()
    await asyncio.gather(crowd, recorder.embed(ids(5, 6, 7, 8), tier=Tier.DEFAULT, timeout_ms=5000))
    assert [len(step) for step in engine.steps] == [4, 4]
    assert time.monotonic() - began_s < 0.38, (
        "what was left of the step, and its own; a tenth of a second less than a wait"
    )
    recorder.loop.stop()


async def test_steps_are_short_while_several_projects_wait(house: tuple[FakeEngine, Recorder]) -> None:
    engine, recorder = with_another_loop(house, takes_s=0.05, max_step_items=16, max_shared_step_s=0.004)
    await recorder.embed(ids(*range(4)), tier=Tier.DEFAULT, timeout_ms=5000)  # 80 tokens a second
    alone = recorder.embed(ids(*range(16)), tier=Tier.DEFAULT, timeout_ms=5000)
    await alone
    assert [len(step) for step in engine.steps] == [4, 16]
    engine.gate.clear()
    first = asyncio.create_task(recorder.embed(ids(0), tier=Tier.DEFAULT, timeout_ms=5000))
    await asyncio.sleep(0.02)
    several = [
        asyncio.create_task(recorder.embed(ids(*range(20)), tier=tier, timeout_ms=5000))
        for tier in (Tier.DEFAULT, Tier.FLEX)
    ]
    await asyncio.sleep(0.02)
    engine.gate.set()
    await asyncio.gather(first, *several)
    shared = [len(step) for step in engine.steps[3:-3]]
    assert max(shared) <= 7, (
        "about 270 tokens a second, for five times 4 ms: this engine's steps have a fixed cost only"
    )
    recorder.loop.stop()


async def test_a_lone_projects_steps_are_bounded_in_time(house: tuple[FakeEngine, Recorder]) -> None:
    engine, recorder = with_another_loop(house, takes_s=0.05, max_step_items=16, max_step_s=0.05)
    await recorder.embed(ids(*range(4)), tier=Tier.DEFAULT, timeout_ms=5000)  # 80 tokens a second
    await recorder.embed(ids(*range(16)), tier=Tier.DEFAULT, timeout_ms=5000)
    assert max(len(step) for step in engine.steps[1:]) <= 4
    recorder.loop.stop()


async def test_steps_are_short_while_another_asked_a_moment_ago(house: tuple[FakeEngine, Recorder]) -> None:
    engine, recorder = with_another_loop(house, takes_s=0.05, max_step_items=16, max_shared_step_s=0.004)
    await recorder.embed(ids(*range(16)), tier=Tier.FLEX, timeout_ms=5000)  # 320 tokens a second
    await recorder.embed(ids(1), tier=Tier.PRIORITY, timeout_ms=5000)
    await recorder.embed(ids(*range(16)), tier=Tier.FLEX, timeout_ms=5000)
    assert max(len(step) for step in engine.steps[2:]) <= 7
    await asyncio.sleep(1.05)
    before = len(engine.steps)
    await recorder.embed(ids(*range(16)), tier=Tier.FLEX, timeout_ms=5000)
    assert [len(step) for step in engine.steps[before:]] == [16]
    recorder.loop.stop()


async def test_the_queues_gauges_fall_to_zero_when_what_waits_is_withdrawn() -> None:
    engine, recorder = FakeEngine(), Recorder()
    metrics = RecordingMetrics()
    recorder.loop = make_loop(engine, max_step_items=2, metrics=metrics)
    recorder.loop.start(asyncio.get_running_loop(), recorder)
    engine.gate.clear()
    work = asyncio.create_task(recorder.embed(ids(*range(6)), tier=Tier.FLEX, timeout_ms=5000))
    await asyncio.sleep(0.05)
    engine.gate.set()
    engine.takes_s = 0.1
    await asyncio.sleep(0.05)
    work.cancel()
    await asyncio.sleep(0.2)
    assert metrics.highest[names.QUEUE_ITEMS] > 0
    assert (metrics.latest[names.QUEUE_ITEMS], metrics.latest[names.QUEUE_TOKENS]) == (0, 0)
    recorder.loop.stop()


async def test_an_urgent_item_is_not_put_off_for_the_crowd_of_the_last_step() -> None:
    engine, recorder = FakeEngine(), Recorder()
    engine.takes_s = 0.3
    recorder.loop = make_loop(engine, patience=1.0)
    recorder.loop.start(asyncio.get_running_loop(), recorder)
    crowd = asyncio.create_task(recorder.embed(ids(1, 2, 3), tier=Tier.FLEX, timeout_ms=5000))
    await asyncio.sleep(0.2)
    began_s = time.monotonic()
    await recorder.embed(ids(4), tier=Tier.PRIORITY, timeout_ms=5000)
    assert time.monotonic() - began_s < 0.55, "what was left of the step, and its own"
    await crowd
    recorder.loop.stop()


@pytest.mark.parametrize(
    ("is_idle", "has_company", "is_put_off"), [(True, False, False), (False, False, True), (True, True, True)]
)
async def test_a_project_alone_is_not_put_off_while_a_core_is_idle(
    is_idle: bool, has_company: bool, is_put_off: bool
) -> None:
    engine, recorder = FakeEngine(), Recorder()
    engine.takes_s = 0.2
    cores = IdleCores(lambda: 1 if is_idle else 9, cores=2, threads=1)
    recorder.loop = make_loop(engine, patience=1.0, idle_cores=cores)
    recorder.loop.start(asyncio.get_running_loop(), recorder)
    if has_company:
        await recorder.embed(ids(9), tier=Tier.FLEX, timeout_ms=5000)
    await recorder.embed(ids(1, 2, 3), tier=Tier.DEFAULT, timeout_ms=5000)
    began_s = time.monotonic()
    await recorder.embed(ids(4), tier=Tier.DEFAULT, timeout_ms=5000)
    assert (time.monotonic() - began_s > 0.29) is is_put_off, "a step takes 0.2 s, a wait at most 0.1 s"
    recorder.loop.stop()


async def test_the_engines_thread_steps_back_where_it_should() -> None:
    engine, recorder = FakeEngine(), Recorder()
    recorder.loop = make_loop(engine, niceness=3)
    recorder.loop.start(asyncio.get_running_loop(), recorder)
    await recorder.embed(ids(1), tier=Tier.FLEX, timeout_ms=5000)
    assert engine.niceness == 3
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == 0
    recorder.loop.stop()


async def test_a_failed_step_fails_its_items_only(house: tuple[FakeEngine, Recorder]) -> None:
    engine, loop = house
    engine.errors = [RuntimeError("boom")]
    with pytest.raises(EngineError) as caught:
        await loop.embed(ids(1), tier=Tier.DEFAULT, timeout_ms=5000)
    assert caught.value.fault is EngineFault.OTHER
    assert (await loop.embed(ids(1), tier=Tier.DEFAULT, timeout_ms=5000)).shape == (1, 8)
    loop.check_health()


async def test_one_items_failure_is_its_own(house: tuple[FakeEngine, Recorder]) -> None:
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


async def test_an_engine_that_fails_again_and_again_counts_as_dead(house: tuple[FakeEngine, Recorder]) -> None:
    engine, loop = house
    engine.errors = [RuntimeError("illegal memory access")] * 10
    for _ in range(3):
        loop.check_health()
        with pytest.raises(EngineError):
            await loop.embed(ids(1), tier=Tier.DEFAULT, timeout_ms=5000)
    with pytest.raises(EngineError):
        loop.check_health()


async def test_a_dead_engine_fails_everything_and_its_health_check(house: tuple[FakeEngine, Recorder]) -> None:
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


async def test_a_hanging_engine_fails_its_health_check(house: tuple[FakeEngine, Recorder]) -> None:
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
    with pytest.raises(EngineError, match=r"over 0\.2 s"):
        loop.check_health()


async def test_a_vector_that_is_not_of_length_one_never_leaves_the_replica(
    house: tuple[FakeEngine, Recorder],
) -> None:
    engine, loop = house
    engine.scale = 2.0
    with pytest.raises(Exception, match="length one"):
        await loop.embed(ids(1), tier=Tier.DEFAULT, timeout_ms=5000)
