"""The queue against a plain model of what it promises."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from app.core.errors import CapacityExceeded
from app.core.tier_queue import QueuedItem, TierQueue
from app.core.tiers import Tier


def item(tier: Tier = Tier.DEFAULT, tokens: int = 1, deadline_s: float = 1e9, flow: str = "") -> QueuedItem:
    return QueuedItem(np.ones(tokens, np.int32), tier, 0.0, deadline_s, None, flow)


class QueueMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.queue = TierQueue(max_queued_tokens=200, min_shares_thousandths={})
        self.model: list[QueuedItem] = []
        self.now_s = 0.0

    @rule(tier=st.sampled_from(list(Tier)), tokens=st.integers(1, 30), lives_s=st.integers(1, 20))
    def push(self, tier: Tier, tokens: int, lives_s: int) -> None:
        new = item(tier, tokens, self.now_s + lives_s)
        waiting = [i.tokens for i in self.model if i.tier is tier]
        full = waiting and sum(waiting) + tokens > 200
        try:
            self.queue.push(new)
        except CapacityExceeded:
            assert full
        else:
            assert not full
            self.model.append(new)

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        if self.model:
            victim = data.draw(st.sampled_from(range(len(self.model))))
            self.queue.cancel(self.model[victim])
            self.queue.cancel(self.model.pop(victim))

    @rule(seconds=st.integers(0, 5))
    def wait(self, seconds: int) -> None:
        self.now_s += seconds

    @rule(max_items=st.integers(1, 8), max_tokens=st.integers(1, 60), light_tokens=st.none() | st.integers(1, 60))
    def take(self, max_items: int, max_tokens: int, light_tokens: int | None) -> None:
        step, expired = self.queue.take(
            max_items=max_items, max_tokens=max_tokens, now_s=self.now_s, light_tokens=light_tokens
        )
        assert all(i.deadline_s <= self.now_s for i in expired)
        assert all(i.deadline_s > self.now_s for i in step)
        assert len(step) <= max_items
        assert len(step) <= 1 or sum(len(i.token_ids) for i in step) <= max_tokens
        alive = [i for i in sorted(self.model, key=lambda i: i.tier.rank) if i.deadline_s > self.now_s]
        assert [id(i) for i in step] == [id(i) for i in alive[: len(step)]]
        assert bool(step) == bool(alive)
        gone = Counter(map(id, [*step, *expired]))
        self.model = [i for i in self.model if not gone[id(i)]]

    @invariant()
    def counts_agree(self) -> None:
        assert len(self.queue) == len(self.model)
        assert self.queue.queued_tokens == sum(len(i.token_ids) for i in self.model)


TestQueue = QueueMachine.TestCase


def test_steps_are_even() -> None:
    queue = TierQueue(max_queued_tokens=10_000, min_shares_thousandths={})
    for _ in range(68):
        queue.push(item())
    sizes = []
    while len(queue):
        sizes.append(len(queue.take(max_items=64, max_tokens=10_000, now_s=0)[0]))
    assert sizes == [34, 34]


def test_an_item_larger_than_a_step_goes_alone() -> None:
    queue = TierQueue(max_queued_tokens=10, min_shares_thousandths={})
    queue.push(item(tokens=50))
    assert len(queue.take(max_items=4, max_tokens=10, now_s=0)[0]) == 1


def test_the_most_urgent_tier_is_not_spread_because_of_what_waits_behind_it() -> None:
    queue = TierQueue(max_queued_tokens=1_000_000, min_shares_thousandths={})
    for _ in range(8):
        queue.push(item(Tier.PRIORITY, tokens=12))
    for _ in range(10):
        queue.push(item(Tier.FLEX, tokens=8192))
    step, _ = queue.take(max_items=64, max_tokens=8192, now_s=0)
    assert [i.tier for i in step] == [Tier.PRIORITY] * 8


def test_cancelled_items_do_not_pile_up_in_a_starved_lane() -> None:
    queue = TierQueue(max_queued_tokens=1_000_000, min_shares_thousandths={})
    queue.push(item(Tier.PRIORITY))
    for _ in range(5000):
        waiting = item(Tier.FLEX)
        queue.push(waiting)
        queue.cancel(waiting)
    assert len(queue._lanes[Tier.FLEX]._flows[""].items) < 200


def test_drain_empties_the_queue() -> None:
    queue = TierQueue(max_queued_tokens=10, min_shares_thousandths={})
    queue.push(item(Tier.FLEX))
    queue.push(item(Tier.PRIORITY))
    assert [i.tier for i in queue.drain()] == [Tier.PRIORITY, Tier.FLEX]
    assert len(queue) == 0


def test_an_item_that_was_never_queued_cannot_be_cancelled_out_of_the_counts() -> None:
    queue = TierQueue(max_queued_tokens=10, min_shares_thousandths={})
    queue.push(item(tokens=8))
    refused = item(tokens=8)
    with pytest.raises(CapacityExceeded):
        queue.push(refused)
    queue.cancel(refused)
    assert (len(queue), queue.queued_tokens) == (1, 8)


def queue_of(*items: QueuedItem) -> TierQueue:
    queue = TierQueue(max_queued_tokens=10_000, min_shares_thousandths={})
    for one in items:
        queue.push(one)
    return queue


def flows_of_step(queue: TierQueue, *, light_tokens: int | None) -> list[str]:
    step, _ = queue.take(max_items=64, max_tokens=200, now_s=0, light_tokens=light_tokens)
    return [one.flow for one in step]


def test_a_small_project_is_not_kept_waiting_by_what_fills_its_step() -> None:
    large = [item(tokens=10, flow="large") for _ in range(50)]
    small = [item(tokens=10, flow="small") for _ in range(2)]
    queue = queue_of(*large, *small)
    first = flows_of_step(queue, light_tokens=25)
    assert Counter(first) == {"large": 2, "small": 2}, "as much of the large one as of the small one"
    assert flows_of_step(queue, light_tokens=25) == ["large"] * 20, "what is left to one alone fills its steps"
    assert Counter(flows_of_step(queue_of(*large, *small), light_tokens=None)) == {"large": 18, "small": 2}


def test_many_who_ask_for_little_share_a_step() -> None:
    little = [item(tokens=10, flow=f"p{n}") for n in range(15)]
    queue = queue_of(*little, *(item(tokens=10, flow="big") for _ in range(40)))
    first = flows_of_step(queue, light_tokens=30)
    assert set(first) - {"big"} == {f"p{n}" for n in range(15)}
    assert first.count("big") <= 2


def test_no_two_steps_in_a_row_are_cut_short() -> None:
    """Large items of whoever has more would hardly be served beside a steady trickle of small ones."""
    queue = queue_of(*(item(Tier.FLEX, 60, flow="large") for _ in range(30)))
    sizes = []
    for _ in range(6):
        queue.push(item(Tier.PRIORITY, 10, flow="small"))
        step, _ = queue.take(max_items=64, max_tokens=200, now_s=0, light_tokens=30)
        sizes.append(len(step))
    assert sizes == [1, 4, 1, 4, 1, 4]


def test_no_two_steps_in_a_row_leave_somebodys_next_item_out() -> None:
    queue = queue_of(*(item(Tier.FLEX, 60, flow="large") for _ in range(30)))
    sizes = []
    for _ in range(6):
        queue.push(item(Tier.PRIORITY, 10, flow="small"))
        step, _ = queue.take(max_items=64, max_tokens=200, now_s=0, light_tokens=30, worthwhile_tokens=10)
        sizes.append(len(step))
    assert sizes == [1, 4, 1, 4, 1, 4]


def test_steps_that_are_worth_their_cost_are_kept_small_in_a_row() -> None:
    queue = queue_of(*(item(tokens=10, flow="large") for _ in range(100)))
    for _ in range(4):
        for _ in range(2):
            queue.push(item(tokens=10, flow="small"))
        step, _ = queue.take(max_items=64, max_tokens=200, now_s=0, light_tokens=5, worthwhile_tokens=40)
        assert Counter(one.flow for one in step) == {"large": 2, "small": 2}


@pytest.mark.parametrize(
    ("asking", "worthwhile_tokens", "are_short"),
    [
        (Tier.PRIORITY, 30, [True, True, True, True]),
        (Tier.PRIORITY, 60, [True, True, True, True]),
        (Tier.PRIORITY, 100, [True, False, True, False]),
        (Tier.DEFAULT, 1, [True, False, True, False]),
        (Tier.FLEX, 30, [True, True, True, True]),
        (Tier.FLEX, 60, [True, False, True, False]),
    ],
)
def test_what_a_short_step_may_cost_is_a_question_of_who_waits_for_it(
    asking: Tier, worthwhile_tokens: int, are_short: list[bool]
) -> None:
    queue = queue_of(*(item(Tier.FLEX, tokens=20, flow="large") for _ in range(100)))
    sizes = []
    for _ in are_short:
        queue.push(item(asking, tokens=20, flow="small"))
        bounds = {"light_tokens": 5, "worthwhile_tokens": worthwhile_tokens}
        step, _ = queue.take(max_items=64, max_tokens=240, now_s=0, **bounds)
        sizes.append(len(step))
    assert [size == 2 for size in sizes] == are_short


def test_the_most_urgent_of_those_who_ask_for_little_decides() -> None:
    queue = TierQueue(max_queued_tokens=10_000, min_shares_thousandths={Tier.DEFAULT: 300})
    for _ in range(200):
        queue.push(item(Tier.FLEX, tokens=20, flow="large"))
    bounds = {"max_tokens": 400, "now_s": 0, "light_tokens": 5, "worthwhile_tokens": 30}

    def step_of_priority(max_items: int) -> list[Tier]:
        queue.push(item(Tier.PRIORITY, tokens=20, flow="small"))
        return [one.tier for one in queue.take(max_items=max_items, **bounds)[0]]

    queue.push(item(Tier.DEFAULT, tokens=20, flow="small"))
    assert step_of_priority(max_items=1) == [Tier.PRIORITY]
    assert step_of_priority(max_items=64)[:2] == [Tier.DEFAULT, Tier.PRIORITY], "what it is owed comes first"
    assert len(step_of_priority(max_items=64)) == 2, "priority's steps may be short in a row"


def test_who_has_much_in_a_step_leaves_others_as_much() -> None:
    queue = queue_of(*(item(tokens=10, flow="a") for _ in range(8)), *(item(tokens=10, flow="b") for _ in range(12)))
    assert Counter(flows_of_step(queue, light_tokens=30)) == {"a": 8, "b": 8}


def test_one_who_is_alone_fills_the_step() -> None:
    assert len(flows_of_step(queue_of(*(item(tokens=10, flow="one") for _ in range(20))), light_tokens=30)) == 20


def test_an_urgent_request_is_not_kept_waiting_by_lower_tiers() -> None:
    queue = queue_of(item(Tier.PRIORITY, 10, flow="a"), *(item(Tier.FLEX, 10, flow="a") for _ in range(40)))
    step, _ = queue.take(max_items=64, max_tokens=200, now_s=0, light_tokens=30)
    assert [one.tier for one in step] == [Tier.PRIORITY, Tier.FLEX, Tier.FLEX]
