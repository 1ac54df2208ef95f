"""A queue that shares what it feeds among flows by tokens: start-time fair queueing.

After Goyal, Vin and Cheng, "Start-time Fair Queuing" (SIGCOMM 1996). Each flow has a virtual time
that grows by tokens ÷ weight with each of its items that is taken; the flow that is furthest behind
is served next, and one that was idle starts at the present, not with what it missed. While two flows
both wait, their shares differ by at most one item of each.

Tags are given when an item is taken, not when it comes, so one that is cancelled costs its flow
nothing. Pure and not thread-safe. Taking costs O(log flows); adding and cancelling O(1), amortized.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Generic, Protocol, TypeVar

_SCALE = 1_000_000
"""Virtual time of one token at weight 1: integers keep it exact however long the queue lives."""

_TOMBSTONES = 8
"""Cancelled items that a flow may keep besides as many as it has living ones."""

_IDLE_FLOWS = 64
"""Idle flows that may be kept besides as many as there were when they were last looked through."""


class Flowing(Protocol):
    """What a fair queue holds.

    Attributes:
        flow: who shares: a project.
        weight: of the flow, from 1.
        is_queued: kept by the queue.
    """

    flow: str
    weight: int
    is_queued: bool

    @property
    def tokens(self) -> int:
        """What the item takes."""


T = TypeVar("T", bound=Flowing)


@dataclass(slots=True, eq=False)
class _Flow(Generic[T]):
    virtual_time: int
    items: deque[T] = field(default_factory=deque)
    live: int = 0
    is_listed: bool = False


class FairQueue(Generic[T]):
    """Items of many flows, in the order of their fair shares; first come, first served within a flow."""

    def __init__(self) -> None:
        self._flows: dict[str, _Flow[T]] = {}
        self._heap: list[tuple[int, int, _Flow[T]]] = []
        self._virtual_time = 0
        self._look_through_at = _IDLE_FLOWS
        self._arrivals = 0
        self._length = 0
        self._tokens = 0
        self._waiting_flows = 0

    def __len__(self) -> int:
        return self._length

    @property
    def tokens(self) -> int:
        """Tokens that wait, cancelled items excluded."""
        return self._tokens

    @property
    def flows(self) -> int:
        """Flows that wait."""
        return self._waiting_flows

    def waits(self, name: str) -> bool:
        """Whether a flow has something waiting."""
        flow = self._flows.get(name)
        return flow is not None and flow.live > 0

    def push(self, item: T) -> None:
        """Append an item to its flow."""
        flow = self._flows.get(item.flow)
        if flow is None:
            self._forget_idle_flows()
            flow = self._flows[item.flow] = _Flow(self._virtual_time)
        flow.items.append(item)
        flow.live += 1
        self._waiting_flows += flow.live == 1
        item.is_queued = True
        self._length += 1
        self._tokens += item.tokens
        if not flow.is_listed:
            flow.virtual_time = max(flow.virtual_time, self._virtual_time)
            self._list(flow)

    def cancel(self, item: T) -> None:
        """Withdraw an item; its place is free at once. One that does not wait here is left alone."""
        if not item.is_queued:
            return
        flow = self._flows[item.flow]
        self._drop(flow, item)
        if not flow.live:
            flow.items.clear()
        elif len(flow.items) > 2 * flow.live + _TOMBSTONES:
            flow.items = deque(i for i in flow.items if i.is_queued)

    def head(self) -> T | None:
        """The item that is next."""
        while self._heap:
            flow = self._heap[0][2]
            while flow.items and not flow.items[0].is_queued:
                flow.items.popleft()
            if flow.items:
                return flow.items[0]
            heappop(self._heap)
            flow.is_listed = False
        return None

    def next_is_last(self) -> bool:
        """Whether the item that is next has none of its flow waiting behind it."""
        return self.head() is not None and self._heap[0][2].live == 1

    def pop(self) -> T:
        """Take the item that is next.

        Raises:
            IndexError: nothing waits.
        """
        item = self._existing_head()
        virtual_time, _, flow = heappop(self._heap)
        flow.is_listed = False
        flow.items.popleft()
        self._virtual_time = virtual_time
        flow.virtual_time = virtual_time + item.tokens * _SCALE // item.weight
        self._drop(flow, item)
        if flow.live:
            self._list(flow)
        if not self._length:
            self._flows.clear()  # the end of a busy period: nobody owes anything any more
            self._heap.clear()
            self._virtual_time = 0
        return item

    def skip(self) -> T:
        """Take the item that is next without charging its flow: it came too late.

        Raises:
            IndexError: nothing waits.
        """
        item = self._existing_head()
        self._drop(self._flows[item.flow], item)
        return item

    def drain(self) -> Iterator[T]:
        """Empty the queue."""
        while self._length:
            yield self.pop()

    def _existing_head(self) -> T:
        item = self.head()
        if item is None:
            raise IndexError("nothing waits")
        return item

    def _list(self, flow: _Flow[T]) -> None:
        self._arrivals += 1
        flow.is_listed = True
        heappush(self._heap, (flow.virtual_time, self._arrivals, flow))

    def _drop(self, flow: _Flow[T], item: T) -> None:
        item.is_queued = False
        flow.live -= 1
        self._waiting_flows -= flow.live == 0
        self._length -= 1
        self._tokens -= item.tokens
        assert self._length >= 0 and self._tokens >= 0, "queue counts went negative. This is a bug."

    def _forget_idle_flows(self) -> None:
        """Flows that do not wait and owe nothing, once there are many."""
        if len(self._flows) > self._look_through_at:
            self._flows = {
                name: flow for name, flow in self._flows.items() if flow.live or flow.virtual_time > self._virtual_time
            }
            self._look_through_at = 2 * len(self._flows) + _IDLE_FLOWS
