"""A bound on the requests that one gateway has under way.

Past Serve's own bound requests would wait outside, first come, first served, where no tier counts
and nobody is told when to return. So a gateway refuses before it comes to that, lower tiers first.
"""

from app.core.errors import CapacityExceeded
from app.core.tiers import Tier

_ROOM = {Tier.PRIORITY: 0.90, Tier.DEFAULT: 0.85, Tier.FLEX: 0.75, Tier.BATCH: 0.60}
"""Share of the bound up to which each tier is let in; what is left lets refusals and probes through."""

_RETRY_AFTER_S = 2


class Crowd:
    """Counts requests under way.

    Args:
        max_requests: Serve's bound.
    """

    def __init__(self, max_requests: int) -> None:
        self._bounds = {tier: max(1, int(max_requests * _ROOM[tier])) for tier in Tier}
        self._open = 0

    def place(self, tier: Tier) -> "Place":
        """A place, to be held by a ``with`` block.

        Raises:
            CapacityExceeded: none is left for this tier, when the block begins.
        """
        return Place(self, tier)

    def _enter(self, tier: Tier) -> None:
        if self._open >= self._bounds[tier]:
            raise CapacityExceeded(
                "The gateway has too many requests under way; try again when Retry-After says.",
                retry_after_s=_RETRY_AFTER_S,
            )
        self._open += 1

    def _leave(self) -> None:
        self._open -= 1


class Place:
    """A place in a crowd. A class, because a generator costs a request more than all that is done here.

    Args:
        crowd: whose.
        tier: of the request.
    """

    __slots__ = ("_crowd", "_tier")

    def __init__(self, crowd: Crowd, tier: Tier) -> None:
        self._crowd = crowd
        self._tier = tier

    def __enter__(self) -> None:
        self._crowd._enter(self._tier)

    def __exit__(self, *_: object) -> None:
        self._crowd._leave()
