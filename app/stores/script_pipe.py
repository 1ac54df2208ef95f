"""Lua scripts on Redis: concurrent calls of one event loop share a pipeline.

Nothing waits longer than ``TIMEOUT_S``. While the store is away, calls fail at once but for one
probe in each ``_PROBE_PERIOD_S``, so that nothing piles up and traffic returns by itself.
"""

import asyncio
import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

from app.core.errors import DependencyDown
from app.stores.redis_client import TIMEOUT_S, lua

logger = logging.getLogger("ray.serve.embedgate")

_MAX_BATCH = 256
_MAX_IN_FLIGHT = 8
_PROBE_PERIOD_S = 0.1


@dataclass(frozen=True, slots=True)
class Script:
    """A script's text and the digest that Redis knows it by."""

    name: str
    text: str
    sha: str

    @classmethod
    def of(cls, name: str, *, prelude: str = "", edit: Callable[[str], str] = str) -> "Script":
        """A script of ``app/stores/lua``.

        Args:
            name: its file.
            prelude: the file that goes before it.
            edit: changes the text; for tests that break a script on purpose.
        """
        text = edit((lua(prelude) if prelude else "") + lua(name))
        return cls(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


@dataclass(frozen=True, slots=True)
class _Call:
    script: Script
    keys: Sequence[str]
    args: Sequence[str | int | bytes]
    reply: "asyncio.Future[Any]"

    def command(self, *, by_text: bool = False) -> list[Any]:
        head = ["EVAL", self.script.text] if by_text else ["EVALSHA", self.script.sha]
        return [*head, len(self.keys), *self.keys, *self.args]


class ScriptPipe:
    """Runs scripts.

    Args:
        redis: its pool is used; a command whose answer was lost is never sent again by itself.
        clock_s: monotonic clock.
    """

    def __init__(self, redis: Redis, *, clock_s: Callable[[], float]) -> None:
        self._redis = redis
        self._clock_s = clock_s
        self._waiting: list[_Call] = []
        self._in_flight: set[asyncio.Task[None]] = set()
        self._is_scheduled = False
        self._away_until_s = float("-inf")

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[str | int | bytes]) -> Any:
        """One script's reply.

        Raises:
            DependencyDown: Redis did not answer, or not with a reply; whether the script ran is unknown.
        """
        now_s = self._clock_s()
        if now_s < self._away_until_s:
            raise _away()
        if self._away_until_s > 0:
            self._away_until_s = now_s + _PROBE_PERIOD_S
        loop = asyncio.get_running_loop()
        call = _Call(script, keys, args, loop.create_future())
        self._waiting.append(call)
        if not self._is_scheduled:
            self._is_scheduled = True
            loop.call_soon(self._flush)
        return await call.reply

    def _flush(self) -> None:
        self._is_scheduled = False
        while self._waiting and len(self._in_flight) < _MAX_IN_FLIGHT:
            batch, self._waiting = self._waiting[:_MAX_BATCH], self._waiting[_MAX_BATCH:]
            task = asyncio.get_running_loop().create_task(self._execute(batch))
            self._in_flight.add(task)
            task.add_done_callback(self._landed)

    def _landed(self, task: "asyncio.Task[None]") -> None:
        self._in_flight.discard(task)
        self._flush()

    async def _execute(self, batch: Sequence[_Call]) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                replies = await self._send([call.command() for call in batch])
                unknown = [i for i, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
                if unknown:
                    again = await self._send([batch[i].command(by_text=True) for i in unknown])
                    for i, reply in zip(unknown, again, strict=True):
                        replies[i] = reply
        except (RedisError, OSError, TimeoutError) as error:
            self._away_until_s = self._clock_s() + _PROBE_PERIOD_S
            self._fail(batch, error)
            for_others, self._waiting = self._waiting, []
            self._fail(for_others, error)
            return
        self._away_until_s = float("-inf")
        for call, reply in zip(batch, replies, strict=True):
            if isinstance(reply, Exception):
                logger.error("script %s failed: %s", call.script.name, reply)
                self._fail([call], reply)
            elif not call.reply.done():
                call.reply.set_result(reply)

    async def _send(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        pipe = self._redis.pipeline(transaction=False)
        for command in commands:
            pipe.execute_command(*command)
        return list(await pipe.execute(raise_on_error=False))

    @staticmethod
    def _fail(calls: Sequence[_Call], cause: BaseException) -> None:
        for call in calls:
            if not call.reply.done():
                error = _away()
                error.__cause__ = cause
                call.reply.set_exception(error)


def _away() -> DependencyDown:
    return DependencyDown("A dependency of the service does not answer; try again shortly.")
