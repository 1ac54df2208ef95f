"""Backpressure for uploads.

Ray Serve reads a request's body as fast as it comes and keeps what the application has not taken
yet: a large upload to a slow store would lie in memory whole. The layer outside of Serve hands on
only so many bytes more than the route says it has dealt with.
"""

import asyncio
import re

from starlette.requests import Request
from starlette.types import Message, Receive, Scope

_SCOPE_KEY = "embedgate.body_credit"
_UPLOADS = re.compile(r"/v1/(files|uploads/[^/]+/parts)\Z")
_AHEAD_BYTES = 4 * 1024 * 1024


class BodyCredit:
    """Of one request.

    Args:
        receive: where the body comes from.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._ahead_bytes = 0
        self._room = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def receive(self) -> Message:
        """The next message, once there is room for it."""
        self._loop = asyncio.get_running_loop()
        while self._ahead_bytes > _AHEAD_BYTES:
            self._room.clear()
            await self._room.wait()
        message = await self._receive()
        self._ahead_bytes += len(message.get("body", b""))
        return message

    def dealt_with(self, size_bytes: int) -> None:
        """The route is done with so many bytes; it may run on another loop than Serve's."""
        assert self._loop is not None, "the body was received before it was dealt with"
        if self._loop is asyncio.get_running_loop():
            self._give(size_bytes)
        else:
            self._loop.call_soon_threadsafe(self._give, size_bytes)

    def _give(self, size_bytes: int) -> None:
        self._ahead_bytes -= size_bytes
        self._room.set()


def meter(scope: Scope, receive: Receive) -> Receive:
    """Meter an upload's body; its route must say what it has dealt with, or it waits for ever.

    Returns:
        What to receive from instead; ``receive`` itself for any other request.
    """
    if not is_upload(scope):
        return receive
    credit = BodyCredit(receive)
    scope[_SCOPE_KEY] = credit
    return credit.receive


def is_upload(scope: Scope) -> bool:
    """Whether a request brings a file."""
    return bool(scope["method"] == "POST" and _UPLOADS.search(scope["path"]))


def deal_with(request: Request, size_bytes: int) -> None:
    """Say that a route is done with so many bytes of the body."""
    credit = request.scope.get(_SCOPE_KEY)
    if isinstance(credit, BodyCredit):
        credit.dealt_with(size_bytes)
