"""Something dear to make that many look at: made once for all who ask meanwhile, and shown again for some seconds."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Remembered(Generic[T]):
    """One value.

    Args:
        make: makes it; what it raises is not remembered.
        valid_s: for how long it is shown again.
        clock_s: any clock; one that was set back makes it anew.
    """

    def __init__(self, make: Callable[[], Awaitable[T]], *, valid_s: float, clock_s: Callable[[], float]) -> None:
        self._make = make
        self._valid_s = valid_s
        self._clock_s = clock_s
        self._known: tuple[float, T] | None = None
        self._turn = asyncio.Lock()

    async def get(self) -> T:
        """The present one, or one that is some seconds old. Raises what making it raises."""
        async with self._turn:
            now_s = self._clock_s()
            if self._known is None or not 0 <= now_s - self._known[0] < self._valid_s:
                self._known = now_s, await self._make()
            return self._known[1]
