"""Work that nobody waits for at a socket waits for its dependencies instead."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from app.core.errors import DependencyDown

T = TypeVar("T")
logger = logging.getLogger("ray.serve.embedgate")

_RETRY_S = 0.5
_PATIENCE_S = 60.0
"""Then another worker may have more luck: it may be this one's own disk, or way to the store, that fails."""


async def until_answered(call: Callable[[], Awaitable[T]]) -> T:
    """The answer of a call that may be made again.

    Raises:
        DependencyDown: there was none for a minute.
    """
    began_s = asyncio.get_running_loop().time()
    while True:
        try:
            return await call()
        except DependencyDown as error:
            waited_s = asyncio.get_running_loop().time() - began_s
            if waited_s > _PATIENCE_S:
                raise
            if waited_s < _RETRY_S:
                logger.warning("a batch waits: %s (%s)", error, error.__cause__)
            await asyncio.sleep(_RETRY_S)


async def end(tasks: Iterable["asyncio.Task[None]"]) -> None:
    """Cancel tasks until they have ended.

    Once is not always enough: before Python 3.12 ``asyncio.wait_for``, which the Redis client uses, loses a
    cancellation that comes when its own work is just done.
    """
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=0.2)
