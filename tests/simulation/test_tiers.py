"""Floods of the TierQueue on a virtual clock: who gets what share of an engine, and what the queue itself costs."""

import random
import time
from collections import Counter, deque
from collections.abc import Callable

import numpy as np
import pytest

from app.core.settings.model import MinShareSettings
from app.core.tier_queue import QueuedItem, TierQueue
from app.core.tiers import Tier

MIN_SHARES_THOUSANDTHS = MinShareSettings().by_tier()
SEED = random.randrange(2**32)
TOKENS_PER_S = 10_000
MAX_ITEMS, MAX_TOKENS = 64, 2048


def item(tier: Tier, flow: str, tokens: int, now_s: float, deadline_s: float = 1e9) -> QueuedItem:
    return QueuedItem(np.ones(tokens, np.int32), tier, now_s, deadline_s, None, flow)


class Simulation:
    """An engine that computes ``TOKENS_PER_S``; sources are asked for more before each step."""

    def __init__(self, seed: int, *, light_tokens: int | None = None, fixed_s: float = 0.0) -> None:
        print(f"seed {seed}")
        self.light_tokens = light_tokens
        self.fixed_s = fixed_s
        self.random = random.Random(seed)
        self.queue = TierQueue(max_queued_tokens=10**9, min_shares_thousandths=MIN_SHARES_THOUSANDTHS)
        self.now_s = 0.0
        self.tokens: Counter[tuple[Tier, str]] = Counter()
        self.waits_s: dict[tuple[Tier, str], list[float]] = {}

    def run(self, seconds: float, refill: Callable[["Simulation"], None]) -> None:
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            refill(self)
            step, _ = self.queue.take(
                max_items=MAX_ITEMS, max_tokens=MAX_TOKENS, now_s=self.now_s, light_tokens=self.light_tokens
            )
            for done in step:
                self.tokens[done.tier, done.flow] += done.tokens
                self.waits_s.setdefault((done.tier, done.flow), []).append(self.now_s - done.queued_at_s)
            self.now_s += self.fixed_s + sum(done.tokens for done in step) / TOKENS_PER_S if step else 0.001

    def keep(self, tier: Tier, flow: str, *, waiting: int, tokens: tuple[int, int] = (8, 64)) -> None:
        """Top a flow up to so many waiting items."""
        flows = self.queue._lanes[tier]._flows
        for _ in range(waiting - (flows[flow].live if flow in flows else 0)):
            self.queue.push(item(tier, flow, self.random.randint(*tokens), self.now_s))

    def share(self, tier: Tier) -> float:
        served = sum(tokens for (of, _), tokens in self.tokens.items() if of is tier)
        return served / sum(self.tokens.values())


def test_under_a_flood_of_everything_each_tier_gets_its_minimum_and_priority_the_rest() -> None:
    simulation = Simulation(SEED)
    simulation.run(600, lambda s: [s.keep(tier, "p", waiting=200) for tier in Tier])  # type: ignore[func-returns-value]
    for tier, share in MIN_SHARES_THOUSANDTHS.items():
        assert simulation.share(tier) == pytest.approx(share / 1000, rel=0.02), tier
    assert simulation.share(Tier.PRIORITY) == pytest.approx(0.83, rel=0.01)


@pytest.mark.parametrize("large_tokens", [480, 1900])
def test_a_trickle_of_urgent_items_leaves_the_rest_of_an_engine_with_costly_steps_to_others(large_tokens: int) -> None:
    """Steps cost as much as 500 tokens before the first: cutting each of them short would leave next to nothing."""
    simulation = Simulation(SEED, light_tokens=100, fixed_s=0.05)

    def refill(s: Simulation) -> None:
        s.keep(Tier.PRIORITY, "p", waiting=1, tokens=(24, 24))
        s.keep(Tier.BATCH, "b", waiting=200, tokens=(large_tokens, large_tokens))

    simulation.run(120, refill)
    full_step_s = simulation.fixed_s + MAX_TOKENS / TOKENS_PER_S
    possible = 120 / full_step_s * MAX_TOKENS
    assert simulation.tokens[Tier.BATCH, "b"] > 0.6 * possible
    assert max(simulation.waits_s[Tier.PRIORITY, "p"]) <= full_step_s


def test_shares_hold_with_steps_that_are_cut_short() -> None:
    simulation = Simulation(SEED, light_tokens=100, fixed_s=0.002)
    simulation.run(600, lambda s: [s.keep(tier, "p", waiting=200) for tier in Tier])  # type: ignore[func-returns-value]
    for tier, share in MIN_SHARES_THOUSANDTHS.items():
        assert simulation.share(tier) == pytest.approx(share / 1000, rel=0.02), tier


def test_a_large_item_of_a_lower_tier_is_served_before_its_deadline() -> None:
    """Saving up for it would take longer than anybody waits: at 2 %, 40 s for 8192 tokens."""
    simulation = Simulation(SEED)

    def refill(s: Simulation) -> None:
        s.keep(Tier.PRIORITY, "p", waiting=500)
        if not len(s.queue._lanes[Tier.BATCH]):
            s.queue.push(item(Tier.BATCH, "b", 8192, s.now_s, s.now_s + 30))

    simulation.run(600, refill)
    assert simulation.share(Tier.BATCH) == pytest.approx(0.02, rel=0.1)


def test_a_debt_outlives_an_empty_lane() -> None:
    """Who comes back as soon as its item is done gets its share, and no more than that."""
    simulation = Simulation(SEED)

    def refill(s: Simulation) -> None:
        s.keep(Tier.PRIORITY, "p", waiting=500)
        s.keep(Tier.FLEX, "f", waiting=1)

    simulation.run(300, refill)
    assert simulation.share(Tier.FLEX) <= 0.051


def test_without_minimum_shares_the_lower_tiers_starve() -> None:
    simulation = Simulation(SEED)
    simulation.queue = TierQueue(max_queued_tokens=10**9, min_shares_thousandths={})
    simulation.run(60, lambda s: [s.keep(tier, "p", waiting=200) for tier in Tier])  # type: ignore[func-returns-value]
    assert simulation.share(Tier.PRIORITY) == 1


def test_what_comes_now_and_then_waits_for_little_more_than_a_step() -> None:
    """Priority under a flood of flex: at most the step under way, whatever waits."""
    simulation = Simulation(SEED)

    def refill(s: Simulation) -> None:
        s.keep(Tier.FLEX, "p", waiting=500)
        if s.random.random() < 0.2:
            s.queue.push(item(Tier.PRIORITY, "p", 24, s.now_s))

    simulation.run(300, refill)
    assert max(simulation.waits_s[Tier.PRIORITY, "p"]) <= MAX_TOKENS / TOKENS_PER_S


class FirstComeFirstServed:
    """What there would be without a TierQueue."""

    def __init__(self) -> None:
        self._items: deque[QueuedItem] = deque()

    def push(self, new: QueuedItem) -> None:
        self._items.append(new)

    def take(
        self, *, max_items: int, max_tokens: int, now_s: float, light_tokens: int | None = None
    ) -> tuple[list[QueuedItem], list[QueuedItem]]:
        step: list[QueuedItem] = []
        while self._items and len(step) < max_items:
            max_tokens -= self._items[0].tokens
            if max_tokens < 0:
                break
            step.append(self._items.popleft())
        return step, []


def waits_beside_a_flood_steps(queue: TierQueue | FirstComeFirstServed) -> dict[Tier, float]:
    """p99 of priority and default callers, in full steps, beside callers of flex who keep six steps' worth waiting."""
    simulation = Simulation(SEED)
    simulation.queue = queue  # type: ignore[assignment]
    callers = [*[Tier.FLEX] * 380, *[Tier.DEFAULT] * 2, Tier.PRIORITY]
    done: list[int] = [0] * len(callers)

    def refill(s: Simulation) -> None:
        for place, tier in enumerate(callers):
            served = len(s.waits_s.get((tier, str(place)), []))
            if s.now_s == 0 or served > done[place]:
                done[place] = served
                s.queue.push(item(tier, str(place), 32, s.now_s))

    simulation.run(120, refill)
    full_step_s = MAX_TOKENS / TOKENS_PER_S
    found = {}
    for tier in (Tier.PRIORITY, Tier.DEFAULT):
        waits_s = sorted(w for (of, _), waits in simulation.waits_s.items() if of is tier for w in waits)
        found[tier] = waits_s[int(len(waits_s) * 0.99)] / full_step_s
    return found


def test_a_flood_of_flex_costs_urgent_callers_at_most_a_step_and_a_half_and_without_the_queue_far_more() -> None:
    queue = TierQueue(max_queued_tokens=10**9, min_shares_thousandths=MIN_SHARES_THOUSANDTHS)
    with_it = waits_beside_a_flood_steps(queue)
    assert with_it[Tier.PRIORITY] <= with_it[Tier.DEFAULT] <= 1.5
    without = waits_beside_a_flood_steps(FirstComeFirstServed())
    assert min(without.values()) > 4


def test_a_small_project_gets_what_it_asks_for_beside_a_large_one() -> None:
    """64 callers against 4, each with one request at a time: the small one is served in every step."""
    simulation = Simulation(SEED)

    def refill(s: Simulation) -> None:
        s.keep(Tier.DEFAULT, "large", waiting=640)
        s.keep(Tier.DEFAULT, "small", waiting=4)

    simulation.run(300, refill)
    waits_s = sorted(simulation.waits_s[Tier.DEFAULT, "small"])
    assert waits_s[int(len(waits_s) * 0.99)] <= MAX_TOKENS / TOKENS_PER_S


def test_two_floods_share_evenly_whatever_the_size_of_their_texts() -> None:
    simulation = Simulation(SEED)

    def refill(s: Simulation) -> None:
        s.keep(Tier.DEFAULT, "short", waiting=500, tokens=(1, 8))
        s.keep(Tier.DEFAULT, "long", waiting=500, tokens=(200, 256))

    simulation.run(300, refill)
    short, long = (simulation.tokens[Tier.DEFAULT, flow] for flow in ("short", "long"))
    assert short == pytest.approx(long, rel=0.01)


def test_a_hundred_thousand_items_cost_less_than_ten_microseconds_each() -> None:
    chooser = random.Random(SEED)
    queue = TierQueue(max_queued_tokens=10**9, min_shares_thousandths=MIN_SHARES_THOUSANDTHS)
    tiers = list(Tier)
    items = [item(chooser.choice(tiers), f"p{chooser.randrange(1000)}", 24, 0) for _ in range(100_000)]
    began_s = time.process_time()
    for one in items:
        queue.push(one)
    for one in items[::10]:
        queue.cancel(one)
    while len(queue):
        queue.take(max_items=MAX_ITEMS, max_tokens=MAX_TOKENS, now_s=0)
    each_us = (time.process_time() - began_s) * 1e6 / (2 * len(items))
    print(f"{each_us:.1f} µs an operation")
    assert each_us < 10
