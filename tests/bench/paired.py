"""What a part of the service adds to a request: pairs of requests, with it and without it, on one connection.

The two of a pair follow each other at once and in changing order, so that the machine's moods
fall out of the difference; rounds of a load tool each of its own would carry them in.
"""

import http.client
import statistics
from dataclasses import dataclass

from tests.bench.load import Target, new_text, timed_post

UNCOUNTED = 50


@dataclass(frozen=True)
class Pairs:
    """Milliseconds; ``added_ms`` is the median of the pairs' differences."""

    with_it_p50_ms: float
    without_p50_ms: float
    added_ms: float


def measure(target: Target, *, user: str, without: str, pairs: int) -> Pairs:
    """Send ``2 * pairs`` new texts, half of them as ``user`` and half as ``without``; some before, not counted."""
    connection = http.client.HTTPConnection("127.0.0.1", target.port, timeout=30)

    def once(name: str) -> float:
        return timed_post(connection, target, input=new_text(), user=name)

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
