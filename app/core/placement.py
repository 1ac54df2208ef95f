"""Which replica an item goes to.

A gateway sees a replica as it last told of itself, with what this gateway has sent it since. A step
that is put off until those come again whom it waits for (see ``app.core.pace``) gets them first, so that
replicas compute large steps, and in turn; but no more of them than their fair part, or they would
stay crowded where they once were. Else the least wait decides.

Pure; time is an argument.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from app.core.load import ReplicaLoad
from app.core.tiers import Flow, Tier

_UNMEASURED_TOKENS_PER_S = 10_000.0
"""Stands in for the speed of a replica that has not computed yet."""

_OTHERS_COUNT = 1 / 16
"""What waits and is not ahead of a newcomer delays it by little, and decides between equals."""


@dataclass(slots=True)
class Part:
    """What a gateway has of one flow at one replica."""

    items: int = 0
    tokens: int = 0


class ReplicaView:
    """One replica, as one gateway sees it."""

    def __init__(self) -> None:
        self.load = ReplicaLoad()
        self._sent_tokens = [0] * len(Tier)
        self._cancelled_tokens = [0] * len(Tier)
        self._parts: dict[Flow, Part] = {}
        self._company: dict[Flow, int] = {}
        self._gathers_until_s = 0.0

    def note(self, load: ReplicaLoad, now_s: float) -> None:
        """It told of itself."""
        self.load = load
        self._cancelled_tokens = [0] * len(Tier)
        self._gathers_until_s = now_s + load.engine.company_s
        self._company = {(tier, project_id): items for tier, project_id, items in load.engine.company}

    def sent(self, flow: Flow, tokens: int) -> None:
        """An item is on its way to it."""
        self._sent_tokens[flow[0].rank] += tokens
        part = self._parts.setdefault(flow, Part())
        part.items += 1
        part.tokens += tokens
        if flow in self._company:
            self._company[flow] -= 1

    def ended(self, flow: Flow, tokens: int) -> None:
        """An item is answered, or nobody waits for it any more."""
        part = self._parts[flow]
        part.items -= 1
        part.tokens -= tokens
        if not part.items:
            del self._parts[flow]

    def unsent(self, tier: Tier, tokens: int) -> None:
        """An item was taken back before it left."""
        self._sent_tokens[tier.rank] -= tokens

    def cancelled(self, tier: Tier, tokens: int) -> None:
        """An item was taken back after it left."""
        self._cancelled_tokens[tier.rank] += tokens

    def tokens(self) -> list[int]:
        """Unanswered there, by rank: as last told, with what was sent and cancelled since."""
        load = self.load
        columns = zip(load.tokens, self._sent_tokens, load.received_tokens, self._cancelled_tokens, strict=True)
        return [max(0, known + sent - seen - cancelled) for known, sent, seen, cancelled in columns]

    def items_of(self, flow: Flow) -> int:
        """This gateway's items there."""
        part = self._parts.get(flow)
        return part.items if part else 0

    def awaits(self, flow: Flow, now_s: float) -> int:
        """For how many items of a flow its next step is put off."""
        return max(0, self._company.get(flow, 0)) if now_s < self._gathers_until_s else 0

    def wait_s(self, flow: Flow, tokens: int) -> float:
        """How long items of so many tokens may wait; made for comparing (see ``app.core.load.expected_wait_s``)."""
        rank, engine, waiting = flow[0].rank, self.load.engine, self.tokens()
        part = self._parts.get(flow)
        own_tokens = part.tokens if part else 0
        ahead, equal = sum(waiting[:rank]), waiting[rank]
        if projects := engine.projects[rank]:  # else all that is there is computed already, before a newcomer
            equal = min(equal, (own_tokens + tokens) * (projects + 1))
        ahead += equal
        others = sum(waiting) - ahead
        return (ahead + _OTHERS_COUNT * others) / (engine.tokens_per_s or _UNMEASURED_TOKENS_PER_S)


def choose(views: Iterable[ReplicaView], flow: Flow, tokens: int, now_s: float) -> int:
    """Where items of so many tokens in all go.

    Args:
        views: of the replicas that take work, at least one.
        flow: of the items.
        tokens: of them.
        now_s: monotonic clock.

    Returns:
        The place among ``views``.
    """
    every: Sequence[ReplicaView] = list(views)
    if len(every) == 1:
        return 0
    here, awaited = [view.items_of(flow) for view in every], [view.awaits(flow, now_s) for view in every]
    fair_items = -(-(sum(here) + sum(awaited)) // len(every))
    gathering = [place for place, items in enumerate(here) if awaited[place] and items < fair_items]
    if gathering:
        return max(gathering, key=here.__getitem__)
    return min(range(len(every)), key=lambda place: every[place].wait_s(flow, tokens))
