import asyncio
import time

import pytest

from app.core import metric_names as names
from app.services import loop_watch
from tests.fakes import RecordingMetrics


async def test_a_blocked_loop_and_its_tasks_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_watch, "_PERIOD_S", 0.01)
    metrics = RecordingMetrics()
    others = [asyncio.create_task(asyncio.sleep(5)) for _ in range(5)]
    watch = asyncio.create_task(loop_watch.watch_loop(metrics, process="gateway", clock_s=time.monotonic))
    await asyncio.sleep(0.03)
    time.sleep(0.1)  # this is what it is for
    await asyncio.sleep(0.15)
    for task in (watch, *others):
        task.cancel()
    assert metrics.highest[names.LOOP_LAG_MS] > 80
    assert metrics.highest[names.TASKS] >= 7
