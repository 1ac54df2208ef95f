"""A small project beside a large one, in virtual time: two replicas behind one gateway, callers that ask again.

Placement, queue, pace and step sizes are the real ones. A step costs a fixed part and a part for each
token, and a caller is back a moment after its answer, the later the more were answered with it.
"""

import heapq
import itertools
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pytest

from app.core.load import EngineState, RateMeter, ReplicaLoad
from app.core.pace import ActiveFlows, Pacer
from app.core.placement import ReplicaView, choose
from app.core.settings.model import EngineSettings
from app.core.step_size import StepSizer
from app.core.tier_queue import QueuedItem, TierQueue
from app.core.tiers import Flow, Tier

SMALL, LARGE = (Tier.DEFAULT, "small"), (Tier.DEFAULT, "large")
TOKENS = 24
MAX_ITEMS = 64
SECONDS = 30.0


@dataclass(frozen=True)
class Machine:
    """MiniLM's steps on one core, and how long a caller is away."""

    fixed_s: float
    token_s: float
    away_s: float


SLOW = Machine(0.020, 0.0007, 0.005)
FAST = Machine(0.0034, 0.00013, 0.0014)


@dataclass
class Engine:
    """A replica: its queue, its pace, and its step under way."""

    pacer: Pacer
    sizer: StepSizer = field(
        default_factory=lambda: StepSizer(
            max_tokens=8192,
            max_s=1.0,
            max_shared_s=EngineSettings().max_shared_step_ms / 1000,
            max_light_s=EngineSettings().max_light_step_ms / 1000,
        )
    )
    queue: TierQueue = field(default_factory=lambda: TierQueue(max_queued_tokens=10**9, min_shares_thousandths={}))
    meter: RateMeter = field(default_factory=lambda: RateMeter({}))
    view: ReplicaView = field(default_factory=ReplicaView)
    active: ActiveFlows = field(default_factory=ActiveFlows)
    step: list[QueuedItem] = field(default_factory=list)
    began_s: float = 0.0
    received: int = 0
    unanswered: int = 0


class House:
    """Events in the order of their time."""

    def __init__(self, machine: Machine, *, patience: float) -> None:
        self.machine = machine
        self.engines = [Engine(Pacer(patience=patience)) for _ in range(2)]
        self.served: Counter[Flow] = Counter()
        self._events: list[tuple[float, int, Flow | Engine]] = []
        self._order = itertools.count()
        self._now_s = 0.0

    def run(self, callers: dict[Flow, int]) -> None:
        for flow, count in callers.items():
            for number in range(count):
                self._at(number * self.machine.away_s, flow)
        while self._events[0][0] < SECONDS:
            self._now_s, _, what = heapq.heappop(self._events)
            if isinstance(what, Engine):
                self._look(what)
            else:
                self._arrive(what)

    def _at(self, at_s: float, what: "Flow | Engine") -> None:
        heapq.heappush(self._events, (at_s, next(self._order), what))

    def _arrive(self, flow: Flow) -> None:
        engine = self.engines[choose([e.view for e in self.engines], flow, TOKENS, self._now_s)]
        engine.view.sent(flow, TOKENS)
        engine.received += TOKENS
        engine.unanswered += TOKENS
        engine.queue.push(QueuedItem(np.ones(TOKENS, np.int32), flow[0], self._now_s, 1e9, None, flow[1]))
        engine.pacer.arrive(flow, self._now_s)
        engine.active.note(flow, self._now_s)
        self._look(engine)

    def _look(self, engine: Engine) -> None:
        """End the step that is due, and begin the next if it may."""
        if engine.step:
            if self._now_s < engine.began_s + self._duration_s(engine.step):
                return
            self._end(engine)
        if not len(engine.queue):
            return
        if len(engine.queue) < MAX_ITEMS and (wait_s := engine.pacer.wait_s(self._now_s)):
            self._at(self._now_s + wait_s, engine)
            return
        asking = max(sum(engine.queue.projects()), engine.active.count(self._now_s))
        bounds = engine.sizer.bounds(is_shared=asking > 1, tokens_per_s=engine.meter.tokens_per_s)
        engine.step, _ = engine.queue.take(
            max_items=MAX_ITEMS,
            max_tokens=bounds.max_tokens,
            light_tokens=bounds.light_tokens,
            worthwhile_tokens=bounds.worthwhile_tokens,
            now_s=self._now_s,
        )
        flows = [(item.tier, item.flow) for item in engine.step]
        engine.pacer.begin_step(flows, waits=engine.queue.waits, waiting=engine.queue.projects(), now_s=self._now_s)
        engine.began_s = self._now_s
        self._at(self._now_s + self._duration_s(engine.step), engine)

    def _end(self, engine: Engine) -> None:
        step, engine.step = engine.step, []
        tokens = TOKENS * len(step)
        engine.unanswered -= tokens
        engine.pacer.end_step(began_s=engine.began_s, ended_s=self._now_s)
        engine.sizer.record(tokens, self._now_s - engine.began_s)
        engine.meter.record({Tier.DEFAULT: tokens}, busy_s=self._now_s - engine.began_s, now_s=self._now_s)
        company, company_s = engine.pacer.gathering(self._now_s)
        state = EngineState(
            tokens_per_s=engine.meter.tokens_per_s,
            projects=engine.queue.projects(),
            company=[(tier, project, items) for (tier, project), items in company.items()],
            company_s=company_s,
        )
        engine.view.note(ReplicaLoad(state, (0, engine.unanswered, 0, 0), (0, engine.received, 0, 0)), self._now_s)
        for place, item in enumerate(step, 1):
            flow = item.tier, item.flow
            engine.view.ended(flow, TOKENS)
            self.served[flow] += 1
            self._at(self._now_s + self.machine.away_s * place, flow)

    def _duration_s(self, step: list[QueuedItem]) -> float:
        return self.machine.fixed_s + self.machine.token_s * TOKENS * len(step)


def served(machine: Machine, callers: dict[Flow, int], *, patience: float = 2.0) -> Counter[Flow]:
    house = House(machine, patience=patience)
    house.run(callers)
    return house.served


@pytest.mark.parametrize("machine", [SLOW, FAST], ids=["slow", "fast"])
@pytest.mark.parametrize("small_callers", [4, 8])
def test_a_small_project_gets_what_it_asks_or_half(machine: Machine, small_callers: int) -> None:
    alone = served(machine, {SMALL: small_callers})[SMALL]
    beside = served(machine, {LARGE: 64, SMALL: small_callers})
    most = served(machine, {LARGE: 64})[LARGE]
    total = beside.total()
    print(f"alone {alone}, beside {beside[SMALL]} of {total}; {most} where the large one is alone")
    assert beside[SMALL] >= 0.9 * min(alone, total / 2)
    assert total >= 0.5 * most


def test_that_is_because_engines_wait_for_its_return() -> None:
    beside = served(FAST, {LARGE: 64, SMALL: 4}, patience=0.0)
    alone = served(FAST, {SMALL: 4}, patience=0.0)[SMALL]
    assert beside[SMALL] < 0.75 * min(alone, beside.total() / 2)


@pytest.mark.parametrize("machine", [SLOW, FAST], ids=["slow", "fast"])
def test_a_single_caller_does_not_slow_a_large_project_down_by_much(machine: Machine) -> None:
    beside = served(machine, {LARGE: 64, SMALL: 1})
    assert beside.total() >= 0.7 * served(machine, {LARGE: 64})[LARGE]
