import asyncio
import time

import numpy as np
import pytest

from app.core.errors import CapacityExceeded, DeadlineExceeded, EngineError, EngineFault, InvalidEngineReply
from app.core.tiers import Tier
from app.services.dispatch import CallBounds, Dispatcher
from tests.fakes import FakeLink, RecordingMetrics, fake_vector


def make(link: FakeLink, **bounds: int) -> Dispatcher:
    chosen = {"max_items": 100, "max_tokens": 1000, "max_calls": 2, "max_waiting_tokens": 10_000, **bounds}
    return Dispatcher(
        model_id="m",
        dimensions=link.dimensions,
        link=link,
        bounds=CallBounds(**chosen),
        metrics=RecordingMetrics(),
        clock_s=time.monotonic,
    )


def behind_a_gate(**bounds: int) -> tuple[FakeLink, asyncio.Event, Dispatcher]:
    """A link whose calls wait until the event is set."""
    link, gate = FakeLink(8), asyncio.Event()
    link.gate = gate.wait
    return link, gate, make(link, **bounds)


def ids(*numbers: int) -> list[np.ndarray]:
    return [np.array([n], np.int32) for n in numbers]


async def test_what_arrives_together_travels_together_and_keeps_its_place() -> None:
    link = FakeLink(8)
    pool = make(link)
    first = pool.submit(ids(1, 2), tier=Tier.DEFAULT, project_id="p", timeout_ms=1000)
    second = pool.submit(ids(3), tier=Tier.DEFAULT, project_id="p", timeout_ms=1000)
    vectors = await asyncio.gather(*first, *second)
    assert [items for _, items in link.calls] == [[[1], [2], [3]]]
    for number, vector in zip((1, 2, 3), vectors, strict=True):
        assert np.array_equal(vector, fake_vector([number], 8))


async def test_tiers_never_share_a_call() -> None:
    link = FakeLink(8)
    pool = make(link)
    futures = [pool.submit(ids(n), tier=tier, project_id="p", timeout_ms=1000)[0] for n, tier in enumerate(Tier)]
    await asyncio.gather(*futures)
    assert sorted(tier for tier, _ in link.calls) == sorted(Tier)


async def test_calls_are_bounded_in_items_tokens_and_number() -> None:
    link, gate, pool = behind_a_gate(max_items=3, max_tokens=5)
    big = [np.arange(1, 5, dtype=np.int32)] * 4  # 4 tokens each: one a call
    futures = pool.submit([*ids(*range(1, 8)), *big], tier=Tier.FLEX, project_id="p", timeout_ms=5000)
    await asyncio.sleep(0.01)
    assert len(link.calls) == 2
    gate.set()
    await asyncio.gather(*futures)
    assert [len(items) for _, items in link.calls] == [3, 3, 2, 1, 1, 1]


async def test_a_failure_reaches_every_waiter_of_the_call_and_no_other() -> None:
    link = FakeLink(8)
    link.error = EngineError("broken", fault=EngineFault.OTHER)
    pool = make(link)
    outcomes = await asyncio.gather(
        *pool.submit(ids(1, 2), tier=Tier.DEFAULT, project_id="p", timeout_ms=1000), return_exceptions=True
    )
    assert all(isinstance(o, EngineError) for o in outcomes)
    link.error = None
    assert (await pool.submit(ids(1), tier=Tier.DEFAULT, project_id="p", timeout_ms=1000)[0]).shape == (8,)


@pytest.mark.parametrize("reply", [b"", b"x" * 31, np.ones(8, np.float32).tobytes()])
async def test_a_reply_that_is_no_vector_is_refused(reply: bytes) -> None:
    link = FakeLink(8)
    link.reply = reply
    with pytest.raises(InvalidEngineReply):
        await make(link).submit(ids(1), tier=Tier.DEFAULT, project_id="p", timeout_ms=1000)[0]


async def test_a_call_that_nobody_waits_for_is_withdrawn() -> None:
    link, _gate, pool = behind_a_gate()
    futures = pool.submit(ids(1, 2), tier=Tier.DEFAULT, project_id="p", timeout_ms=5000)
    await asyncio.sleep(0.01)
    futures[0].cancel()
    await asyncio.sleep(0.01)
    assert link.cancelled == 0
    futures[1].cancel()
    await asyncio.sleep(0.01)
    assert link.cancelled == 1


async def test_items_withdrawn_while_they_wait_never_travel() -> None:
    link = FakeLink(8)
    pool = make(link)
    futures = pool.submit(ids(1, 2), tier=Tier.DEFAULT, project_id="p", timeout_ms=1000)
    futures[0].cancel()
    await futures[1]
    assert link.calls == [(Tier.DEFAULT, [[2]])]


async def test_what_is_too_late_is_not_sent() -> None:
    link = FakeLink(8)
    with pytest.raises(DeadlineExceeded):
        await make(link).submit(ids(1), tier=Tier.DEFAULT, project_id="p", timeout_ms=0)[0]
    assert not link.calls


async def test_too_much_waiting_is_shed_and_leaves_nothing_behind() -> None:
    _link, gate, pool = behind_a_gate(max_calls=1, max_waiting_tokens=10)
    running = pool.submit(ids(1), tier=Tier.DEFAULT, project_id="p", timeout_ms=5000)
    await asyncio.sleep(0.01)
    waiting = pool.submit(ids(*range(2, 11)), tier=Tier.DEFAULT, project_id="p", timeout_ms=5000)
    with pytest.raises(CapacityExceeded):
        pool.submit(ids(11, 12), tier=Tier.DEFAULT, project_id="p", timeout_ms=5000)
    other_tier = pool.submit(ids(13), tier=Tier.PRIORITY, project_id="p", timeout_ms=5000)
    gate.set()
    await asyncio.gather(*running, *waiting, *other_tier)
    large = pool.submit([np.ones(50, np.int32)], tier=Tier.DEFAULT, project_id="p", timeout_ms=5000)
    assert (await large[0]).shape == (8,)


async def test_a_small_project_does_not_wait_behind_a_large_one() -> None:
    link, gate, pool = behind_a_gate(max_items=4, max_calls=1)
    large = pool.submit(ids(*range(1, 41)), tier=Tier.DEFAULT, project_id="large", timeout_ms=5000)
    await asyncio.sleep(0.01)
    small = pool.submit(ids(50, 51), tier=Tier.DEFAULT, project_id="small", timeout_ms=5000)
    gate.set()
    await asyncio.gather(*large, *small)
    second = link.calls[1][1]
    assert [50] in second
    assert [51] in second, "two of the four places are the small project's"
    assert sum(count for _, count in link.shares[1]) == 4
    assert {project for project, _ in link.shares[1]} == {"large", "small"}


async def test_who_leaves_frees_its_place_at_once() -> None:
    link, gate, pool = behind_a_gate(max_calls=1, max_waiting_tokens=10)
    running = pool.submit(ids(1), tier=Tier.DEFAULT, project_id="p", timeout_ms=5000)
    await asyncio.sleep(0.01)
    waiting = pool.submit(ids(*range(2, 12)), tier=Tier.DEFAULT, project_id="p", timeout_ms=5000)
    for future in waiting:
        future.cancel()
    await asyncio.sleep(0)
    later = pool.submit(ids(*range(20, 30)), tier=Tier.DEFAULT, project_id="p", timeout_ms=5000)
    gate.set()
    await asyncio.gather(*running, *later)
    assert sum(len(items) for _, items in link.calls) == 11
