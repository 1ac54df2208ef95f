"""Projects are told of the end of their batches, in a form that the OpenAI SDK takes for genuine."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import openai
import pytest

from app.services.webhooks import WebhookSender, WebhookSettings
from app.stores.http_post import HttpPost
from app.stores.redis_webhooks import RedisWebhooks
from tests.batch_house import PROJECT, BatchHouse, lines_of


class Receiver:
    """A server that answers with the statuses it was given, then with 200."""

    def __init__(self, *statuses: int) -> None:
        self.received: list[tuple[dict[str, str], bytes]] = []
        self.statuses = list(statuses)
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.received.append(({name.lower(): value for name, value in self.headers.items()}, body))
                status = receiver.statuses.pop(0) if receiver.statuses else 200
                self.send_response(status)
                self.send_header("location", receiver.url)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.stop()


@pytest.fixture
async def house(redis_url: str, tmp_path: Path) -> AsyncIterator[BatchHouse]:
    made = BatchHouse(redis_url, tmp_path)
    made.raw.flushall()
    await made.open_tenant()
    yield made
    await made.close()


def settings_of(house: BatchHouse) -> WebhookSettings:
    return WebhookSettings(RedisWebhooks(house.client), random_bytes=lambda count: b"\x07" * count)


async def until_received(receiver: Receiver, count: int) -> None:
    async with asyncio.timeout(15):
        while len(receiver.received) < count:
            await asyncio.sleep(0.05)


async def test_the_sdk_takes_it_for_genuine(house: BatchHouse, receiver: Receiver) -> None:
    webhook = await settings_of(house).set(PROJECT, receiver.url)
    house.worker()
    ref = await house.submit(lines_of(["a"]))
    await until_received(receiver, 1)
    headers, body = receiver.received[0]
    event = openai.OpenAI(api_key="x").webhooks.unwrap(body.decode(), headers, secret=webhook.secret)
    assert event.type == "batch.completed"
    assert event.data.id == ref.batch_id
    with pytest.raises(openai.InvalidWebhookSignatureError):
        openai.OpenAI(api_key="x").webhooks.unwrap(body.decode() + " ", headers, secret=webhook.secret)


@pytest.mark.parametrize("status", [500, 404, 302])
async def test_what_is_not_taken_is_told_again_under_the_same_id(
    house: BatchHouse, receiver: Receiver, status: int
) -> None:
    receiver.statuses = [status, status]
    await settings_of(house).set(PROJECT, receiver.url)
    worker = house.worker()
    await house.until_ended(await house.submit(lines_of(["a"])))
    await until_received(receiver, 1)
    for attempt, wait_s in ((2, 6), (3, 21)):
        await asyncio.sleep(1.2)
        assert len(receiver.received) == attempt - 1, "not at once"
        house.clock.advance(wait_s)
        await until_received(receiver, attempt)
    assert len({headers["webhook-id"] for headers, _ in receiver.received}) == 1
    assert len({body for _, body in receiver.received}) == 1
    async with asyncio.timeout(5):
        while house.raw.exists("eg:webhooks_due"):
            await asyncio.sleep(0.05)
    assert worker.is_alive


async def test_a_server_that_is_away_is_given_up_after_three_days(house: BatchHouse) -> None:
    webhooks = RedisWebhooks(house.client)
    sender = WebhookSender(webhooks, HttpPost(), metrics=house.metrics, wall_s=house.clock)
    await settings_of(house).set(PROJECT, "http://127.0.0.1:9/")
    house.worker()
    await house.until_ended(await house.submit(lines_of(["a"])))
    await house.workers[0].close()
    began_s = house.clock()
    while house.raw.exists("eg:webhooks_due"):
        house.clock.advance(600)
        await sender.tell_due()
    assert 60 * 3600 <= house.clock() - began_s <= 73 * 3600
    assert 15 <= house.metrics.counts["embedgate_webhooks,outcome=unanswered"] <= 40
    assert not house.raw.hlen(f"eg:{{{PROJECT}}}:webhook_events")


async def test_whoever_is_gone_or_was_removed_is_told_no_more(house: BatchHouse, receiver: Receiver) -> None:
    receiver.statuses = [410]
    await settings_of(house).set(PROJECT, receiver.url)
    house.worker()
    await house.until_ended(await house.submit(lines_of(["a"])))
    await until_received(receiver, 1)
    async with asyncio.timeout(5):
        while house.raw.exists("eg:webhooks_due"):
            await asyncio.sleep(0.05)
    await settings_of(house).remove(PROJECT)
    await house.until_ended(await house.submit(lines_of(["a"])))
    await asyncio.sleep(1.5)
    assert len(receiver.received) == 1
