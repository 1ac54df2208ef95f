"""What a part of the service adds to a request: pairs of requests, with it and without it, on one connection.

The two of a pair follow each other at once and in changing order, so that the machine's moods
fall out of the difference; rounds of a load tool each of its own would carry them in.
"""

import statistics
from dataclasses import dataclass

from tests.bench.load import Caller, Target, new_text

UNCOUNTED = 50


@dataclass(frozen=True)
class Pairs:
    """Milliseconds; ``added_ms`` is the median of the pairs' differences."""

    with_it_p50_ms: float
    without_p50_ms: float
    added_ms: float


def measure(target: Target, *, user: str, without: str, pairs: int) -> Pairs:
    """Send ``2 * pairs`` new texts, half of them as ``user`` and half as ``without``; some before, not counted."""
    caller = Caller(target)

    def once(name: str) -> float:
        return caller.post(input=new_text(), user=name)

    samples: list[tuple[float, float]] = []
    for number in range(pairs + UNCOUNTED):
        if number % 2:
            one, other = once(user), once(without)
        else:
            other, one = once(without), once(user)
        if number >= UNCOUNTED:
            samples.append((one, other))
    caller.close()
    return Pairs(
        statistics.median(one for one, _ in samples),
        statistics.median(other for _, other in samples),
        statistics.median(one - other for one, other in samples),
    )
