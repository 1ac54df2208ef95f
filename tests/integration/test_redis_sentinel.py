"""The store behind Sentinels: found, and found again after its primary died or stood still."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from app.core.errors import DependencyDown
from app.stores.redis_client import connect
from app.stores.redis_sentinel import SentinelUrl
from app.stores.redis_wire import RedisWire
from app.stores.script_pipe import Script, ScriptPipe
from tests.ledger.servers import BINARIES, Group


@pytest.fixture(params=["valkey", "redis-server"])
def group(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Group]:
    if BINARIES[request.param] is None:
        pytest.skip(f"{request.param} is not installed; the other server was tested")
    with Group(str(BINARIES[request.param]), tmp_path) as running:
        yield running


@pytest.mark.parametrize("how", ["kill", "pause"])
async def test_a_failover_is_followed(group: Group, how: str) -> None:
    client, wire = connect(group.url), RedisWire(group.url)
    pipe = ScriptPipe(RedisWire(group.url), clock_s=time.monotonic)
    await client.set("a", "1")
    assert await wire.call("GET", "a") == b"1"
    month = Script.of("let_go")
    await pipe.run(month, ["x", "y"], [1000])
    assert group.primary.raw.wait(1, 1000) == 1

    getattr(group.primary, how)()

    began_s = time.monotonic()
    answered = {"client": 0.0, "wire": 0.0, "script": 0.0}
    while not all(answered.values()) and time.monotonic() - began_s < 30:
        for name, call in (
            ("client", lambda: client.set("b", "2")),
            ("wire", lambda: wire.call("SET", "c", "3")),
            ("script", lambda: pipe.run(month, ["x", "y"], [1000])),
        ):
            if not answered[name]:
                asked_s = time.monotonic()
                try:
                    await call()
                    answered[name] = time.monotonic() - began_s
                except (redis.RedisError, OSError, TimeoutError, DependencyDown):
                    assert time.monotonic() - asked_s < 1.5, "nobody waits for a dead primary"
        await asyncio.sleep(0.05)
    assert all(answered.values()), answered
    assert await client.get("a") == b"1"
    (replica,) = group.replicas
    assert replica.raw.info("replication")["role"] == "master"
    assert replica.raw.get("b") == b"2"
    assert replica.raw.get("c") == b"3"


async def test_no_sentinel_answers() -> None:
    url = "redis+sentinel://127.0.0.1:1,127.0.0.1:2/0?group=ledger"
    with pytest.raises(redis.RedisError):
        await connect(url).get("a")
    with pytest.raises(redis.RedisError):
        await RedisWire(url).call("GET", "a")


@pytest.mark.parametrize(
    ("url", "sentinels", "login"),
    [
        ("redis+sentinel://a:1,b:2/0?group=g", [("a", 1), ("b", 2)], (None, None)),
        ("redis+sentinel://:p%40ss@a,b:2/0?group=g", [("a", 26379), ("b", 2)], (None, "p@ss")),
        ("rediss+sentinel://u:p@[::1]:7,[::2]/3?group=g", [("::1", 7), ("::2", 26379)], ("u", "p")),
    ],
)
def test_urls(url: str, sentinels: list[tuple[str, int]], login: tuple[str | None, str | None]) -> None:
    found = SentinelUrl.parse(url)
    assert found is not None
    assert list(found.sentinels) == sentinels
    assert (found.username, found.password) == login
    assert found.is_tls == url.startswith("rediss")


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://a:1/0",
        "redis+sentinel://?group=g",
        "redis+sentinel://a/0?grup=g",
        "redis+sentinel://a,/0?group=g",
    ],
)
def test_a_wrong_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="Sentinel URL"):
        SentinelUrl.parse(url)


def test_other_urls_are_not_sentinels() -> None:
    assert SentinelUrl.parse("redis://a:1/0") is None
    assert SentinelUrl.parse("unix:///a.sock") is None
