"""A request whose client left is ended, and nothing watches over one that is answered at once."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from deployments.ingress_headers import IngressHeaders

BODY: Message = {"type": "http.request", "body": b"{}", "more_body": False}
PART: Message = {"type": "http.request", "body": b"{", "more_body": True}
LEFT: Message = {"type": "http.disconnect"}
LAST: Message = {"type": "http.response.body", "body": b"{}"}

App = Callable[[Scope, Receive, Send], Coroutine[Any, Any, None]]


class Client:
    """What a server hands to an application: one connection."""

    def __init__(self, *messages: Message) -> None:
        self.says: asyncio.Queue[Message] = asyncio.Queue()
        self.got: list[Message] = []
        for message in messages:
            self.says.put_nowait(message)

    async def send(self, message: Message) -> None:
        self.got.append(message)

    async def ask(self, app: App) -> None:
        scope: Scope = {"type": "http", "method": "POST", "path": "/v1/embeddings", "headers": [(b"accept", b"*/*")]}
        await IngressHeaders(refuse, find_shortcut=lambda _: Straight(app))(scope, self.says.get, self.send)


async def refuse(_: Scope, __: Receive, ___: Send) -> None:
    raise AssertionError("an embedding request went through Serve")


class Straight:
    """A shortcut to an application."""

    def __init__(self, app: App) -> None:
        self._app = app

    def is_open(self) -> bool:
        return True

    async def serve(self, scope: Scope, receive: Receive, send: Send, *, request_id: str) -> None:
        assert request_id
        await self._app(scope, receive, send)


async def read(receive: Receive) -> None:
    while (await receive()).get("more_body"):
        pass


@pytest.mark.parametrize("messages", [(BODY,), (PART, BODY)])
async def test_who_leaves_while_waiting_ends_the_request(messages: tuple[Message, ...]) -> None:
    client, ended = Client(*messages), asyncio.Event()

    async def app(_: Scope, receive: Receive, __: Send) -> None:
        await read(receive)
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    asked = asyncio.create_task(client.ask(app))
    await asyncio.sleep(0.02)
    assert not ended.is_set()
    client.says.put_nowait(LEFT)
    await asyncio.wait_for(asked, 1)
    assert ended.is_set()
    assert client.got == []


async def test_who_leaves_in_the_middle_of_the_body_ends_the_request() -> None:
    async def app(_: Scope, receive: Receive, send: Send) -> None:
        await read(receive)
        await send(LAST)

    client = Client(PART, LEFT)
    await asyncio.wait_for(client.ask(app), 1)
    assert client.got == []


async def test_an_answer_at_once_is_not_watched() -> None:
    before = asyncio.all_tasks()

    async def app(_: Scope, receive: Receive, send: Send) -> None:
        await read(receive)
        assert asyncio.all_tasks() == before
        await send(LAST)

    client = Client(BODY)
    await client.ask(app)
    await asyncio.sleep(0.02)
    assert asyncio.all_tasks() == before, "nor afterwards"
    assert client.got == [LAST]


async def test_who_leaves_after_the_answer_ends_nothing() -> None:
    """A server says the same when an answer is complete."""
    done = False

    async def app(_: Scope, receive: Receive, send: Send) -> None:
        nonlocal done
        await read(receive)
        await asyncio.sleep(0.02)
        await send(LAST)
        client.says.put_nowait(LEFT)
        await asyncio.sleep(0.02)
        done = True

    client = Client(BODY)
    await client.ask(app)
    assert done


async def test_what_is_received_after_the_answer_ends_nothing() -> None:
    done = False

    async def app(_: Scope, receive: Receive, send: Send) -> None:
        nonlocal done
        await read(receive)
        await send(LAST)
        assert await receive() == LEFT
        await asyncio.sleep(0.01)
        done = True

    await Client(BODY, LEFT).ask(app)
    assert done


async def test_a_request_that_is_cancelled_from_outside_stays_cancelled() -> None:
    async def app(_: Scope, receive: Receive, __: Send) -> None:
        await read(receive)
        await asyncio.sleep(60)

    asked = asyncio.create_task(Client(BODY).ask(app))
    await asyncio.sleep(0.02)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
