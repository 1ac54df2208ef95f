"""Requests that come at their own pace, whatever becomes of those before: ``python -m tests.bench.open_loop``.

Reads one JSON object from standard input (see :class:`Order`) and prints one (see :class:`Report`).
Whoever is refused with a Retry-After comes back when it says so, as often as it takes.
"""

import asyncio
import json
import random
import resource
import sys
import time
from dataclasses import asdict, dataclass, field

import aiohttp

from tests.bench.load import MODEL, new_text

_LONGEST_S = 300
"""After the last request came, what has not succeeded by then counts as failed."""


@dataclass(frozen=True)
class Order:
    """What to send. ``per_s`` by tier."""

    url: str
    key: str
    per_s: dict[str, float]
    seconds: float


@dataclass
class Report:
    """What came of it, by tier. ``latencies_ms`` are of requests that were accepted when they first came."""

    offered: dict[str, int] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    latencies_ms: dict[str, list[float]] = field(default_factory=dict)
    served_while_offered: int = 0
    returns: list[int] = field(default_factory=list)
    other: dict[str, int] = field(default_factory=dict)
    took_s: float = 0.0


async def run(order: Order) -> Report:
    """Poisson arrivals for each tier, then until everybody has been served."""
    report = Report(*({tier: value() for tier in order.per_s} for value in (int, int, list)))
    began_s = time.monotonic()
    callers: list[asyncio.Task[None]] = []
    headers = {"Authorization": f"Bearer {order.key}"}
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(connector=connector, headers=headers, timeout=timeout) as session:

        async def arrivals(tier: str, per_s: float) -> None:
            due_s = began_s
            while (due_s := due_s + random.expovariate(per_s)) < began_s + order.seconds:
                await asyncio.sleep(max(0.0, due_s - time.monotonic()))
                report.offered[tier] += 1
                callers.append(asyncio.create_task(call(tier)))

        async def call(tier: str) -> None:
            body = {"model": MODEL, "input": new_text(), "service_tier": tier, "encoding_format": "base64"}
            returns = 0
            while True:
                sent_s = time.monotonic()
                wait_s = await once(body, tier, first=returns == 0)
                if wait_s is None:
                    break
                if sent_s > began_s + order.seconds + _LONGEST_S:
                    note("still refused")
                    break
                returns += 1
                await asyncio.sleep(wait_s)
            if returns:
                report.returns.append(returns)

        async def once(body: dict[str, str], tier: str, *, first: bool) -> float | None:
            """Seconds after which to come back, or None when that was the end."""
            sent_s = time.monotonic()
            try:
                async with session.post(order.url, json=body) as response:
                    await response.read()
            except Exception as error:
                note(type(error).__name__)
                return None
            now_s = time.monotonic()
            if response.status == 200:
                report.served_while_offered += now_s < began_s + order.seconds
                if first:
                    report.latencies_ms[tier].append((now_s - sent_s) * 1000)
                return None
            after = response.headers.get("retry-after", "")
            if response.status == 503 and after.isdigit() and 1 <= int(after) <= 60:
                report.refused[tier] += first
                return float(after)
            note(f"{response.status}, Retry-After {after!r}")
            return None

        def note(what: str) -> None:
            report.other[what] = report.other.get(what, 0) + 1

        await asyncio.gather(*(arrivals(tier, per_s) for tier, per_s in order.per_s.items()))
        await asyncio.gather(*callers)
    report.took_s = time.monotonic() - began_s
    return report


if __name__ == "__main__":
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    print(json.dumps(asdict(asyncio.run(run(Order(**json.load(sys.stdin)))))))
