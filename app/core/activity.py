"""What callers asked of a cluster lately and how it went: sums by tier over spans of time.

For people who look, not for bills: what a process counted in its last seconds is lost with it, and money
is what the ledger says. Pure; time is an argument.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from app.core.tiers import Tier

NO_TIER = "none"
"""Stands for requests that were refused before their tier was read: no valid key, no such endpoint, no valid body."""

COUNTS = ("requests", "refused", "failed", "left", "tokens", "cached_tokens", "nano_usd")
"""``refused`` are answers of 4xx, ``failed`` those of 5xx, ``left`` callers that did not wait; all count as requests.
Of a batch's lines those that were not completed have failed."""

_LEFT = 499
_GROWTH = 1.2
LATENCY_EDGES_MS = tuple(round(_GROWTH**step, 2) for step in range(62))
"""Upper bounds of the latencies' buckets, a fifth apart, from 1 ms to over a minute; one more holds the rest."""

_LATENCY = "ms"


@dataclass(frozen=True, slots=True)
class Grain:
    """Spans of one length, and for how long each is kept."""

    span_s: int
    kept_s: int

    def start_of(self, now_s: float) -> int:
        """The span's start, in Unix seconds."""
        return int(now_s) // self.span_s * self.span_s


MINUTES = Grain(60, 2 * 3600)
QUARTERS = Grain(900, 8 * 86_400)
GRAINS = (MINUTES, QUARTERS)


class View(Enum):
    """How far back one looks: the spans that are read, how many, and how many make a point."""

    HOUR = (MINUTES, 60, 1)
    DAY = (QUARTERS, 96, 1)
    WEEK = (QUARTERS, 672, 4)

    @property
    def grain(self) -> Grain:
        """The spans that are read."""
        return self.value[0]

    @property
    def spans_a_point(self) -> int:
        """How many spans make a point."""
        return self.value[2]

    @property
    def point_s(self) -> int:
        """Seconds that a point stands for."""
        return self.grain.span_s * self.spans_a_point

    def starts(self, now_s: float) -> list[int]:
        """Starts of the spans, the present one last."""
        last = self.grain.start_of(now_s)
        return [last - back * self.grain.span_s for back in reversed(range(self.value[1]))]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request that ended. ``status`` is its HTTP status, 499 for a caller that left."""

    tier: str
    status: int
    total_ms: float
    tokens: int = 0
    cached_tokens: int = 0
    nano_usd: int = 0


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines of a batch that ended together; ``tokens`` are all of those that succeeded, the cached ones included."""

    completed: int
    failed: int
    tokens: int
    cached_tokens: int
    nano_usd: int


Sums = dict[str, int]
"""Names as they are stored, ``tier|count`` or ``tier|ms|bucket``, and what they add up to."""


def note(sums: Sums, outcome: Outcome) -> None:
    """Add one request; only those that were answered with vectors count in the latencies."""
    tier = outcome.tier
    _add(sums, f"{tier}|requests", 1)
    if outcome.status < 400:
        _add(sums, f"{tier}|tokens", outcome.tokens - outcome.cached_tokens)
        _add(sums, f"{tier}|cached_tokens", outcome.cached_tokens)
        _add(sums, f"{tier}|nano_usd", outcome.nano_usd)
        _add(sums, f"{tier}|{_LATENCY}|{bisect_left(LATENCY_EDGES_MS, outcome.total_ms)}", 1)
    elif outcome.status == _LEFT:
        _add(sums, f"{tier}|left", 1)
    else:
        _add(sums, f"{tier}|{'failed' if outcome.status >= 500 else 'refused'}", 1)


def note_lines(sums: Sums, lines: Lines) -> None:
    """Add lines of a batch. They have no latency: nobody waits for one."""
    tier = Tier.BATCH.value
    _add(sums, f"{tier}|requests", lines.completed + lines.failed)
    _add(sums, f"{tier}|failed", lines.failed)
    _add(sums, f"{tier}|tokens", lines.tokens - lines.cached_tokens)
    _add(sums, f"{tier}|cached_tokens", lines.cached_tokens)
    _add(sums, f"{tier}|nano_usd", lines.nano_usd)


def add_all(sums: Sums, more: Mapping[str, int]) -> None:
    """Add what another sum holds."""
    for name, amount in more.items():
        _add(sums, name, amount)


def _add(sums: Sums, name: str, amount: int) -> None:
    if amount:
        sums[name] = sums.get(name, 0) + amount


@dataclass(frozen=True, slots=True)
class TierActivity:
    """One tier in one span; percentiles are None where no request was answered."""

    requests: int
    refused: int
    failed: int
    left: int
    tokens: int
    cached_tokens: int
    nano_usd: int
    p50_ms: float | None
    p99_ms: float | None


def by_tier(spans: Iterable[Mapping[str, int]]) -> dict[str, TierActivity]:
    """Spans added up, by tier; tiers without a request are left out."""
    counts: dict[str, dict[str, int]] = {}
    latencies: dict[str, dict[int, int]] = {}
    for sums in spans:
        for name, amount in sums.items():
            tier, _, what = name.partition("|")
            if what.startswith(_LATENCY + "|"):
                buckets = latencies.setdefault(tier, {})
                bucket = int(what.rpartition("|")[2])
                buckets[bucket] = buckets.get(bucket, 0) + amount
            else:
                of_tier = counts.setdefault(tier, {})
                of_tier[what] = of_tier.get(what, 0) + amount
    return {
        tier: TierActivity(
            **{name: found.get(name, 0) for name in COUNTS},
            p50_ms=percentile_ms(latencies.get(tier, {}), 0.50),
            p99_ms=percentile_ms(latencies.get(tier, {}), 0.99),
        )
        for tier, found in sorted(counts.items())
    }


def percentile_ms(buckets: Mapping[int, int], share: float) -> float | None:
    """The latency that a share of the requests stayed within, to a tenth: interpolated in its bucket."""
    total = sum(buckets.values())
    if not total:
        return None
    wanted = share * total
    seen = 0
    for bucket in sorted(buckets):
        if seen + buckets[bucket] >= wanted:
            below = LATENCY_EDGES_MS[bucket - 1] if bucket else 0.0
            above = LATENCY_EDGES_MS[min(bucket, len(LATENCY_EDGES_MS) - 1)]
            return round(below + (above - below) * (wanted - seen) / buckets[bucket], 2)
        seen += buckets[bucket]
    return LATENCY_EDGES_MS[-1]
