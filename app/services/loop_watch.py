"""How late an event loop is, and how many tasks it has: what shows first when a process is in trouble."""

import asyncio
from collections.abc import Callable

from app.core import metric_names as names
from app.core.ports import Metrics

_PERIOD_S = 0.25
_REPORT_EVERY = 8


async def watch_loop(metrics: Metrics, *, process: str, clock_s: Callable[[], float]) -> None:
    """Measure the running loop until cancelled.

    Args:
        metrics: told every two seconds of the longest lag that was seen (a stall between two looks is not), and of the
            tasks that exist.
        process: "gateway" or "embedder".
        clock_s: monotonic clock.
    """
    while True:
        longest_s = 0.0
        for _ in range(_REPORT_EVERY):
            due_s = clock_s() + _PERIOD_S
            await asyncio.sleep(_PERIOD_S)
            longest_s = max(longest_s, clock_s() - due_s)
        metrics.set(names.LOOP_LAG_MS, longest_s * 1000, process=process)
        metrics.set(names.TASKS, len(asyncio.all_tasks()), process=process)
