"""GCRA, the generic cell rate algorithm, in its continuous-state leaky bucket form.

ITU-T I.371, Annex A, describes the two equivalent forms. This one is exact in integers for any
rate, where a theoretical arrival time would need fractions of a microsecond, and it keeps its
meaning when a limit is changed. The bucket's level is in units of which one token or request
has 60,000,000 and of which ``per_minute`` drain in each microsecond.

The scripts in ``app/stores/lua`` do the same on the cluster's store; this is their oracle and
the bound that a gateway keeps alone while the store is away.
"""

from dataclasses import dataclass

UNITS = 60_000_000
"""Of one token or request: the microseconds of a minute."""

MAX_RATE = 100_000_000
"""A minute; with :data:`UNITS` it stays below 2^53."""


@dataclass(frozen=True, slots=True)
class Quota:
    """A limit: ``per_minute`` on average, and ``burst`` at once from idle."""

    per_minute: int
    burst: int

    def __post_init__(self) -> None:
        """Refuse what the arithmetic cannot hold."""
        if not (1 <= self.per_minute <= MAX_RATE and 1 <= self.burst <= MAX_RATE):
            raise ValueError(f"a quota lies between 1 and {MAX_RATE}, not {self.per_minute} and {self.burst}")

    @property
    def capacity(self) -> int:
        """The burst in units."""
        return self.burst * UNITS


@dataclass(frozen=True, slots=True)
class Bucket:
    """``level`` units at the moment ``at_us``. An unused bucket is empty."""

    level: int = 0
    at_us: int = 0

    def drained(self, quota: Quota, now_us: int) -> "Bucket":
        """The bucket at ``now_us``. A clock that steps back drains nothing, and time never runs backward."""
        elapsed_us = max(0, now_us - self.at_us)
        return Bucket(max(0, self.level - elapsed_us * quota.per_minute), max(self.at_us, now_us))

    def filled(self, cost: int) -> "Bucket":
        """With ``cost`` tokens or requests more."""
        return Bucket(self.level + cost * UNITS, self.at_us)

    def given_back(self, cost: int) -> "Bucket":
        """With ``cost`` fewer, never below empty."""
        return Bucket(max(0, self.level - cost * UNITS), self.at_us)


def wait_us(bucket: Bucket, quota: Quota, cost: int) -> int:
    """How long until ``cost`` more fits into a drained bucket; 0 when it fits now.

    A cost beyond the burst never fits; ask :class:`Quota` first.
    """
    excess = bucket.level + cost * UNITS - quota.capacity
    return max(0, -(-excess // quota.per_minute))


def remaining(bucket: Bucket, quota: Quota) -> int:
    """Tokens or requests that would still be let in at once."""
    return max(0, (quota.capacity - bucket.level) // UNITS)


def reset_us(bucket: Bucket, quota: Quota) -> int:
    """Until the bucket is empty again, if nothing more comes."""
    return -(-bucket.level // quota.per_minute)
