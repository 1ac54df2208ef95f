"""What an admission and a settlement cost the store, whatever it holds: ``INFO commandstats``.

Run as ``python -m tests.bench.ledger_cost``; prints microseconds of the server's CPU a script.
"""

import tempfile
import time
from pathlib import Path

import redis

from app.core.ledger_types import Settlement, Terms
from app.stores.embedded_redis import EmbeddedRedis
from tests.ledger.lab import Lab, limits

TERMS = Terms(
    project=limits(requests=(10**8, 10**8), tokens=(10**8, 10**8)),
    key=limits(requests=(10**8, 10**8), tokens=(10**8, 10**8)),
    monthly_tokens=10**15,
    monthly_nano_usd=10**15,
)
BATCH = 500


def fill(raw: redis.Redis, lab: Lab, count: int) -> None:
    """Open holds, keys with limits, and other projects: ``count`` of each."""
    pipe = raw.pipeline(transaction=False)
    for n in range(count):
        pipe.hset(lab.key("holds"), f"old_{n}", f'o|202609|0|1|24|key_{n}|{{"request_id":"req_{n:024}"}}')
        pipe.zadd(lab.key("deadlines"), {f"old_{n}": 2**52 + n})
        pipe.hset(lab.key("limits"), mapping={f"key_{n}:tokens.level": n, f"key_{n}:tokens.at_us": n})
        pipe.hset(f"eg:{{proj_{n}}}:account", "available", n)
        if n % 5000 == 0:
            pipe.execute()
    pipe.execute()
    # The rewrite of the append-only file that this set off copies every page that is touched meanwhile.
    while raw.info("persistence")["aof_rewrite_in_progress"] or raw.info("persistence")["aof_rewrite_scheduled"]:
        time.sleep(0.2)


def microseconds(url: str, count: int, rounds: int = 8) -> dict[str, float]:
    """Median over rounds of the server's time for one admission and one settlement."""
    samples: dict[str, list[float]] = {"admit": [], "settle": []}
    with Lab(url, edit=str) as lab:
        lab.grant(10**15)
        fill(lab.raw, lab, count)
        for round_number in range(rounds):
            ids = [f"hold_{round_number:04}{n:020}" for n in range(BATCH)]
            lab.raw.config_resetstat()
            for hold_id in ids:
                lab.admit(hold_id, 480, 24, terms=TERMS, key_id="key_7")
            samples["admit"].append(per_call(lab.raw))
            lab.raw.config_resetstat()
            for hold_id in ids:
                lab.settle(hold_id, Settlement.CAPTURE, 480)
            samples["settle"].append(per_call(lab.raw))
    return {name: sorted(values)[len(values) // 2] for name, values in samples.items()}


def per_call(raw: redis.Redis) -> float:
    """Microseconds a script since the last reset."""
    return float(raw.info("commandstats")["cmdstat_evalsha"]["usec_per_call"])


def main() -> None:
    """Measure at a thousand and at a million."""
    for count in (1000, 1_000_000):
        with tempfile.TemporaryDirectory() as folder:
            server = EmbeddedRedis(Path(folder))
            server.start()
            cost = microseconds(server.url, count)
            server.stop()
        print(f"{count:>9,} open holds, keys and projects: ", end="")
        print(", ".join(f"{name} {us:.1f} µs" for name, us in cost.items()))


if __name__ == "__main__":
    main()
