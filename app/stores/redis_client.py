"""Connections to Redis or Valkey, with bounds on every wait and one translation of its failures."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib import resources
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, RedisError  # noqa: A004

from app.core.errors import DependencyDown
from app.stores.redis_sentinel import SentinelUrl, Watchers

TIMEOUT_S = 0.25
"""A request's."""
PATIENT_S = 10.0
"""A command's: nobody waits behind an operator who waits."""


def connect(url: str, *, timeout_s: float = TIMEOUT_S) -> Redis:
    """A client with a pool. One lost connection is retried.

    Args:
        url: ``redis://``, ``rediss://``, ``unix://``, or Sentinels (see ``app.stores.redis_sentinel``).
        timeout_s: for a connection, and for each answer.
    """
    options: dict[str, Any] = {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "retry": Retry(NoBackoff(), 1, supported_errors=(ConnectionError,)),
        "max_connections": 256,
        "health_check_interval": 0,
    }
    if watched := SentinelUrl.parse(url):
        return Watchers(watched, timeout_s=timeout_s).client(**options)
    return Redis.from_url(url, **options)


def lua(name: str) -> str:
    """The text of a script in ``app/stores/lua``."""
    return resources.files("app.stores").joinpath("lua", f"{name}.lua").read_text()


@asynccontextmanager
async def translated() -> AsyncIterator[None]:
    """Turn every failure of Redis into ``DependencyDown``; the cause stays attached for the log."""
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        raise DependencyDown("A dependency of the service does not answer; try again shortly.") from error


def raw(value: bytes | str | None) -> bytes:
    """A reply as the bytes that it is: connections of this module never decode."""
    assert isinstance(value, bytes), f"expected bytes from Redis, got {type(value).__name__}"
    return value


def known_fields(kind: type, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Those that a dataclass has: fields of a newer release are left aside, so that releases can overlap."""
    return {name: value for name, value in fields.items() if name in kind.__dataclass_fields__}  # type: ignore[attr-defined]


async def page_of_ids(redis: Redis, key: str, *, after: str | None, limit: int) -> list[str]:
    """A page of a sorted set whose members all have score 0, in order, from the one behind ``after``."""
    found = await redis.zrangebylex(key, f"({after}" if after else "-", "+", start=0, num=limit)
    return [raw(member).decode() for member in found]
