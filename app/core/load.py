"""How busy replicas are: what they compute in a second, what waits there, how long a newcomer would wait.

Pure; time is an argument. Not thread-safe.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from app.core.tiers import Tier

_BUSY_MEMORY_S = 5.0
"""Busy time after which a measured speed counts for a third."""

_DEMAND_MEMORY_S = 2.0
"""The same for what each tier took: short, because a flood must show before the queue behind it is long."""


_NEVER_LESS = 0.001
"""Share of the speed that is assumed for a tier that may starve, so that its wait is long and not infinite."""


class RateMeter:
    """Measures a replica's tokens per second, and how much of it each tier can count on.

    Args:
        min_shares_thousandths: what a tier gets at least while it waits, as the queue grants it.
    """

    def __init__(self, min_shares_thousandths: Mapping[Tier, int]) -> None:
        self._shares = [min_shares_thousandths.get(tier, 0) / 1000 for tier in Tier]
        self._weighted_tokens = 0.0
        self._weighted_busy_s = 0.0
        self._taken_per_s = [0.0] * len(Tier)
        self._last_s = 0.0

    @property
    def tokens_per_s(self) -> float:
        """Of the engine while it works; 0.0 until a step was measured.

        Steps count by their tokens: small ones, which are slow for each token, say little of what
        the engine does when much waits.
        """
        return self._weighted_tokens / self._weighted_busy_s if self._weighted_busy_s else 0.0

    def record(self, tokens: Mapping[Tier, int], *, busy_s: float, now_s: float) -> None:
        """Note a step: what it computed of each tier, and how long it took."""
        kept = math.exp(-busy_s / _BUSY_MEMORY_S)
        weight = sum(tokens.values())
        self._weighted_tokens = self._weighted_tokens * kept + weight * weight
        self._weighted_busy_s = self._weighted_busy_s * kept + weight * busy_s
        self._fade(now_s)
        for tier, number in tokens.items():
            self._taken_per_s[tier.rank] += number / _DEMAND_MEMORY_S

    def available_per_s(self, now_s: float) -> list[float]:
        """Tokens per second that each tier, by rank, gets if it asks for all it can.

        What more urgent tiers took lately is theirs; less urgent ones keep no more than their
        share; and each has at least its own, or next to nothing where it has none.
        """
        self._fade(now_s)
        total = self.tokens_per_s
        available = []
        for rank, share in enumerate(self._shares):
            urgent = sum(self._taken_per_s[:rank])
            lower = sum(
                min(taken, total * owed)
                for taken, owed in zip(self._taken_per_s[rank + 1 :], self._shares[rank + 1 :], strict=True)
            )
            available.append(max(total * max(share, _NEVER_LESS), total - urgent - lower))
        return available

    def _fade(self, now_s: float) -> None:
        kept = math.exp(-max(0.0, now_s - self._last_s) / _DEMAND_MEMORY_S)
        self._taken_per_s = [taken * kept for taken in self._taken_per_s]
        self._last_s = max(self._last_s, now_s)


@dataclass(frozen=True, slots=True)
class EngineState:
    """What an engine says of itself. Sequences are by rank of the tier.

    Attributes:
        tokens_per_s: while it works; 0.0 when not measured yet.
        available_per_s: what each tier can count on of it.
        projects: how many wait in each tier.
        company: tier, project and number of the items that its next step waits for; none while it computes.
        company_s: for how long yet.
    """

    tokens_per_s: float = 0.0
    available_per_s: Sequence[float] = (0.0, 0.0, 0.0, 0.0)
    projects: Sequence[int] = (0, 0, 0, 0)
    company: Sequence[tuple[Tier, str, int]] = ()
    company_s: float = 0.0


@dataclass(frozen=True, slots=True)
class ReplicaLoad:
    """What a replica tells a gateway.

    Attributes:
        engine: its engine's state.
        tokens: accepted from all gateways and not answered yet, by rank.
        received_tokens: all that ever came over this connection, by rank, so that its other end
            knows what this report has not seen.
    """

    engine: EngineState = EngineState()
    tokens: Sequence[int] = (0, 0, 0, 0)
    received_tokens: Sequence[int] = (0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits at some replicas, as if they were one. Sequences are by rank.

    Attributes:
        tokens: not answered yet.
        tokens_per_s: of all together; 0.0 when not measured yet.
        available_per_s: what each tier can count on.
        projects: that wait, at the replica where most do.
    """

    tokens: Sequence[int]
    tokens_per_s: float
    available_per_s: Sequence[float]
    projects: Sequence[int]


def total_backlog(replicas: Iterable[tuple[EngineState, Sequence[int]]]) -> Backlog:
    """Sum up replicas, each with its engine's state and the tokens that are not answered, by rank."""
    every = list(replicas) or [(EngineState(), [0] * len(Tier))]
    return Backlog(
        tokens=[sum(column) for column in zip(*(tokens for _, tokens in every), strict=True)],
        tokens_per_s=sum(engine.tokens_per_s for engine, _ in every),
        available_per_s=[sum(column) for column in zip(*(engine.available_per_s for engine, _ in every), strict=True)],
        projects=[max(column) for column in zip(*(engine.projects for engine, _ in every), strict=True)],
    )


def expected_wait_s(backlog: Backlog, tier: Tier, *, own_tokens: int, tokens: int) -> float:
    """How long a request waits until its last item's turn.

    More urgent tiers go first, at the engine's full speed. Within the tier a project waits for its
    own items and for as much of each other project (fair shares), never for more than is there.

    Args:
        backlog: of all replicas.
        tier: the request's.
        own_tokens: what its project has waiting in this tier already.
        tokens: of the request.

    Returns:
        Seconds; 0.0 while nothing was measured.
    """
    if not backlog.tokens_per_s:
        return 0.0
    rank = tier.rank
    urgent_s = sum(backlog.tokens[:rank]) / backlog.tokens_per_s
    projects = backlog.projects[rank] + (own_tokens == 0)
    ahead = min(backlog.tokens[rank], (own_tokens + tokens) * max(1, projects))
    return urgent_s + (ahead / backlog.available_per_s[rank] if ahead else 0.0)


_LONGEST_S = 60.0


class Promises:
    """When to ask refused requests back, so that they do not all return at once.

    What was refused counts as a queue of its own, which drains at the speed that the tier can
    count on: each refusal is asked back behind those before it.
    """

    def __init__(self) -> None:
        self._tokens = 0.0
        self._per_s = 0.0
        self._last_s = 0.0

    def tokens(self, now_s: float) -> float:
        """What was refused and may come back yet."""
        return max(0.0, self._tokens - max(0.0, now_s - self._last_s) * self._per_s)

    def retry_after_s(self, tokens: int, *, wait_s: float, bound_s: float, per_s: float, now_s: float) -> int:
        """Seconds, 1 to 60, after which a refused request should find room.

        Args:
            tokens: of the request.
            wait_s: expected wait that it was refused for.
            bound_s: of its tier; it is asked back when half of it is free.
            per_s: tokens per second that the tier can count on.
            now_s: monotonic clock.
        """
        # More than the longest could not be said, nor would be kept.
        self._tokens = min(self.tokens(now_s) + tokens, _LONGEST_S * per_s)
        self._per_s = per_s
        self._last_s = now_s
        promised_s = self._tokens / per_s if per_s else 0.0
        return math.ceil(min(_LONGEST_S, max(1.0, wait_s - bound_s / 2 + promised_s)))
