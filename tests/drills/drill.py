"""One drill: what is broken and mended again, and what callers may see of it."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.drills.house import MODEL, PRICE_NANO_USD_PER_MTOK, House, wait
from tests.drills.skip import Skip
from tests.drills.traffic import Traffic

_CALM_S = 3.0
_MOST_TOKENS = 300
"""Of a request here; what one whose answer was lost may have cost."""


@dataclass(frozen=True)
class Drill:
    """Breaks something.

    Attributes:
        run: breaks, and returns when all is whole again.
        errors: how many requests may fail; 0 means none.
        gap_s: longest time without an answer to anybody.
        forgotten: whether captures of the last moments may be lost with a primary that dies.
    """

    name: str
    run: Callable[[House], None]
    errors: int = 0
    gap_s: float = 5.0
    forgotten: bool = False


@dataclass(frozen=True)
class Report:
    """What a drill came to."""

    drill: Drill
    requests: int
    errors: dict[str, int]
    gap_s: float
    recovery_s: float
    p99_ms: float
    difference_nano_usd: int
    verified: str
    faults: tuple[str, ...]


def hold(drill: Drill, house: House) -> Report:
    """Run a drill under traffic and judge it."""
    before = house.charged_nano_usd()
    with Traffic(house.url, house.api_key, MODEL) as traffic:
        time.sleep(_CALM_S)
        began_s = time.monotonic()
        failure = ""
        try:
            drill.run(house)
        except Skip:
            raise
        except Exception as error:
            failure = f"{type(error).__name__}: {error}"
        recovery_s = time.monotonic() - began_s
        time.sleep(_CALM_S)
    wait(house.store.is_whole, "the store has a primary and a replica", within_s=60)
    difference = house.charged_nano_usd() - before - traffic.paid_nano_usd
    verified = house.verify()
    faults = [failure] if failure else []
    if sum(traffic.errors.values()) > drill.errors:
        faults.append(f"more than {drill.errors} requests failed")
    if traffic.longest_gap_s() > drill.gap_s:
        faults.append(f"nobody got an answer for more than {drill.gap_s} s")
    if not traffic.succeeds_after(began_s + recovery_s):
        faults.append("nobody is served afterwards")
    if traffic.wrong:
        faults.append(f"{traffic.wrong} wrong vectors")
    unheard = traffic.unheard * _MOST_TOKENS * PRICE_NANO_USD_PER_MTOK // 1_000_000
    if difference > unheard or (difference < 0 and not drill.forgotten):
        faults.append("charges differ from what callers were told")
    if not verified.endswith(" 0 projects off"):
        faults.append("the ledger differs from its journal")
    return Report(
        drill, traffic.requests, traffic.errors, traffic.longest_gap_s(), recovery_s, traffic.p99_ms(), difference,
        verified, tuple(faults),
    )  # fmt: skip
