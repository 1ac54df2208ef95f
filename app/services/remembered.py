"""Something dear to make that many look at: made once for all who ask meanwhile, and shown again for some seconds."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Remembered(Generic[T]):
    """One value, for one process.

    Args:
        make: makes it; what it raises goes to all who wait, and is not remembered.
        valid_s: for how long it is shown again, from the moment at which its making began.
    """

    def __init__(self, make: Callable[[], Awaitable[T]], *, valid_s: float) -> None:
        self._make = make
        self._valid_s = valid_s
        self._known: tuple[float, T] | None = None
        self._making: asyncio.Task[T] | None = None

    async def get(self) -> T:
        """The present one, or one that is some seconds old. Raises what making it raises.

        Whoever leaves does not stop it for the others.
        """
        if self._known is not None and asyncio.get_running_loop().time() - self._known[0] < self._valid_s:
            return self._known[1]
        if self._making is None:
            self._making = asyncio.create_task(self._remember())
            self._making.add_done_callback(self._made)
        return await asyncio.shield(self._making)

    async def _remember(self) -> T:
        began_s = asyncio.get_running_loop().time()
        value = await self._make()
        self._known = began_s, value
        return value

    def _made(self, task: "asyncio.Task[T]") -> None:
        self._making = None
        if not task.cancelled():
            task.exception()  # marks it as seen, should all who waited have left
