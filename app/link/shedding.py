"""Who is refused before anything is held for them, and who is given up while they wait.

A request is let in while its expected wait is inside its tier's bound. What it cannot know is how
much more urgent work comes after it: a lower tier that was let in on a calm moment may find itself
behind a flood that it will not outlive. Such items are given up as soon as that shows, the last
that came first, with a Retry-After: an early "come back" is worth more than a late "too late".
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from operator import itemgetter

from app.core import metric_names as names
from app.core.errors import CapacityExceeded
from app.core.load import Backlog, Promises, expected_wait_s
from app.core.ports import Metrics
from app.core.tiers import Tier
from app.link.client import Waiting

_CAUTION = 0.75
"""Share of a tier's bound that the expected wait may take: what urgent tiers will ask for meanwhile is a guess."""

_WORTH_A_LOOK_S = 5.0
"""Of wait, from which on it is looked who waits in vain; looking costs the more the more wait."""

_TOO_LONG = "the expected wait of {:.0f} s is longer than this tier allows"
_TOO_LATE = "more urgent work came, and a wait of {:.0f} s would end after the deadline"


def _has_lost_ground(backlog: Backlog, tier: Tier) -> bool:
    """Whether more urgent work takes what the tier could count on."""
    return any(backlog.tokens[: tier.rank]) or backlog.available_per_s[tier.rank] < 0.9 * backlog.tokens_per_s


class Shedding:
    """One model's refusals at one gateway.

    Args:
        model_id: for messages and metrics.
        max_wait_ms: how long an item may be expected to wait, by tier.
        metrics: where refusals are counted.
    """

    def __init__(self, *, model_id: str, max_wait_ms: Mapping[Tier, int], metrics: Metrics) -> None:
        self._model_id = model_id
        self._bound_s = {tier: bound_ms / 1000 * _CAUTION for tier, bound_ms in max_wait_ms.items()}
        self._metrics = metrics
        self._promises = {tier: Promises() for tier in Tier}

    def check(self, backlog: Backlog, *, tier: Tier, own_tokens: int, tokens: int, now_s: float) -> None:
        """Refuse what could not be served in time.

        Raises:
            CapacityExceeded: the expected wait is longer than the tier's bound.
        """
        wait_s = expected_wait_s(backlog, tier, own_tokens=own_tokens, tokens=tokens)
        wait_s += self._returning_s(backlog, tier, now_s)
        if wait_s > self._bound_s[tier]:
            self._metrics.count(names.SHED_REQUESTS, model=self._model_id, tier=tier)
            raise self._refusal(_TOO_LONG, backlog, tier, tokens, wait_s, now_s)

    def give_up(self, backlog: Backlog, items: Iterable[Waiting], now_s: float) -> dict[Waiting, CapacityExceeded]:
        """Items of requests that cannot be served before their deadline, each with what to tell its owner.

        The most urgent tier waits for nobody and is left alone, and so is a tier whose wait is short, or
        that has the engine for itself: then it was known what is ahead, and only the speed is a guess.
        """
        urgent_s = {
            tier: sum(backlog.tokens[: tier.rank]) / backlog.tokens_per_s + self._returning_s(backlog, tier, now_s)
            for tier in Tier
            if tier.rank and backlog.tokens_per_s
        }
        long = {
            tier
            for tier, wait_s in urgent_s.items()
            if _has_lost_ground(backlog, tier)
            and wait_s + backlog.tokens[tier.rank] / backlog.available_per_s[tier.rank] > _WORTH_A_LOOK_S
        }
        found: dict[Waiting, CapacityExceeded] = {}
        if not long:
            return found
        requests: dict[tuple[float, Tier, str], list[Waiting]] = defaultdict(list)
        for item in items:
            if item.tier in long:
                requests[item.deadline_s, item.tier, item.project_id].append(item)
        projects = Counter(tier for tier, _ in {(tier, project) for _, tier, project in requests})
        ahead: dict[Tier, int] = defaultdict(int)
        own_ahead: dict[tuple[Tier, str], int] = defaultdict(int)
        for (deadline_s, tier, project), group in sorted(requests.items(), key=itemgetter(0)):
            tokens = sum(item.tokens for item in group)
            until_served = min(ahead[tier] + tokens, (own_ahead[tier, project] + tokens) * projects[tier])
            wait_s = urgent_s[tier] + until_served / backlog.available_per_s[tier.rank]
            if wait_s > deadline_s - now_s > 0:
                self._metrics.count(names.SHED_REQUESTS, model=self._model_id, tier=tier)
                error = self._refusal(_TOO_LATE, backlog, tier, tokens, wait_s, now_s)
                found.update(dict.fromkeys(group, error))
            else:
                ahead[tier] += tokens
                own_ahead[tier, project] += tokens
        return found

    def _returning_s(self, backlog: Backlog, tier: Tier, now_s: float) -> float:
        """Who is more urgent and was asked to come back will do so, and go first.

        Only while that tier is still busy, and for no longer than it lets anybody wait: a refusal is free,
        and must not keep others out of an engine that has time for them.
        """
        return sum(
            min(self._bound_s[other], promises.tokens(now_s) / backlog.tokens_per_s)
            for other, promises in self._promises.items()
            if other.rank < tier.rank and backlog.tokens[other.rank]
        )

    def _refusal(
        self, why: str, backlog: Backlog, tier: Tier, tokens: int, wait_s: float, now_s: float
    ) -> CapacityExceeded:
        return CapacityExceeded(
            f"{self._model_id} is overloaded: {why.format(wait_s)}; try again when Retry-After says.",
            retry_after_s=self._promises[tier].retry_after_s(
                tokens,
                wait_s=wait_s,
                bound_s=self._bound_s[tier],
                per_s=backlog.available_per_s[tier.rank],
                now_s=now_s,
            ),
        )
