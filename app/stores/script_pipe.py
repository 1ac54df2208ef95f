"""Lua scripts on Redis: concurrent calls of one event loop share a pipeline.

While the store is away, calls fail at once but for one probe in each ``_PROBE_PERIOD_S``, so that
nothing piles up and traffic returns by itself.
"""

import hashlib
import logging
import re
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from redis.exceptions import RedisError

from app.core.errors import DependencyDown, NotAsked
from app.stores.redis_client import lua
from app.stores.redis_wire import Argument, RedisWire

logger = logging.getLogger("ray.serve.embedgate")

_PROBE_PERIOD_S = 0.1
_AWAY = "A dependency of the service does not answer; try again shortly."
_NOT_PRIMARY = ("READONLY", "LOADING", "MASTERDOWN", "NOREPLICAS")
_INCLUDE = re.compile(r"^ *-- include (\w+)\n", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Script:
    """A script's text and the digest that Redis knows it by."""

    name: str
    text: str
    sha: str

    @classmethod
    def of(cls, name: str, *, edit: Callable[[str], str] = str) -> "Script":
        """A script of ``app/stores/lua``.

        Args:
            name: its file; a line ``-- include other`` in it stands for that file.
            edit: changes the text; for tests that break a script on purpose.
        """
        text = edit(_INCLUDE.sub(lambda match: lua(match[1]), lua(name)))
        return cls(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


class ScriptPipe:
    """Runs scripts, each at most once: a call whose answer was lost is not sent again.

    Args:
        wire: to the store.
        clock_s: monotonic clock.
    """

    def __init__(self, wire: RedisWire, *, clock_s: Callable[[], float]) -> None:
        self._wire = wire
        self._clock_s = clock_s
        self._away_until_s = float("-inf")

    def run(self, script: Script, keys: Sequence[str], args: Sequence[Argument]) -> Coroutine[Any, Any, Any]:
        """Send a script's call, at once where there is a connection; what is returned waits for its reply, and must
        be awaited.

        Raises:
            NotAsked: when awaited: the store is away, and nothing was sent.
            DependencyDown: when awaited: Redis did not answer, or with an error; whether the script ran is unknown.
        """
        sent = self._wire.call("EVALSHA", script.sha, len(keys), *keys, *args) if self._may_ask() else None
        return self._reply(script, keys, args, sent)

    async def _reply(
        self, script: Script, keys: Sequence[str], args: Sequence[Argument], sent: Awaitable[Any] | None
    ) -> Any:
        if sent is None:
            raise _not_asked()
        try:
            reply = await sent
            if _is_unknown(reply):
                reply = await self._wire.call("EVAL", script.text, len(keys), *keys, *args)
        except (RedisError, OSError, TimeoutError) as error:
            self._away_until_s = self._clock_s() + _PROBE_PERIOD_S
            raise _away() from error
        self._away_until_s = float("-inf")
        return self._checked(script, reply)

    async def run_all(self, script: Script, keys: Sequence[str], calls: Sequence[Sequence[Argument]]) -> list[Any]:
        """Replies of many runs on the same keys, in order, for a fraction of what so many calls cost.

        Raises:
            DependencyDown: one of them has no reply, or an error; which of them ran is unknown.
        """
        if not self._may_ask():
            raise _not_asked()
        try:
            replies = await self._wire.call_all([("EVALSHA", script.sha, len(keys), *keys, *args) for args in calls])
            unknown = [place for place, reply in enumerate(replies) if _is_unknown(reply)]
            again = [("EVAL", script.text, len(keys), *keys, *calls[place]) for place in unknown]
            for place, reply in zip(unknown, await self._wire.call_all(again), strict=True):
                replies[place] = reply
        except (RedisError, OSError, TimeoutError) as error:
            self._away_until_s = self._clock_s() + _PROBE_PERIOD_S
            raise _away() from error
        self._away_until_s = float("-inf")
        return [self._checked(script, reply) for reply in replies]

    def _may_ask(self) -> bool:
        if self._away_until_s > 0:
            now_s = self._clock_s()
            if now_s < self._away_until_s:
                return False
            self._away_until_s = now_s + _PROBE_PERIOD_S
        return True

    def _checked(self, script: Script, reply: Any) -> Any:
        if isinstance(reply, Exception):
            logger.error("script %s failed: %s", script.name, reply)
            if str(reply).startswith(_NOT_PRIMARY):
                self._wire.close()  # the next connection may lead to the new primary
            raise _away() from reply
        return reply


def _is_unknown(reply: object) -> bool:
    return isinstance(reply, RedisError) and str(reply).startswith("NOSCRIPT")


def _away() -> DependencyDown:
    return DependencyDown(_AWAY)


def _not_asked() -> NotAsked:
    return NotAsked(_AWAY)
