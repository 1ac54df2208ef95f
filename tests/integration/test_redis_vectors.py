"""The cache that all gateways share, on a real server: found, forgotten, hung, and full of nonsense."""

import time
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from app.core.errors import Misconfigured
from app.stores.redis_vectors import RedisVectors
from tests.fakes import FakeClock, fake_vector
from tests.ledger.servers import Server, binary_of

BOUNDED = ("--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru")
KEYS = [bytes([n]) * 32 for n in range(5)]


@pytest.fixture
def server(tmp_path: Path):  # type: ignore[no-untyped-def]
    with Server(binary_of("valkey"), tmp_path, *BOUNDED) as running:
        yield running


@pytest.fixture
async def vectors(server: Server) -> AsyncIterator[RedisVectors]:
    made = RedisVectors(server.url, ttl_s=60, clock_s=FakeClock())
    yield made
    await made.close()


async def test_what_one_keeps_another_finds(server: Server, vectors: RedisVectors) -> None:
    await vectors.require_bounded()
    kept = {key: fake_vector([n], 384) for n, key in enumerate(KEYS[:3])}
    for key, vector in kept.items():
        vectors.keep(key, vector)
    await vectors.close()
    other = RedisVectors(server.url, ttl_s=60, clock_s=FakeClock())
    found = await other.find(KEYS, dimensions=384)
    assert set(found) == set(kept)
    for key, vector in kept.items():
        assert np.array_equal(found[key], vector)
        assert not found[key].flags.writeable
    assert 55_000 < server.raw.pttl(server.raw.keys()[0]) <= 60_000
    await other.close()


async def test_nonsense_and_other_sizes_are_misses(server: Server, vectors: RedisVectors) -> None:
    vectors.keep(KEYS[0], fake_vector([1], 384))
    vectors.keep(KEYS[1], fake_vector([1], 8))
    vectors.keep(KEYS[2], np.full(8, 3.0, np.float32))
    await vectors.close()
    server.raw.set(b"embedgate:vector:" + KEYS[3], b"nonsense")
    assert set(await vectors.find(KEYS, dimensions=8)) == {KEYS[1]}


async def test_a_hanging_store_costs_little_once_and_then_nothing_for_a_moment(server: Server) -> None:
    clock = FakeClock()
    vectors = RedisVectors(server.url, ttl_s=60, clock_s=clock)
    vectors.keep(KEYS[0], fake_vector([1], 8))
    assert not await vectors.find(KEYS[1:], dimensions=8)
    server.pause()
    began_s = time.monotonic()
    assert await vectors.find(KEYS, dimensions=8) == {}
    assert time.monotonic() - began_s < 0.2
    began_s = time.monotonic()
    assert await vectors.find(KEYS, dimensions=8) == {}
    vectors.keep(KEYS[2], fake_vector([2], 8))
    assert time.monotonic() - began_s < 0.01
    server.resume()
    clock.advance(1.5)
    assert set(await vectors.find(KEYS, dimensions=8)) == {KEYS[0]}
    await vectors.close()


async def test_a_store_that_is_away_is_no_error(server: Server, vectors: RedisVectors) -> None:
    server.kill()
    await vectors.require_bounded()
    assert await vectors.find(KEYS, dimensions=8) == {}
    vectors.keep(KEYS[0], fake_vector([1], 8))
    server.start()


@pytest.mark.parametrize("arguments", [(), ("--maxmemory", "64mb"), ("--maxmemory-policy", "allkeys-lru")])
async def test_a_store_that_would_fill_up_is_refused(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    with Server(binary_of("valkey"), tmp_path, *arguments) as unbounded:
        vectors = RedisVectors(unbounded.url, ttl_s=60, clock_s=FakeClock())
        with pytest.raises(Misconfigured, match="maxmemory"):
            await vectors.require_bounded()
        await vectors.close()
