"""One pipelined connection to Redis for what every request waits for.

A client library's pool and pipeline cost 170 µs of the gateway's time a call, twice a request;
this costs a third of that. Commands of one turn of the event loop leave in at most two writes, answers come
back in order, and no answer is waited for longer than its timeout: then the connection is given
up, and with it every command on it, since nobody knows which of them ran. Time in which this
process itself stood still does not count: the answer may lie there unread, and what stopped this
process (a busy host, a paused machine) may have stopped the store with it. (While it connects, it does.)
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Awaitable, Sequence
from typing import Any, cast

import hiredis
from redis.asyncio.connection import SSLConnection, parse_url
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from app.stores.redis_client import TIMEOUT_S
from app.stores.redis_sentinel import SentinelUrl, Watchers

Argument = str | int | bytes

_LOOKS = 5
"""How often, in a timeout, it is looked whether somebody waits too long, and whether this process stood still."""
_STOOD_STILL_S = 0.02
"""A look that comes later than this says that the event loop was held up."""


class RedisWire:
    """A connection that is made when it is needed, and again when it was lost.

    Args:
        url: ``redis://``, ``rediss://``, ``unix://``, or Sentinels (see ``app.stores.redis_sentinel``).
        timeout_s: for a connection, and for each answer.
    """

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        watched = SentinelUrl.parse(url)
        self._watchers = Watchers(watched, timeout_s=timeout_s) if watched else None
        self._options: dict[str, Any] = watched.options if watched else dict(parse_url(url))
        if watched and watched.is_tls:
            self._options["connection_class"] = SSLConnection
        self._timeout_s = timeout_s
        self._line: _Line | None = None
        self._connecting: asyncio.Task[_Line] | None = None

    def call(self, *command: Argument) -> Awaitable[Any]:
        """Send a command, at once where there is a connection; what is returned waits for its reply.

        Returns:
            The reply, or the error that Redis answered, as a value.

        Raises:
            RedisError, OSError, TimeoutError: when awaited: no answer; whether the command ran is unknown.
        """
        line = self._line
        if line is not None and not line.is_lost:
            return line.send(command)
        return self._call_anew(command)

    async def call_all(self, commands: Sequence[Sequence[Argument]]) -> list[Any]:
        """Replies of many commands, in order, by one wait. Raises what :meth:`call` raises."""
        line = self._line
        if line is None or line.is_lost:
            async with asyncio.timeout(self._timeout_s):
                line = await self._connect()
        return await asyncio.gather(*map(line.send, commands))

    def close(self) -> None:
        """Give the connection up."""
        if self._line is not None:
            self._line.give_up(RedisConnectionError("closed"))

    async def _call_anew(self, command: Sequence[Argument]) -> Any:
        async with asyncio.timeout(self._timeout_s):
            return await (await self._connect()).send(command)

    async def _connect(self) -> "_Line":
        """One attempt for all who need it."""
        if self._connecting is None or self._connecting.done():
            self._connecting = asyncio.create_task(self._open())
        return await asyncio.shield(self._connecting)

    async def _open(self) -> "_Line":
        options = self._options
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self._timeout_s):
            if "path" in options:
                _, line = await loop.create_unix_connection(self._new_line, options["path"])
            else:
                host, port = options.get("host", "localhost"), int(options.get("port", 6379))
                if self._watchers is not None:
                    host, port = await self._watchers.primary()
                _, line = await loop.create_connection(self._new_line, host, port, ssl=_tls(options))
            try:
                await _introduce(line, options)
            except BaseException as error:
                line.give_up(RedisConnectionError(f"not let in: {error}"))
                raise
        self._line = line
        return line

    def _new_line(self) -> "_Line":
        return _Line(self._timeout_s)


async def _introduce(line: "_Line", options: dict[str, Any]) -> None:
    if options.get("password"):
        user = [options["username"]] if options.get("username") else []
        _expect(await line.send(("AUTH", *user, options["password"])))
    if options.get("db"):
        _expect(await line.send(("SELECT", options["db"])))


class _Line(asyncio.Protocol):
    """The protocol's state: what was sent and waits for its answer."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(replyError=RedisError, protocolError=RedisConnectionError)
        self._waiting: deque[tuple[float, asyncio.Future[Any]]] = deque()
        self._outgoing: list[bytes] = []
        self._is_fresh_turn = True
        self._transport: asyncio.Transport | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._watch_due_s = 0.0
        self._stood_still_s = 0.0
        self.is_lost = False

    def send(self, command: Sequence[Argument]) -> "asyncio.Future[Any]":
        """The future of a command's reply."""
        reply = self._loop.create_future()
        if self.is_lost:
            _fail(reply, RedisConnectionError("the connection was lost"))
            return reply
        packed = hiredis.pack_command(tuple(command))  # type: ignore[arg-type]
        if self._is_fresh_turn and self._transport is not None:
            # The first of a turn leaves at once, because most turns have no other.
            self._is_fresh_turn = False
            self._loop.call_soon(self._flush)
            self._transport.write(packed)
        else:
            self._outgoing.append(packed)
        self._waiting.append((self._awake_s(), reply))
        if self._watch is None:
            self._look_later()
        return reply

    def give_up(self, error: Exception) -> None:
        """Fail everything that waits, and never be used again."""
        self.is_lost = True
        if self._watch is not None:
            self._watch.cancel()
        if self._transport is not None:
            self._transport.abort()
        waiting, self._waiting = self._waiting, deque()
        for _, reply in waiting:
            if not reply.done():
                _fail(reply, error)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        """Called by the loop."""
        self.give_up(error or RedisConnectionError("Redis closed the connection"))

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        self._reader.feed(data)
        try:
            while (answer := self._reader.gets()) is not False:
                _, reply = self._waiting.popleft()
                if not reply.done():
                    reply.set_result(answer)
        except (RedisError, IndexError) as error:
            self.give_up(RedisConnectionError(f"not an answer: {error}"))

    def _flush(self) -> None:
        self._is_fresh_turn = True
        outgoing, self._outgoing = self._outgoing, []
        if outgoing and self._transport is not None and not self.is_lost:
            self._transport.write(b"".join(outgoing))

    def _awake_s(self) -> float:
        """A clock that stands still while this process does; it never passes a look that is overdue."""
        now_s = self._loop.time()
        return (now_s if self._watch is None else min(now_s, self._watch_due_s)) - self._stood_still_s

    def _look_later(self) -> None:
        self._watch_due_s = self._loop.time() + self._timeout_s / _LOOKS
        self._watch = self._loop.call_at(self._watch_due_s, self._look)

    def _look(self) -> None:
        """Whether the oldest command waits too long; later ones are younger."""
        self._watch = None
        if not self._waiting or self.is_lost:
            return
        held_up_s = self._loop.time() - self._watch_due_s
        if held_up_s > _STOOD_STILL_S:
            self._stood_still_s += held_up_s
        if self._awake_s() - self._waiting[0][0] >= self._timeout_s:
            self.give_up(RedisConnectionError(f"no answer within {self._timeout_s} s"))
        else:
            self._look_later()


def _fail(reply: "asyncio.Future[Any]", error: Exception) -> None:
    reply.set_exception(error)
    reply.exception()  # marks it as seen: who left does not fetch it


def _tls(options: dict[str, Any]) -> ssl.SSLContext | None:
    if options.get("connection_class") is not SSLConnection:
        return None
    context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"))
    if certificate := options.get("ssl_certfile"):
        context.load_cert_chain(certificate, options.get("ssl_keyfile"))
    if str(options.get("ssl_check_hostname", "true")).lower() == "false":
        context.check_hostname = False
    if options.get("ssl_cert_reqs") == "none":
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _expect(reply: Any) -> None:
    if isinstance(reply, Exception):
        raise reply
