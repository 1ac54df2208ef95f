"""The ledger's own connection: order, loss, patience, and both event loops."""

import asyncio
import hashlib
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop
from redis.exceptions import RedisError

from app.core.errors import DependencyDown
from app.stores.redis_client import PATIENT_S
from app.stores.redis_wire import RedisWire
from app.stores.script_pipe import Script, ScriptPipe
from tests.ledger.servers import Server, binary_of

RUNNERS: list[Callable[[Coroutine[Any, Any, None]], None]] = [asyncio.run, uvloop.run]


@pytest.fixture(params=RUNNERS, ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, None]], None]:
    runner: Callable[[Coroutine[Any, Any, None]], None] = request.param
    return runner


def test_answers_come_back_to_those_who_asked(redis_url: str, run: Callable[..., None]) -> None:
    async def scene() -> None:
        wire = RedisWire(redis_url, timeout_s=PATIENT_S)
        replies = await asyncio.gather(*(wire.call("ECHO", str(n)) for n in range(500)))
        assert replies == [str(n).encode() for n in range(500)]
        assert isinstance(await wire.call("NONSENSE"), RedisError)
        cancelled = asyncio.ensure_future(wire.call("ECHO", "left"))
        await asyncio.sleep(0)
        cancelled.cancel()
        assert await wire.call("ECHO", "next") == b"next"
        wire.close()

    run(scene())


def test_a_command_leaves_at_the_call(redis_url: str, run: Callable[..., None]) -> None:
    """Whoever has something to do until the answer is there need not wait for it first."""

    async def scene() -> None:
        wire, other = (RedisWire(redis_url, timeout_s=PATIENT_S) for _ in range(2))
        await wire.call("DEL", "sent")
        reply = wire.call("INCR", "sent")
        await asyncio.sleep(0.05)
        assert await other.call("GET", "sent") == b"1"
        assert await reply == 1
        await wire.call("DEL", "sent")
        wire.close()
        other.close()

    run(scene())


def test_a_lost_connection_fails_what_waits_and_comes_back(tmp_path: Path, run: Callable[..., None]) -> None:
    with Server(binary_of("valkey"), tmp_path) as server:

        async def scene() -> None:
            wire = RedisWire(server.url)
            assert await wire.call("PING") == b"PONG"
            server.pause()
            began_s = time.monotonic()
            results = await asyncio.gather(*(wire.call("PING") for _ in range(20)), return_exceptions=True)
            assert all(isinstance(result, RedisError) for result in results)
            assert 0.2 < time.monotonic() - began_s < 0.4
            server.resume()
            assert await wire.call("PING") == b"PONG"
            server.kill()
            with pytest.raises((RedisError, OSError)):
                await wire.call("PING")
            server.start()
            assert await wire.call("PING") == b"PONG"
            wire.close()

        run(scene())


def test_a_caller_that_stood_still_takes_the_answer_that_came_meanwhile(
    redis_url: str, run: Callable[..., None]
) -> None:
    async def scene() -> None:
        wire = RedisWire(redis_url)
        assert await wire.call("PING") == b"PONG"
        waiting = asyncio.ensure_future(wire.call("PING"))
        await asyncio.sleep(0)
        time.sleep(0.4)
        assert await waiting == b"PONG"
        wire.close()

    run(scene())


@pytest.mark.parametrize("stall_s", [0.2, 0.4, 2.0])
def test_what_held_up_the_caller_may_have_held_up_the_store(
    tmp_path: Path, run: Callable[..., None], stall_s: float
) -> None:
    with Server(binary_of("valkey"), tmp_path) as server:

        async def scene() -> None:
            wire = RedisWire(server.url)
            assert await wire.call("PING") == b"PONG"
            server.pause()
            waiting = asyncio.ensure_future(wire.call("PING"))
            await asyncio.sleep(0)
            time.sleep(stall_s)
            threading.Timer(0.1, server.resume).start()
            assert await waiting == b"PONG"
            wire.close()

        run(scene())


def test_nothing_piles_up_while_the_store_is_away(tmp_path: Path, run: Callable[..., None]) -> None:
    with Server(binary_of("valkey"), tmp_path) as server:

        async def scene() -> None:
            pipe = ScriptPipe(RedisWire(server.url), clock_s=time.monotonic)
            script = Script("one", "return 1", "0" * 40)
            assert await pipe.run(script, [], []) == 1
            server.pause()
            took_s = []
            for _ in range(200):
                began_s = time.monotonic()
                with pytest.raises(DependencyDown):
                    await pipe.run(script, [], [])
                took_s.append(time.monotonic() - began_s)
                await asyncio.sleep(0.002)
            assert max(took_s) < 0.4
            assert sum(t > 0.01 for t in took_s) <= 6
            server.resume()
            back_s = time.monotonic()
            while True:
                try:
                    assert await pipe.run(script, [], []) == 1
                    break
                except DependencyDown:
                    await asyncio.sleep(0.01)
            assert time.monotonic() - back_s < 0.6

        run(scene())


def test_passwords_and_databases(tmp_path: Path, run: Callable[..., None]) -> None:
    with Server(binary_of("valkey"), tmp_path) as server:
        server.raw.config_set("requirepass", "secret")

        async def scene() -> None:
            wire = RedisWire(server.url.replace("redis://", "redis://:secret@").replace("/0", "/3"))
            assert b"db=3" in await wire.call("CLIENT", "INFO")
            with pytest.raises(RedisError):
                await RedisWire(server.url.replace("redis://", "redis://:wrong@")).call("PING")

        run(scene())


def test_many_runs_of_a_script_share_one_wait(redis_url: str, run: Callable[..., None]) -> None:
    """Also where the store has forgotten the script; and an error of one is said of all."""

    async def scene() -> None:
        wire = RedisWire(redis_url, timeout_s=PATIENT_S)
        pipe = ScriptPipe(wire, clock_s=time.monotonic)
        text = "return redis.call('INCRBY', KEYS[1], ARGV[1])"
        script = Script("add", text, hashlib.sha1(text.encode()).hexdigest())
        await wire.call("SCRIPT", "FLUSH")
        await wire.call("DEL", "sum")
        sums = [n * (n + 1) // 2 for n in range(1, 101)]
        assert await pipe.run_all(script, ["sum"], [[n] for n in range(1, 101)]) == sums
        assert await pipe.run_all(script, ["sum"], []) == []
        with pytest.raises(DependencyDown):
            await pipe.run_all(script, ["sum"], [[1], ["no number"], [2]])
        assert await wire.call("GET", "sum") == b"5053"
        wire.close()

    run(scene())
