"""What an admission and a settlement cost the store, whatever it holds: ``INFO commandstats``.

Run as ``python -m tests.bench.ledger_cost``; prints microseconds of the server's CPU a script, for
callers one after the other, and for callers that share a pipeline as those of one gateway do.
"""

import asyncio
import tempfile
import time
from collections import defaultdict
from collections.abc import Coroutine, Iterable
from pathlib import Path
from typing import Any

import redis

from app.core.ledger_types import Admitted, Charge, HoldState, Settlement, Terms
from app.stores.embedded_redis import EmbeddedRedis
from deployments.preload import jemalloc
from tests.ledger.lab import START_US, Lab, details_of, limits

TERMS = Terms(
    project=limits(requests=(10**8, 10**8), tokens=(10**8, 10**8)),
    key=limits(requests=(10**8, 10**8), tokens=(10**8, 10**8)),
    monthly_tokens=10**15,
    monthly_nano_usd=10**15,
)
BATCH = 512
CALLERS = 32
KEY = f"key_{7:024}"


def fill(raw: redis.Redis, lab: Lab, count: int) -> None:
    """Open holds, keys with limits, and other projects: ``count`` of each."""
    pipe = raw.pipeline(transaction=False)
    for n in range(count):
        pipe.hset(lab.key("holds"), f"old_{n}", f'o|202609|0|1|24|key_{n:024}|{{"request_id":"req_{n:024}"}}')
        pipe.zadd(lab.key("deadlines"), {f"old_{n}": 2**52 + n})
        pipe.hset(lab.key("limits"), f"key_{n:024}", f"{n} {START_US} {n} {START_US}")
        pipe.hset(f"eg:{{proj_{n}}}:account", "available", n)
        if n % 5000 == 0:
            pipe.execute()
    pipe.execute()
    # Tables that grew move a bucket with each command until they have moved them all.
    for n in range(count // 3):
        pipe.hget(lab.key("holds"), f"old_{n}")
        pipe.hget(lab.key("limits"), f"key_{n:024}")
        pipe.zscore(lab.key("deadlines"), f"old_{n}")
        if n % 5000 == 0:
            pipe.execute()
    pipe.execute()
    # The rewrite of the append-only file that this set off copies every page that is touched meanwhile.
    while raw.info("persistence")["aof_rewrite_in_progress"] or raw.info("persistence")["aof_rewrite_scheduled"]:
        time.sleep(0.2)


def microseconds(url: str, count: int, rounds: int = 8) -> dict[str, float]:
    """Median over rounds of the server's time for one admission and one settlement."""
    samples: dict[str, list[float]] = defaultdict(list)
    with Lab(url, edit=str) as lab:
        lab.grant(10**15)
        fill(lab.raw, lab, count)
        for round_number in range(rounds):
            for callers in (1, CALLERS):
                ids = [f"hold_{round_number:04}{callers:04}{n:016}" for n in range(BATCH)]
                for name, step in (("admit", admit), ("settle", settle)):
                    lab.raw.config_resetstat()
                    for at in range(0, BATCH, callers):
                        lab.run(together(step(lab, hold_id) for hold_id in ids[at : at + callers]))
                    samples[f"{name} by {callers}"].append(per_call(lab.raw))
    return {name: sorted(values)[len(values) // 2] for name, values in samples.items()}


async def together(calls: Iterable[Coroutine[Any, Any, bool]]) -> None:
    """Calls that share a pipeline."""
    assert all(await asyncio.gather(*calls))


async def admit(lab: Lab, hold_id: str) -> bool:
    """Whether it was."""
    charge = Charge(hold_id, 480, 24, KEY, details_of(hold_id))
    return isinstance(await lab.ledger.admit(lab.project_id, charge, TERMS, ttl_ms=10_000), Admitted)


async def settle(lab: Lab, hold_id: str) -> bool:
    """Whether it was."""
    receipt = await lab.ledger.settle(lab.project_id, hold_id, Settlement.CAPTURE, 480)
    return receipt is not None and receipt.state is HoldState.CAPTURED


def per_call(raw: redis.Redis) -> float:
    """Microseconds a script since the last reset."""
    return float(raw.info("commandstats")["cmdstat_evalsha"]["usec_per_call"])


def main() -> None:
    """Measure at a thousand and at a million."""
    for count in (1000, 1_000_000):
        with tempfile.TemporaryDirectory() as folder:
            server = EmbeddedRedis(Path(folder), allocator=jemalloc())
            server.start()
            cost = microseconds(server.url, count)
            server.stop()
        print(f"{count:>9,} open holds, keys and projects: ", end="")
        print(", ".join(f"{name} {us:.1f} µs" for name, us in cost.items()))


if __name__ == "__main__":
    main()
