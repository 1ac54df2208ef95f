"""Gateways and replicas over real sockets, with engines that can be made to wait, fail or die."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence

import msgspec
import numpy as np
import pytest

from app.core import metric_names as names
from app.core.errors import CapacityExceeded, DeadlineExceeded, EngineError, EngineFault, ModelProvisioning
from app.core.load import RateMeter
from app.core.packing import TokenIds
from app.core.tier_queue import TierQueue
from app.core.tiers import Tier
from app.link import pool as pool_module
from app.link.client import ReplicaAddress
from app.link.messages import Cancel, Hello, Submit
from app.link.pool import ReplicaPool
from app.link.server import EmbedderServer
from app.services.engine_loop import EngineLoop
from app.services.step_engine import LoopBounds
from tests.fakes import FakeEngine, RecordingMetrics, fake_vector

MAX_WAIT_MS = dict.fromkeys(Tier, 1000)


class LiveReplica:
    """One replica: engine, loop and server."""

    def __init__(self, name: str, *, max_step_items: int = 4) -> None:
        self.name = name
        self.engine = FakeEngine()
        self.loop = EngineLoop(
            self.engine,
            TierQueue(max_queued_tokens=1000, min_shares_thousandths={}),
            meter=RateMeter({}),
            bounds=LoopBounds(
                max_step_items=max_step_items,
                max_step_tokens=500,
                hang_after_s=0.3,
                patience=0.0,
                max_step_s=10.0,
                max_shared_step_s=10.0,
                max_light_step_s=10.0,
            ),
            model_id="m",
            metrics=RecordingMetrics(),
            clock_s=time.monotonic,
        )
        self.server = EmbedderServer(self.loop, token=f"secret of {name}", clock_s=time.monotonic)
        self.address: ReplicaAddress

    async def start(self) -> "LiveReplica":
        self.loop.start(asyncio.get_running_loop(), self.server)
        port = await self.server.listen("127.0.0.1")
        self.address = ReplicaAddress(self.name, "127.0.0.1", port, self.server.token)
        return self

    async def stop(self) -> None:
        self.engine.gate.set()
        await self.server.leave(within_s=0.1)
        self.loop.stop()

    async def die(self) -> None:
        """As a killed process looks from outside."""
        for gateway in list(self.server._gateways):
            gateway.abort()
        await self.stop()

    def computed(self) -> list[int]:
        return [item[0] for step in self.engine.steps for item in step]


class House:
    """Some replicas and a gateway's pool."""

    def __init__(self) -> None:
        self.replicas: list[LiveReplica] = []
        self.wanted: list[bool] = []
        self.metrics = RecordingMetrics()
        self.pool: ReplicaPool

    async def find(self, *, wanted: bool) -> Sequence[ReplicaAddress]:
        self.wanted.append(wanted)
        return [replica.address for replica in self.replicas]

    async def open(self, count: int) -> None:
        self.replicas = [await LiveReplica(f"r{n}").start() for n in range(count)]
        self.pool = self.gateway()
        await self.until_ready(count)

    def gateway(self) -> ReplicaPool:
        """A pool of a gateway's."""
        return ReplicaPool(
            model_id="m",
            dimensions=8,
            discovery=self,
            max_wait_ms=MAX_WAIT_MS,
            metrics=self.metrics,
            clock_s=time.monotonic,
        )

    async def open_measured(self) -> LiveReplica:
        """One replica that has shown that it computes about 40 tokens a second."""
        await self.open(1)
        (replica,) = self.replicas
        replica.engine.takes_s = 0.1
        await asyncio.gather(*self.submit(*range(8)))
        return replica

    async def until_ready(self, count: int) -> None:
        async with asyncio.timeout(5):
            while len(self.pool._ready()) != count:
                await asyncio.sleep(0.01)

    def submit(
        self, *numbers: int, tier: Tier = Tier.DEFAULT, project: str = "p", timeout_ms: int = 5000
    ) -> list[asyncio.Future[np.ndarray]]:
        return self.pool.submit(ids(*numbers), tier=tier, project_id=project, timeout_ms=timeout_ms)


def ids(*numbers: int) -> list[TokenIds]:
    return [np.array([n], np.int32) for n in numbers]


@pytest.fixture
async def house() -> AsyncIterator[House]:
    made = House()
    yield made
    await made.pool.close()
    for replica in made.replicas:
        await replica.stop()


async def test_every_item_gets_its_own_vector(house: House) -> None:
    await house.open(2)
    futures = house.submit(*range(1, 60))
    vectors = await asyncio.gather(*futures)
    for number, vector in enumerate(vectors, 1):
        assert np.array_equal(vector, fake_vector([number], 8))
    both = [replica.computed() for replica in house.replicas]
    assert sorted(both[0] + both[1]) == list(range(1, 60))
    assert min(len(part) for part in both) >= 20, "work is shared"
    assert sum(replica.server.tokens()[1] for replica in house.replicas) == 0


async def test_an_answer_does_not_wait_for_others_that_travelled_with_it(house: House) -> None:
    await house.open(1)
    house.replicas[0].engine.takes_s = 0.1
    futures = house.submit(*range(8))
    await futures[0]
    assert not futures[7].done()
    await asyncio.gather(*futures)


async def test_the_replica_with_less_work_ahead_is_chosen(house: House) -> None:
    await house.open(2)
    for replica in house.replicas:
        replica.engine.gate.clear()
    large = house.pool.submit([np.ones(100, np.int32)], tier=Tier.DEFAULT, project_id="p", timeout_ms=5000)
    small = [future for n in range(2, 12) for future in house.submit(n)]
    await asyncio.sleep(0.1)
    for replica in house.replicas:
        replica.engine.gate.set()
    await asyncio.gather(*large, *small)
    busy, idle = sorted(house.replicas, key=lambda r: len(r.computed()))
    assert (busy.computed(), sorted(idle.computed())) == ([1], list(range(2, 12)))


async def test_lower_tiers_do_not_count_as_work_ahead_of_urgent_items(house: House) -> None:
    await house.open(2)
    for replica in house.replicas:
        replica.engine.gate.clear()
    flex = house.pool.submit([np.ones(300, np.int32)], tier=Tier.FLEX, project_id="p", timeout_ms=5000)
    default = house.pool.submit([np.full(50, 2, np.int32)], tier=Tier.DEFAULT, project_id="p", timeout_ms=5000)
    urgent = house.submit(3, tier=Tier.DEFAULT)
    await asyncio.sleep(0.1)
    for replica in house.replicas:
        replica.engine.gate.set()
    await asyncio.gather(*flex, *default, *urgent)
    with_flex = next(r for r in house.replicas if 1 in r.computed())
    assert 3 in with_flex.computed()


async def test_a_cancelled_item_leaves_the_replicas_queue_at_once(house: House) -> None:
    await house.open(1)
    (replica,) = house.replicas
    replica.engine.gate.clear()
    running = house.submit(1)
    await asyncio.sleep(0.05)
    leaving = house.submit(*range(2, 40))
    await asyncio.sleep(0.05)
    assert replica.server.tokens() == [0, 39, 0, 0]
    for future in leaving:
        future.cancel()
    await asyncio.sleep(0.05)
    assert (replica.server.tokens(), len(replica.loop._queue)) == ([0, 1, 0, 0], 0)
    never_sent = house.submit(50)
    never_sent[0].cancel()
    replica.engine.gate.set()
    await asyncio.gather(*running)
    await asyncio.gather(*house.submit(60))
    assert replica.computed() == [1, 60]
    assert not house.pool._tokens_of


async def test_a_gateway_that_goes_takes_its_items_along(house: House) -> None:
    await house.open(1)
    (replica,) = house.replicas
    replica.engine.gate.clear()
    house.submit(1)
    await asyncio.sleep(0.05)
    house.submit(*range(2, 30))
    await asyncio.sleep(0.05)
    await house.pool.close()
    await asyncio.sleep(0.05)
    assert len(replica.loop._queue) == 0
    replica.engine.gate.set()
    await asyncio.sleep(0.05)
    assert replica.computed() == [1]


async def test_what_a_dead_replica_left_is_computed_by_another_once(house: House) -> None:
    await house.open(2)
    for replica in house.replicas:
        replica.engine.gate.clear()
    futures = house.submit(*range(1, 21))
    await asyncio.sleep(0.05)
    victim, survivor = house.replicas
    house.replicas = [survivor]
    await victim.die()
    survivor.engine.gate.set()
    vectors = await asyncio.gather(*futures)
    assert all(np.array_equal(v, fake_vector([n], 8)) for n, v in enumerate(vectors, 1))
    assert house.metrics.counts[f"{names.EMBEDDER_RETRIES},model=m"] > 0


async def test_items_whose_second_replica_dies_too_fail(house: House) -> None:
    await house.open(2)
    for replica in house.replicas:
        replica.engine.gate.clear()
    (future,) = house.submit(1)
    await asyncio.sleep(0.05)
    replicas, house.replicas = house.replicas, []
    for replica in replicas:
        await replica.die()
        await asyncio.sleep(0.05)
    with pytest.raises(ModelProvisioning, match="restarted"):
        await future
    assert not house.pool.is_ready
    with pytest.raises(ModelProvisioning) as caught:
        house.submit(2)
    assert caught.value.retry_after_s == 5
    await asyncio.sleep(0.6)
    assert house.wanted[-1], "who asks in vain makes the pool want a replica"


async def test_a_dead_engine_sends_its_items_elsewhere(house: House) -> None:
    await house.open(2)
    first, second = house.replicas
    first.engine.gate.clear()
    second.engine.gate.clear()
    first.engine.errors = [EngineError("dead", fault=EngineFault.DEAD)]
    futures = house.submit(*range(1, 13))
    await asyncio.sleep(0.05)
    first.engine.gate.set()
    second.engine.gate.set()
    vectors = await asyncio.gather(*futures)
    assert all(np.array_equal(v, fake_vector([n], 8)) for n, v in enumerate(vectors, 1))
    await house.until_ready(1)


async def test_a_hanging_engine_loses_its_gateways(house: House) -> None:
    await house.open(2)
    hanging, well = house.replicas
    hanging.engine.gate.clear()
    futures = house.submit(*range(1, 13))
    vectors = await asyncio.gather(*futures)
    assert all(np.array_equal(v, fake_vector([n], 8)) for n, v in enumerate(vectors, 1))
    assert hanging.server.is_leaving
    assert len(well.computed()) == 12


async def test_a_silent_replica_counts_as_lost(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "_SILENT_AFTER_S", 0.7)
    await house.open(2)
    silent, _ = house.replicas
    silent.engine.gate.clear()
    assert silent.server._beat is not None
    silent.server._beat.cancel()
    futures = house.submit(*range(1, 13))
    vectors = await asyncio.gather(*futures)
    assert all(np.array_equal(v, fake_vector([n], 8)) for n, v in enumerate(vectors, 1))


async def test_a_stall_of_the_gateway_is_no_replicas_silence(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "_SILENT_AFTER_S", 0.7)
    await house.open(2)
    known = house.pool._ready()
    time.sleep(1.5)  # a host that gives this process no core
    await asyncio.sleep(0.3)
    assert house.pool._ready() == known, "no connection was given up"


async def test_a_replica_that_leaves_answers_what_it_has_and_gets_nothing_new(house: House) -> None:
    await house.open(2)
    leaving, staying = house.replicas
    leaving.engine.gate.clear()
    staying.engine.gate.clear()
    futures = house.submit(*range(1, 13))
    await asyncio.sleep(0.05)
    task = asyncio.create_task(leaving.server.leave(within_s=5))
    await house.until_ready(1)
    later = house.submit(20)
    await asyncio.sleep(0.05)
    leaving.engine.gate.set()
    staying.engine.gate.set()
    await asyncio.gather(*futures, *later, task)
    assert 20 in staying.computed()
    assert sorted(leaving.computed() + staying.computed()) == [*range(1, 13), 20], "nothing was computed twice"


async def test_failures_are_told_as_they_are(house: House) -> None:
    await house.open(1)
    (replica,) = house.replicas
    replica.engine.errors = [EngineError("no memory", fault=EngineFault.OUT_OF_MEMORY)]
    (future,) = house.submit(1)
    with pytest.raises(EngineError) as caught:
        await future
    assert (caught.value.fault, caught.value.message) == (EngineFault.OUT_OF_MEMORY, "no memory")
    replica.engine.gate.clear()
    running = house.submit(2)
    await asyncio.sleep(0.05)
    late = house.submit(3, timeout_ms=1)
    full = house.pool.submit([np.ones(600, np.int32)] * 2, tier=Tier.FLEX, project_id="p", timeout_ms=5000)
    await asyncio.sleep(0.05)
    replica.engine.gate.set()
    outcomes = await asyncio.gather(*running, *late, *full, return_exceptions=True)
    assert [type(o) for o in outcomes] == [np.ndarray, DeadlineExceeded, np.ndarray, CapacityExceeded]
    replica.engine.scale = 2.0
    with pytest.raises(Exception, match="length one"):
        await house.submit(4)[0]


async def test_a_long_expected_wait_is_refused_with_a_time_to_come_back(house: House) -> None:
    replica = await house.open_measured()
    house.pool.check(tier=Tier.DEFAULT, project_id="p", tokens=10)
    replica.engine.gate.clear()
    waiting = house.submit(*range(100, 180))
    await asyncio.sleep(0.1)
    with pytest.raises(CapacityExceeded) as caught:
        house.pool.check(tier=Tier.DEFAULT, project_id="p", tokens=10)
    first = caught.value.retry_after_s
    assert first is not None
    assert 1 <= first <= 4
    with pytest.raises(CapacityExceeded) as caught:
        house.pool.check(tier=Tier.DEFAULT, project_id="p", tokens=200)
    later = caught.value.retry_after_s
    assert later is not None
    assert later > first, "refused requests are asked back one behind the other"
    house.pool.check(tier=Tier.PRIORITY, project_id="p", tokens=10)
    house.pool.check(tier=Tier.DEFAULT, project_id="small", tokens=10)
    with pytest.raises(CapacityExceeded):
        house.pool.check(tier=Tier.FLEX, project_id="small", tokens=10)
    for future in waiting:
        future.cancel()


async def test_many_tenants_with_one_request_each_are_shed_too(house: House) -> None:
    replica = await house.open_measured()
    replica.engine.gate.clear()
    waiting = [future for n in range(100) for future in house.submit(n, project=f"p{n}")]
    await asyncio.sleep(0.7)  # a beat
    with pytest.raises(CapacityExceeded):
        house.pool.check(tier=Tier.DEFAULT, project_id="newcomer", tokens=1)
    for future in waiting:
        future.cancel()


async def test_a_large_request_does_not_crowd_on_a_replica_that_waited_for_company_long_ago(house: House) -> None:
    await house.open(2)
    for replica in house.replicas:
        replica.engine.takes_s = 0.05  # else noise makes one look several times as fast
    await asyncio.gather(*house.submit(*range(8)))
    await asyncio.sleep(0.1)
    await asyncio.gather(*house.submit(*range(100, 132)))
    shares = [sum(n >= 100 for n in replica.computed()) for replica in house.replicas]
    assert shares == [16, 16]


async def test_weights_reach_the_queue(house: House) -> None:
    await house.open(1)
    (replica,) = house.replicas
    replica.engine.gate.clear()
    running = house.submit(0)
    await asyncio.sleep(0.05)
    pool = house.pool
    light = pool.submit(ids(*range(1, 13)), tier=Tier.DEFAULT, project_id="light", weight=1, timeout_ms=5000)
    heavy = pool.submit(ids(*range(101, 113)), tier=Tier.DEFAULT, project_id="heavy", weight=3, timeout_ms=5000)
    await asyncio.sleep(0.05)
    replica.engine.gate.set()
    await asyncio.gather(*running, *light, *heavy)
    assert sum(number > 100 for number in replica.computed()[1:13]) in (8, 9, 10)


async def test_strangers_cannot_take_all_connections(house: House) -> None:
    await house.open(1)
    address = house.replicas[0].address
    strangers = [await asyncio.open_connection(address.host, address.port) for _ in range(80)]
    await asyncio.sleep(0.1)
    assert house.replicas[0].server._strangers == 64
    assert sum(reader.at_eof() or reader.exception() is not None for reader, _ in strangers) == 16
    for _, writer in strangers:
        writer.close()
    await asyncio.gather(*house.submit(1))
    await asyncio.sleep(0.1)
    assert house.replicas[0].server._strangers == 0


@pytest.mark.parametrize(
    "messages",
    [
        [Hello("wrong")],
        [Cancel(b"")],
        [Hello("secret of r0"), Submit(0, [], b"", b"\1\0\0\0", b"\1\0\0\0")],
        [Hello("secret of r0"), Cancel(b"123")],
    ],
)
async def test_strangers_and_nonsense_are_turned_away(house: House, messages: list[msgspec.Struct]) -> None:
    await house.open(1)
    address = house.replicas[0].address
    reader, writer = await asyncio.open_connection(address.host, address.port)
    for message in messages:
        frame = msgspec.msgpack.encode(message)
        writer.write(len(frame).to_bytes(4, "little") + frame)
    async with asyncio.timeout(2):
        await reader.read()
    writer.close()
    await asyncio.gather(*house.submit(1))


async def test_a_stranger_cannot_send_much(house: House) -> None:
    await house.open(1)
    address = house.replicas[0].address
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write((1 << 20).to_bytes(4, "little"))
    async with asyncio.timeout(2):
        assert await reader.read() == b""
    writer.close()


async def test_a_pool_is_idle_while_nobody_is_known_to_wait_for_it(house: House) -> None:
    await house.open(1)
    assert house.pool.is_idle
    house.replicas[0].engine.takes_s = 0.2
    futures = house.submit(1)
    assert not house.pool.is_idle, "this gateway's own work"
    await asyncio.gather(*futures)
    async with asyncio.timeout(5):
        while not house.pool.is_idle:
            await asyncio.sleep(0.01)
    other = house.gateway()
    async with asyncio.timeout(5):
        while not other.is_ready:
            await asyncio.sleep(0.01)
    house.replicas[0].engine.gate.clear()
    futures = house.submit(2, 3)
    async with asyncio.timeout(5):
        while other.is_idle:
            await asyncio.sleep(0.05)
    house.replicas[0].engine.gate.set()
    await asyncio.gather(*futures)
    await other.close()


async def test_a_pool_without_a_replica_is_not_idle(house: House) -> None:
    await house.open(0)
    assert not house.pool.is_idle
