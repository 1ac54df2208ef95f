"""The order in which an embedder replica works: strict tier precedence, first come first served within a tier.

Pure and not thread-safe: the engine's owner holds the lock. Time is an argument.
"""

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from app.core.errors import CapacityExceeded
from app.core.packing import TokenIds
from app.core.tiers import Tier

_TOMBSTONES = 64
"""Cancelled items that a lane may keep besides as many as it has living ones."""


@dataclass(slots=True, eq=False)
class QueuedItem:
    """One input on its way to the engine.

    Attributes:
        token_ids: what the model will see.
        tier: decides the rank.
        queued_at_s: monotonic clock at arrival.
        deadline_s: monotonic clock after which nobody waits for the answer.
        owner: whoever is told of the outcome; the queue never looks at it.
    """

    token_ids: TokenIds
    tier: Tier
    queued_at_s: float
    deadline_s: float
    owner: object
    is_queued: bool = field(default=False)


class TierQueue:
    """Bounded queue of :class:`QueuedItem`.

    Args:
        max_queued_tokens: items past this bound are refused.
    """

    def __init__(self, *, max_queued_tokens: int) -> None:
        self._max_queued_tokens = max_queued_tokens
        self._lanes: dict[Tier, deque[QueuedItem]] = {tier: deque() for tier in Tier}
        self._live: dict[Tier, int] = dict.fromkeys(Tier, 0)
        self._queued_tokens = 0
        self._queued_items = 0

    def __len__(self) -> int:
        return self._queued_items

    @property
    def queued_tokens(self) -> int:
        """Tokens that wait, cancelled items excluded."""
        return self._queued_tokens

    def push(self, item: QueuedItem) -> None:
        """Append an item to its tier's lane.

        Raises:
            CapacityExceeded: the bound is reached.
        """
        tokens = len(item.token_ids)
        if self._queued_tokens and self._queued_tokens + tokens > self._max_queued_tokens:
            raise CapacityExceeded("The model's queue is full; try again shortly.", retry_after_s=1)
        self._lanes[item.tier].append(item)
        item.is_queued = True
        self._live[item.tier] += 1
        self._queued_tokens += tokens
        self._queued_items += 1

    def cancel(self, item: QueuedItem) -> None:
        """Withdraw an item; its place is free at once. One that does not wait here is left alone."""
        if item.is_queued:
            self._forget(item)
            lane, live = self._lanes[item.tier], self._live[item.tier]
            if len(lane) > 2 * live + _TOMBSTONES:
                self._lanes[item.tier] = deque(i for i in lane if i.is_queued)

    def take(self, *, max_items: int, max_tokens: int, now_s: float) -> tuple[list[QueuedItem], list[QueuedItem]]:
        """Take one engine step's worth.

        Steps are of even size: when more waits than one step holds, the rest is not left to a
        small last step, which would cost the engine nearly as much as a full one. The most urgent
        tier is never spread over more steps than it fills by itself.

        Returns:
            ``(step, expired)``: what to compute, most urgent first, and what came too late.
        """
        waiting = self._queued_items
        steps = max(1, math.ceil(waiting / max_items), math.ceil(self._queued_tokens / max_tokens))
        share = max(math.ceil(waiting / steps), self._urgent_share(max_items))
        step: list[QueuedItem] = []
        expired: list[QueuedItem] = []
        tokens = 0
        for item in self._in_order():
            if item.deadline_s <= now_s:
                expired.append(self._pop(item))
                continue
            if step and (len(step) >= share or tokens + len(item.token_ids) > max_tokens):
                break
            tokens += len(item.token_ids)
            step.append(self._pop(item))
        return step, expired

    def _urgent_share(self, max_items: int) -> int:
        urgent = next((live for live in self._live.values() if live), 0)
        return math.ceil(urgent / math.ceil(urgent / max_items)) if urgent else 0

    def drain(self) -> list[QueuedItem]:
        """Empty the queue, for a replica that can serve no more."""
        return [self._pop(item) for item in self._in_order()]

    def _in_order(self) -> Iterator[QueuedItem]:
        for tier in Tier:
            lane = self._lanes[tier]
            while lane:
                head = lane[0]
                if not head.is_queued:
                    lane.popleft()
                    continue
                yield head

    def _pop(self, item: QueuedItem) -> QueuedItem:
        popped = self._lanes[item.tier].popleft()
        assert popped is item, "only a lane's head may be popped. This is a bug."
        self._forget(item)
        return item

    def _forget(self, item: QueuedItem) -> None:
        item.is_queued = False
        self._live[item.tier] -= 1
        self._queued_tokens -= len(item.token_ids)
        self._queued_items -= 1
        assert self._queued_tokens >= 0 and self._queued_items >= 0, "queue counts went negative. This is a bug."
