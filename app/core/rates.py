"""Where a caller stands with its rate limits: the source of the ``x-ratelimit-…`` headers."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.core.gcra import Bucket, Quota, remaining, reset_us
from app.core.ledger_types import Limits, Terms


@dataclass(frozen=True, slots=True)
class Rate:
    """One limit: what it lets in at once from idle, what is left of that, and when it is whole again."""

    limit: int
    remaining: int
    reset_us: int


@dataclass(frozen=True, slots=True)
class Rates:
    """The tighter of the project's and the key's limit; None where neither is set."""

    requests: Rate | None
    tokens: Rate | None


def rates_of(terms: Terms, levels: Sequence[int]) -> Rates:
    """From the levels that the ledger answered with: project's requests and tokens, key's requests and tokens."""
    rates = [_rate(quota, level) for quota, level in zip(terms.quotas_in_order(), levels, strict=True)]
    return Rates(_tighter(rates[0], rates[2]), _tighter(rates[1], rates[3]))


def project_rates(limits: Limits, requests: Bucket, tokens: Bucket, now_us: int) -> Rates:
    """Where a project stands at ``now_us``, whatever its keys' own limits say."""
    found = [
        _rate(quota, bucket.drained(quota, now_us).level if quota else -1)
        for quota, bucket in ((limits.requests, requests), (limits.tokens, tokens))
    ]
    return Rates(*found)


def go_duration(us: int) -> str:
    """Microseconds as Go writes a duration, like ``1m6.5s`` or ``120ms``."""
    if us <= 0:
        return "0s"
    if us < 1_000_000:
        return f"{_number(us / 1000)}ms"
    minutes, rest_us = divmod(us, 60_000_000)
    hours, minutes = divmod(minutes, 60)
    prefix = (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "")
    return f"{prefix}{_number(rest_us / 1_000_000)}s"


def _number(value: float) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".")


def _rate(quota: Quota | None, level: int) -> Rate | None:
    if quota is None or level < 0:
        return None
    bucket = Bucket(level, 0)
    return Rate(quota.burst, remaining(bucket, quota), reset_us(bucket, quota))


def _tighter(one: Rate | None, other: Rate | None) -> Rate | None:
    given = [rate for rate in (one, other) if rate is not None]
    return min(given, key=lambda rate: (rate.remaining, -rate.reset_us)) if given else None
