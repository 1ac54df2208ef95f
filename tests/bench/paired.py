"""What a part of the service adds to a request: pairs of requests, with it and without it, on one connection.

The two of a pair follow each other at once and in changing order, so that the machine's moods
fall out of the difference; rounds of a load tool each of its own would carry them in.
"""

import http.client
import json
import random
import statistics
import time
from dataclasses import dataclass

WORDS = (
    *("invoice", "customer", "vector", "ocean", "granite", "melody", "theorem"),
    *("garden", "protein", "engine", "harbour", "winter", "signal"),
)

UNCOUNTED = 50


@dataclass(frozen=True)
class Pairs:
    """Milliseconds; ``added_ms`` is the median of the pairs' differences."""

    with_it_p50_ms: float
    without_p50_ms: float
    added_ms: float


def measure(port: int, path: str, key: str, model: str, *, user: str, without: str, pairs: int) -> Pairs:
    """Send ``2 * pairs`` new texts, half of them as ``user`` and half as ``without``; some before, not counted."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}

    def once(name: str) -> float:
        text = " ".join(random.choices(WORDS, k=22))
        body = json.dumps({"model": model, "encoding_format": "base64", "input": text, "user": name})
        began_s = time.perf_counter()
        connection.request("POST", path, body, headers)
        response = connection.getresponse()
        response.read()
        took_ms = (time.perf_counter() - began_s) * 1000
        if response.status != 200:
            raise SystemExit(f"the service answered {response.status}")
        return took_ms

    samples: list[tuple[float, float]] = []
    for number in range(pairs + UNCOUNTED):
        if number % 2:
            one, other = once(user), once(without)
        else:
            other, one = once(without), once(user)
        if number >= UNCOUNTED:
            samples.append((one, other))
    connection.close()
    return Pairs(
        statistics.median(one for one, _ in samples),
        statistics.median(other for _, other in samples),
        statistics.median(one - other for one, other in samples),
    )
