"""How many embedder replicas a model needs, from what they have waiting and how fast they are. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

UTILIZATION = 0.8
"""Share of a replica's speed that steady demand may take; the rest absorbs what is uneven."""


@dataclass(frozen=True, slots=True)
class ReplicaStats:
    """One replica, averaged over the time that is looked back on.

    Attributes:
        waiting_tokens: accepted and not answered yet.
        asked_per_s: tokens that came per second.
        tokens_per_s: of its engine while it works; below 1.0 when not measured yet.
    """

    waiting_tokens: float
    asked_per_s: float
    tokens_per_s: float


def replicas_needed(stats: Sequence[ReplicaStats], *, present: int, target_wait_s: float) -> int:
    """Replicas that keep up with what is asked, and work off what waits within the target.

    Args:
        stats: of all replicas that run.
        present: replicas that run or start: the answer while nothing was measured.
        target_wait_s: expected wait that is aimed at.

    Returns:
        0 when nothing is asked and nothing waits.
    """
    asked_per_s = sum(one.asked_per_s for one in stats)
    waiting_tokens = sum(one.waiting_tokens for one in stats)
    if asked_per_s < 1.0 and waiting_tokens < 1.0:
        return 0
    measured = [one.tokens_per_s for one in stats if one.tokens_per_s >= 1.0]
    if not measured:
        return max(1, present)
    speed = sum(measured) / len(measured)
    return max(1, math.ceil(asked_per_s / (UTILIZATION * speed) + waiting_tokens / (target_wait_s * speed) - 1e-9))
