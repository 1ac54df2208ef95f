"""Service tiers: rank in the queue, and later the price multiplier."""

from enum import StrEnum


class Tier(StrEnum):
    """A service tier, most urgent first. ``batch`` is for the service's own workers, never for callers."""

    PRIORITY = "priority"
    DEFAULT = "default"
    FLEX = "flex"
    BATCH = "batch"

    @property
    def rank(self) -> int:
        """0 is served first."""
        return _RANKS[self]


_RANKS = {tier: rank for rank, tier in enumerate(Tier)}
CALLER_TIERS = (Tier.FLEX, Tier.DEFAULT, Tier.PRIORITY)
"""What a request may name."""


Flow = tuple[Tier, str]
"""A tier and a project: between whom an engine is shared."""
