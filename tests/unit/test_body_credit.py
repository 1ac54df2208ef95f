"""An upload is taken from the socket no faster than its route deals with it."""

import asyncio

from starlette.requests import Request
from starlette.types import Message

from app.api.body_credit import _AHEAD_BYTES, deal_with, meter

PIECE = 1024 * 1024


class Socket:
    """Brings a piece whenever it is asked."""

    def __init__(self, pieces: int) -> None:
        self.left = pieces

    async def receive(self) -> Message:
        if not self.left:
            return {"type": "http.disconnect"}
        self.left -= 1
        return {"type": "http.request", "body": b"x" * PIECE, "more_body": self.left > 0}


def scope(path: str) -> dict[str, object]:
    return {"type": "http", "method": "POST", "path": path, "headers": []}


async def test_a_slow_route_holds_the_socket_back() -> None:
    socket, uploaded = Socket(50), scope("/v1/files")
    receive = meter(uploaded, socket.receive)
    queue: asyncio.Queue[Message] = asyncio.Queue()

    async def as_serve_does() -> None:
        while True:
            message = await receive()
            queue.put_nowait(message)
            if message["type"] == "http.disconnect":
                return

    fetching = asyncio.create_task(as_serve_does())
    await asyncio.sleep(0.01)
    assert 50 - socket.left <= _AHEAD_BYTES // PIECE + 1
    request, seen = Request(uploaded), 0
    while (message := await queue.get())["type"] == "http.request":
        await asyncio.sleep(0.001)
        assert queue.qsize() <= _AHEAD_BYTES // PIECE + 1
        seen += len(message["body"])
        deal_with(request, len(message["body"]))
    await fetching
    assert seen == 50 * PIECE


async def test_other_requests_are_left_alone() -> None:
    socket = Socket(1)
    embeddings = scope("/v1/embeddings")
    assert meter(embeddings, socket.receive) == socket.receive
    deal_with(Request(embeddings), 10)
