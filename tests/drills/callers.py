"""Drills of callers that mean no good, or are only slow."""

import contextlib
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator

import httpx

from tests.drills.drill import Drill
from tests.drills.house import House

_LASTS_S = 8


def bad_keys(house: House) -> None:
    """As fast as eight clients can."""
    statuses: Counter[int] = Counter()

    def flood(client: httpx.Client, number: int) -> None:
        key = f"{house.api_key[:-8]}{number:08d}"
        response = client.post("/embeddings", json={}, headers={"Authorization": f"Bearer {key}"})
        statuses[response.status_code] += 1

    _flood(house, flood)
    assert set(statuses) <= {401, 429, 503}, statuses
    assert statuses[401] > 200, statuses


def oversize_bodies(house: House) -> None:
    """Announced as too large, and found to be while they come."""
    statuses: Counter[int] = Counter()
    body = b"x" * (17 << 20)

    def flood(client: httpx.Client, number: int) -> None:
        headers = {"Authorization": f"Bearer {house.api_key}", "Content-Type": "application/json"}
        content = body if number % 2 else iter([body[: 1 << 20]] * 17)
        try:
            statuses[client.post("/embeddings", content=content, headers=headers).status_code] += 1
        except httpx.TransportError:
            statuses[0] += 1  # answered, and closed before all was sent

    _flood(house, flood, clients=2)
    assert set(statuses) <= {0, 413, 429, 503}, statuses
    assert statuses[413] > 0, statuses


def _flood(house: House, send, *, clients: int = 8) -> None:  # type: ignore[no-untyped-def]
    ends_s = time.monotonic() + _LASTS_S

    def run(first: int) -> None:
        with httpx.Client(base_url=house.url, timeout=30) as client:
            number = first
            while time.monotonic() < ends_s:
                send(client, number)
                number += 1

    threads = [threading.Thread(target=run, args=(n * 10_000_000,)) for n in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def slow_clients(house: House) -> None:
    """Two hundred that send their headers a byte a second, and a hundred their body."""
    head = b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\n"
    whole = head + b"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
    with _connections(house, 300) as opened:
        for number, one in enumerate(opened):
            one.sendall(head if number < 200 else whole)
        for _ in range(_LASTS_S):
            time.sleep(1)
            for one in opened:
                with contextlib.suppress(OSError):
                    one.sendall(b"x")


def idle_connections(house: House) -> None:
    """A thousand that say nothing."""
    with _connections(house, 1000):
        time.sleep(_LASTS_S)


@contextlib.contextmanager
def _connections(house: House, count: int) -> Iterator[list[socket.socket]]:
    opened = [socket.create_connection(("127.0.0.1", house.port), timeout=10) for _ in range(count)]
    try:
        yield opened
    finally:
        for one in opened:
            one.close()


DRILLS = (
    Drill("an endless stream of bad keys", bad_keys, gap_s=3),
    Drill("an endless stream of oversize bodies", oversize_bodies, gap_s=4),
    Drill("slow clients", slow_clients, gap_s=3),
    Drill("1,000 idle connections", idle_connections, gap_s=3),
)
