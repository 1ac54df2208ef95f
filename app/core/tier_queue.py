"""The order in which an embedder replica works.

Between tiers: strict precedence, but each lower tier is owed a minimum share of the tokens that are
computed while it waits, so that none starves. Within a tier: fair shares among projects by tokens,
see :mod:`app.core.fair_queue`.

Pure and not thread-safe: the engine's owner holds the lock. Time is an argument.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from app.core.errors import CapacityExceeded
from app.core.fair_queue import FairQueue
from app.core.packing import TokenIds
from app.core.tiers import Flow, Tier


@dataclass(slots=True, eq=False)
class QueuedItem:
    """One input on its way to the engine.

    Attributes:
        token_ids: what the model will see.
        tier: decides the rank.
        queued_at_s: monotonic clock at arrival.
        deadline_s: monotonic clock after which nobody waits for the answer.
        owner: whoever is told of the outcome; the queue never looks at it.
        flow: the project that it is of.
        weight: of the project among those of its tier, from 1.
        trace: of the request, see ``app.core.tracing``.
    """

    token_ids: TokenIds
    tier: Tier
    queued_at_s: float
    deadline_s: float
    owner: object
    flow: str = ""
    weight: int = 1
    trace: str = ""
    is_queued: bool = field(default=False)

    @property
    def tokens(self) -> int:
        """What it costs the engine."""
        return len(self.token_ids)


_WORTH_TO_PRIORITY = 1 / 2
"""Of the tokens that make a short step of equals worth its fixed cost, as many do so where less urgent ones would fill
up one of priority: whose price is the highest may cost more."""


class TierQueue:
    """Bounded queue of :class:`QueuedItem`.

    Args:
        max_queued_tokens: of each tier; items past this bound are refused.
        min_shares_thousandths: of all tokens computed while a tier waits, what it is owed at least,
            whatever more urgent ones want; a tier that is left out may starve.
    """

    def __init__(self, *, max_queued_tokens: int, min_shares_thousandths: Mapping[Tier, int]) -> None:
        self._max_queued_tokens = max_queued_tokens
        self._min_shares = dict(min_shares_thousandths)
        self._lanes: dict[Tier, FairQueue[QueuedItem]] = {tier: FairQueue() for tier in Tier}
        self._owed_thousandths: dict[Tier, int] = dict.fromkeys(Tier, 0)
        self._cut_short = False

    def __len__(self) -> int:
        return sum(map(len, self._lanes.values()))

    @property
    def queued_tokens(self) -> int:
        """Tokens that wait, cancelled items excluded."""
        return sum(lane.tokens for lane in self._lanes.values())

    def projects(self) -> list[int]:
        """How many projects wait in each tier, by rank."""
        return [lane.flows for lane in self._lanes.values()]

    def waits(self, flow: Flow) -> bool:
        """Whether a project has something waiting in a tier."""
        tier, project_id = flow
        return self._lanes[tier].waits(project_id)

    def push(self, item: QueuedItem) -> None:
        """Append an item to its project's part of its tier.

        Raises:
            CapacityExceeded: the tier's bound is reached.
        """
        lane = self._lanes[item.tier]
        if lane.tokens and lane.tokens + item.tokens > self._max_queued_tokens:
            raise CapacityExceeded("The model's queue is full; try again shortly.", retry_after_s=1)
        lane.push(item)

    def cancel(self, item: QueuedItem) -> None:
        """Withdraw an item; its place is free at once. One that does not wait here is left alone."""
        self._lanes[item.tier].cancel(item)

    def take(
        self,
        *,
        max_items: int,
        max_tokens: int,
        now_s: float,
        light_tokens: int | None = None,
        worthwhile_tokens: int | None = None,
    ) -> tuple[list[QueuedItem], list[QueuedItem]]:
        """Take one engine step's worth.

        A project that asks for little has all that waits of it in the next step, and would wait for
        whatever else is in there: so those who have more waiting get as much of that step, for each of them, as
        it has, and do not fill it up. But no two steps in a row are cut so short that they cost more than they do,
        or that somebody's next item finds no place. Where less urgent ones would fill the step up,
        priority may have even shorter ones in a row, and the tiers below it none: else it would be chance which of two
        callers, one of each, is served sooner by the replica that it has to itself.

        Steps are of even size: when more waits than one step holds, the rest is not left to a
        small last step, which would cost the engine nearly as much as a full one. The most urgent
        tier is never spread over more steps than it fills by itself and what is owed to others.

        Args:
            max_items: in the step.
            max_tokens: in the step, unless a single item has more.
            now_s: monotonic clock.
            light_tokens: up to which others fill a step that has all that some project has waiting, however
                little that is; None fills it like any other.
            worthwhile_tokens: a step that was cut shorter is followed by one that is not cut; where it is None,
                any is. Half of it does for priority above others, and nothing for another tier above those below.

        Returns:
            ``(step, expired)``: what to compute, in the order of its taking, and what came too late.
        """
        steps = max(1, math.ceil(len(self) / max_items), math.ceil(self.queued_tokens / max_tokens))
        share = max(math.ceil(len(self) / steps), self._urgent_share(max_items))
        step: list[QueuedItem] = []
        expired: list[QueuedItem] = []
        tokens = 0
        tokens_of: dict[Flow, int] = {}
        sharing = sum(self.projects())
        light_tokens = None if self._cut_short else light_tokens
        fill_tokens = max_tokens
        light_tier: Tier | None = None
        self._cut_short = False
        while (tier := self._next_tier()) is not None:
            lane = self._lanes[tier]
            item = lane.head()
            assert item is not None, "a tier that is next has a head"
            if item.deadline_s <= now_s:
                expired.append(lane.skip())
                continue
            is_last = lane.next_is_last()
            bound = max_tokens if is_last else fill_tokens
            if step and (len(step) >= share or tokens + item.tokens > bound):
                if light_tier is not None and bound < max_tokens:
                    least = _least_tokens(worthwhile_tokens, asking=light_tier, filling=tier)
                    self._cut_short = least is None or tokens < least or (tier, item.flow) not in tokens_of
                break
            tokens += item.tokens
            flow = tier, item.flow
            tokens_of[flow] = tokens_of.get(flow, 0) + item.tokens
            first = self._most_urgent()
            step.append(lane.pop())
            self._account(item, first)
            if is_last and light_tokens is not None:
                fill_tokens = min(max_tokens, max(light_tokens, tokens_of[flow] * sharing))
                light_tier = min(light_tier or tier, tier, key=_rank)
        return step, expired

    def drain(self) -> list[QueuedItem]:
        """Empty the queue, for a replica that can serve no more."""
        return [item for lane in self._lanes.values() for item in lane.drain()]

    def _next_tier(self) -> Tier | None:
        """A tier that is owed something, or else the most urgent that waits.

        An item is served before its share has covered it all, and paid off afterwards: saving up
        for a large one could take longer than anybody waits for it.
        """
        first = self._most_urgent()
        owed = (t for t, lane in self._lanes.items() if t is not first and len(lane) and self._owed_thousandths[t] > 0)
        return next(owed, first)

    def _most_urgent(self) -> Tier | None:
        return next((tier for tier, lane in self._lanes.items() if len(lane)), None)

    def _account(self, taken: QueuedItem, first: Tier | None) -> None:
        if taken.tier is not first:
            self._owed_thousandths[taken.tier] -= 1000 * taken.tokens
        for tier, share in self._min_shares.items():
            owed = self._owed_thousandths[tier] + share * taken.tokens
            # A share is owed to those who wait; a debt is paid off by whatever is computed.
            self._owed_thousandths[tier] = owed if len(self._lanes[tier]) and tier is not first else min(0, owed)

    def _urgent_share(self, max_items: int) -> int:
        first = self._most_urgent()
        if first is None:
            return 0
        urgent = len(self._lanes[first])
        return math.ceil(urgent / math.ceil(urgent / max_items))


def _rank(tier: Tier) -> int:
    return tier.rank


def _least_tokens(worthwhile_tokens: int | None, *, asking: Tier, filling: Tier) -> float | None:
    """Of a step that was cut short, for the next one to be cut too; None where it never is."""
    if worthwhile_tokens is None or filling.rank <= asking.rank:
        return worthwhile_tokens
    return worthwhile_tokens * _WORTH_TO_PRIORITY if asking is Tier.PRIORITY else None
