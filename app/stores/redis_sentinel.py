"""Where the primary is, where Sentinels watch over a group of Redis or Valkey servers.

A URL names the Sentinels and the group that they watch::

    redis+sentinel://user:password@one:26379,two:26379,three:26379/0?group=ledger&sentinel_password=…

Each new connection asks them, so a failover needs no restart: the old connections fail, the next ones lead
to the new primary. ``rediss+sentinel`` speaks TLS with the servers and with the Sentinels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff

SCHEMES = ("redis+sentinel", "rediss+sentinel")
_PORT = 26379
_ONE_OF = 3
"""A Sentinel that does not answer leaves time to ask the others."""


@dataclass(frozen=True)
class SentinelUrl:
    """What such a URL says."""

    sentinels: Sequence[tuple[str, int]]
    group: str
    username: str | None
    password: str | None
    sentinel_password: str | None
    db: int
    is_tls: bool

    @classmethod
    def parse(cls, url: str) -> "SentinelUrl | None":
        """The parts of a URL; None when it is of another kind.

        Raises:
            ValueError: it names no Sentinel, or no group.
        """
        parts = urlsplit(url)
        if parts.scheme not in SCHEMES:
            return None
        login, _, hosts = parts.netloc.rpartition("@")
        username, _, password = login.partition(":")
        query = {name: values[-1] for name, values in parse_qs(parts.query, strict_parsing=bool(parts.query)).items()}
        if not hosts or set(query) - {"group", "sentinel_password"} or not query.get("group"):
            raise ValueError("a Sentinel URL is redis+sentinel://[user:password@]host:port,…/0?group=NAME")
        return cls(
            sentinels=[_address(host) for host in hosts.split(",")],
            group=query["group"],
            username=unquote(username) or None,
            password=unquote(password) or None,
            sentinel_password=query.get("sentinel_password"),
            db=int(parts.path.strip("/") or 0),
            is_tls=parts.scheme == "rediss+sentinel",
        )

    @property
    def options(self) -> dict[str, Any]:
        """Of a connection to a server, but for its address; the names are the client library's."""
        found = {"username": self.username, "password": self.password, "db": self.db}
        return {name: value for name, value in found.items() if value}


class Watchers:
    """The Sentinels of one group.

    Args:
        url: names them.
        timeout_s: for finding the primary.
    """

    def __init__(self, url: SentinelUrl, *, timeout_s: float) -> None:
        self._url = url
        self._timeout_s = timeout_s

    @cached_property
    def _sentinel(self) -> Sentinel:
        each_s = self._timeout_s / _ONE_OF
        options: dict[str, Any] = {
            "socket_timeout": each_s,
            "socket_connect_timeout": each_s,
            "retry": Retry(NoBackoff(), 0),
            "ssl": self._url.is_tls,
        }
        if self._url.sentinel_password:
            options["password"] = self._url.sentinel_password
        return Sentinel(self._url.sentinels, sentinel_kwargs=options)  # type: ignore[no-untyped-call]

    async def primary(self) -> tuple[str, int]:
        """Address of the primary.

        Raises:
            RedisError: no Sentinel answers, or none knows of a primary that is well.
        """
        host, port = await self._sentinel.discover_master(self._url.group)
        return str(host), int(port)

    def client(self, **options: Any) -> Redis:
        """A client with a pool whose connections lead to the primary."""
        tls = {"ssl": True} if self._url.is_tls else {}
        client: Redis = self._sentinel.master_for(self._url.group, **{**self._url.options, **tls, **options})
        return client


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":") if ":" in text.rpartition("]")[2] else (text, "", "")
    if not host.strip("[]"):
        raise ValueError("a Sentinel URL names each Sentinel as host:port")
    return host.strip("[]"), int(port or _PORT)
