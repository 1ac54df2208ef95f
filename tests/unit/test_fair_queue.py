"""Shares among flows, against the bound that the algorithm's authors prove."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from app.core.fair_queue import FairQueue


@dataclass(eq=False)
class Item:
    flow: str
    tokens: int = 1
    weight: int = 1
    is_queued: bool = False


@given(
    sizes=st.fixed_dictionaries({flow: st.lists(st.integers(1, 100), min_size=50, max_size=50) for flow in "abc"}),
    weights=st.fixed_dictionaries({flow: st.integers(1, 5) for flow in "abc"}),
    taken=st.integers(1, 50),
)
def test_flows_that_wait_differ_by_at_most_an_item_of_each(
    sizes: dict[str, list[int]], weights: dict[str, int], taken: int
) -> None:
    """Theorem 1 of Goyal, Vin and Cheng."""
    queue: FairQueue[Item] = FairQueue()
    for flow, tokens in sizes.items():
        for size in tokens:
            queue.push(Item(flow, size, weights[flow]))
    served = dict.fromkeys("abc", 0)
    for _ in range(taken):
        item = queue.pop()
        served[item.flow] += item.tokens
    for one in "abc":
        for other in "abc":
            apart = abs(served[one] / weights[one] - served[other] / weights[other])
            assert apart <= max(sizes[one]) / weights[one] + max(sizes[other]) / weights[other] + 1e-3


def test_who_was_idle_does_not_catch_up() -> None:
    queue: FairQueue[Item] = FairQueue()
    for _ in range(100):
        queue.push(Item("busy"))
    for _ in range(50):
        queue.pop()
    for _ in range(100):
        queue.push(Item("late"))
    assert sum(queue.pop().flow == "late" for _ in range(20)) in (10, 11)


def test_what_is_cancelled_or_skipped_costs_its_flow_nothing() -> None:
    queue: FairQueue[Item] = FairQueue()
    doomed = [Item("a", 1000) for _ in range(50)]
    for item in doomed:
        queue.push(item)
    for item in doomed[:-1]:
        queue.cancel(item)
    assert queue.skip() is doomed[-1]
    queue.push(Item("b", 1))
    queue.push(Item("a", 1))
    queue.push(Item("b", 1))
    assert [queue.pop().flow for _ in range(3)] in (["a", "b", "b"], ["b", "a", "b"])


def test_a_small_flow_behind_a_large_one_is_next_but_one() -> None:
    queue: FairQueue[Item] = FairQueue()
    for _ in range(10_000):
        queue.push(Item("large", 100))
    queue.pop()
    queue.push(Item("small", 100))
    assert "small" in [queue.pop().flow for _ in range(2)]


def test_flows_that_came_and_went_are_forgotten() -> None:
    queue: FairQueue[Item] = FairQueue()
    queue.push(Item("stays"))
    for number in range(5000):
        queue.push(Item("stays"))
        queue.push(Item(f"visitor {number}"))
        queue.pop()
        queue.pop()
    assert len(queue._flows) < 200
    assert len(queue._heap) < 200


def test_nothing_waits() -> None:
    queue: FairQueue[Item] = FairQueue()
    with pytest.raises(IndexError):
        queue.pop()
    with pytest.raises(IndexError):
        queue.skip()


class FairMachine(RuleBasedStateMachine):
    """Whatever is done: counts agree, nothing is lost, and a flow keeps its own order."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: FairQueue[Item] = FairQueue()
        self.model: list[Item] = []

    @rule(flow=st.sampled_from("abcd"), tokens=st.integers(1, 9))
    def push(self, flow: str, tokens: int) -> None:
        self.model.append(Item(flow, tokens))
        self.queue.push(self.model[-1])

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        if self.model:
            victim = self.model.pop(data.draw(st.sampled_from(range(len(self.model)))))
            self.queue.cancel(victim)
            self.queue.cancel(victim)

    @rule(skipping=st.booleans())
    def take(self, skipping: bool) -> None:
        if self.model:
            head = self.queue.head()
            item = self.queue.skip() if skipping else self.queue.pop()
            assert item is head
            assert item is next(i for i in self.model if i.flow == item.flow)
            self.model.remove(item)

    @invariant()
    def counts_agree(self) -> None:
        assert len(self.queue) == len(self.model)
        assert self.queue.tokens == sum(i.tokens for i in self.model)
        assert (self.queue.head() is None) is (not self.model)


TestFairQueue = FairMachine.TestCase
