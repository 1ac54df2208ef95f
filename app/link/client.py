"""The gateway's end of the link: one connection to one replica."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

import msgspec
import numpy as np

from app.core.errors import (
    CapacityExceeded,
    DeadlineExceeded,
    EmbedgateError,
    EngineError,
    EngineFault,
    InvalidEngineReply,
)
from app.core.packing import TokenIds, Vector, pack_items, unpack_vectors
from app.core.placement import ReplicaView
from app.core.tiers import Flow, Tier
from app.link.framing import Frames
from app.link.messages import (
    Beat,
    Cancel,
    Failed,
    FromReplica,
    Goodbye,
    Group,
    Hello,
    Submit,
    Vectors,
    Welcome,
)

_DECODER: msgspec.msgpack.Decoder[FromReplica] = msgspec.msgpack.Decoder(FromReplica)

logger = logging.getLogger("ray.serve.embedgate")

_FRAME_TOKENS = 65_536
"""Tokens in one message, at most, unless a single item has more."""


@dataclass(frozen=True, slots=True)
class ReplicaAddress:
    """Where a replica listens, and the secret that it asks for."""

    replica_id: str
    host: str
    port: int
    token: str


@dataclass(slots=True, eq=False)
class Waiting:
    """One item on its way. ``sends`` counts the replicas that were asked."""

    token_ids: TokenIds
    tier: Tier
    project_id: str
    weight: int
    deadline_s: float
    future: asyncio.Future[Vector]
    trace: str = ""
    replica: "Replica | None" = None
    number: int = -1
    sends: int = 0

    @property
    def tokens(self) -> int:
        """What it costs an engine."""
        return len(self.token_ids)

    @property
    def flow(self) -> Flow:
        """Whom it is of."""
        return self.tier, self.project_id


class Owner(Protocol):
    """Who is told what a connection cannot decide by itself."""

    def on_replica_ready(self, replica: "Replica") -> None:
        """It may be sent work."""

    def on_items_lost(self, replica: "Replica", items: Sequence[Waiting]) -> None:
        """The replica died, or its engine did, with these unanswered."""

    def on_replica_lost(self, replica: "Replica") -> None:
        """The connection ended."""


class Replica(Frames[FromReplica]):
    """A replica as a gateway sees it.

    Args:
        address: of the replica.
        dimensions: what every answer is checked against.
        owner: told of what happens.
        clock_s: monotonic clock.
    """

    def __init__(self, address: ReplicaAddress, *, dimensions: int, owner: Owner, clock_s: Callable[[], float]) -> None:
        super().__init__(_DECODER.decode)
        self.address = address
        self.heard_at_s = clock_s()
        self.is_ready = False
        self._is_leaving = False
        self.view = ReplicaView()
        self._dimensions = dimensions
        self._owner = owner
        self._clock_s = clock_s
        self._outstanding: dict[int, Waiting] = {}
        self._unsent: list[Waiting] = []
        self._cancelled: list[int] = []
        self._flush_scheduled = False
        self._next_number = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Introduce this gateway."""
        super().connection_made(transport)
        self.send(Hello(self.address.token))

    def enqueue(self, waiting: Waiting, *, is_alone: bool) -> None:
        """Send an item with all others of this turn of the event loop; at once, where it is the first and alone."""
        waiting.replica, waiting.number = self, -1
        waiting.sends += 1
        self._unsent.append(waiting)
        self.view.sent(waiting.flow, waiting.tokens)
        if is_alone and not self._outstanding and len(self._unsent) == 1:
            self._flush()
        else:
            self._schedule_flush()

    def end(self, waiting: Waiting) -> None:
        """Count an item as ended; one that nobody waits for any more is cancelled at the replica too."""
        self.view.ended(waiting.flow, waiting.tokens)
        if waiting.future.cancelled():
            self.withdraw(waiting)

    def withdraw(self, waiting: Waiting) -> None:
        """Cancel an item here and at the replica."""
        if self._outstanding.pop(waiting.number, None) is not None:
            self._cancelled.append(waiting.number)
            self.view.cancelled(waiting.tier, waiting.tokens)
            self._schedule_flush()

    def waiting(self) -> Iterable[Waiting]:
        """Items that were sent and not answered; it may compute some of them already."""
        return self._outstanding.values()

    def on_message(self, message: FromReplica) -> None:
        """Hand answers to whoever waits for them."""
        self.heard_at_s = self._clock_s()
        match message:
            case Vectors():
                self.view.note(message.load, self.heard_at_s)
                self._answer(message)
            case Failed():
                self._fail(message)
            case Goodbye():
                self.is_ready, self._is_leaving = False, True
            case Welcome():
                self.view.note(message.load, self.heard_at_s)
                self.is_ready = True
                self._owner.on_replica_ready(self)
            case Beat():
                self.view.note(message.load, self.heard_at_s)
        self._close_if_done()

    def on_lost(self) -> None:
        """Everything that was not answered is lost with the replica."""
        self.is_ready = False
        items = [item for item in (*self._outstanding.values(), *self._unsent) if not item.future.done()]
        self._outstanding.clear()
        self._unsent.clear()
        self._owner.on_replica_lost(self)
        self._owner.on_items_lost(self, items)

    def _close_if_done(self) -> None:
        """A replica that leaves waits for this: nothing is on its way to it any more."""
        if self._is_leaving and not self._outstanding and not self._unsent:
            self.close()

    def _schedule_flush(self) -> None:
        if not self._flush_scheduled:
            self._flush_scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_scheduled = False
        if self._cancelled:
            self.send(Cancel(np.array(self._cancelled, "<i8").tobytes()))
            self._cancelled.clear()
        load: list[Waiting] = []
        tokens = 0
        for waiting in self._unsent:
            length = waiting.tokens
            if waiting.future.done():
                self.view.unsent(waiting.tier, length)
                continue
            if load and tokens + length > _FRAME_TOKENS:
                self._submit(load)
                load, tokens = [], 0
            load.append(waiting)
            tokens += length
        self._unsent.clear()
        if load:
            self._submit(load)
        self._close_if_done()

    def _submit(self, load: Sequence[Waiting]) -> None:
        first, now_s = self._next_number, self._clock_s()
        self._next_number += len(load)
        for number, waiting in enumerate(load, first):
            waiting.number = number
            self._outstanding[number] = waiting
        groups = [
            Group(project, tier.value, weight, sum(1 for _ in run), trace)
            for (project, tier, weight, trace), run in groupby(
                load, key=lambda w: (w.project_id, w.tier, w.weight, w.trace)
            )
        ]
        timeouts_ms = np.array([max(0, round((w.deadline_s - now_s) * 1000)) for w in load], "<i4")
        lengths, ids = pack_items([w.token_ids for w in load])
        self.send(Submit(first, groups, timeouts_ms.tobytes(), lengths, ids))

    def _answer(self, message: Vectors) -> None:
        numbers = np.frombuffer(message.numbers, "<i8").tolist()
        items = [self._outstanding.pop(number, None) for number in numbers]
        try:
            vectors = unpack_vectors(message.vectors, count=len(items), dimensions=self._dimensions)
        except InvalidEngineReply as error:
            logger.error("replica %s: %s", self.address.replica_id, error)
            fail_items([item for item in items if item is not None], error)
            return
        for item, vector in zip(items, vectors, strict=True):
            if item is not None and not item.future.done():
                item.future.set_result(vector)

    def _fail(self, message: Failed) -> None:
        numbers = np.frombuffer(message.numbers, "<i8").tolist()
        items = [item for number in numbers if (item := self._outstanding.pop(number, None)) is not None]
        if message.failure == EngineFault.DEAD:
            self.is_ready = False
            self._owner.on_items_lost(self, [item for item in items if not item.future.done()])
        else:
            fail_items(items, _error_of(message))


def fail_items(items: Sequence[Waiting], error: EmbedgateError) -> None:
    """End items that still wait."""
    for item in items:
        if not item.future.done():
            item.future.set_exception(error)
            item.future.exception()  # marks it as seen: a waiter that left does not fetch it


def _error_of(message: Failed) -> EmbedgateError:
    match message.failure:
        case "capacity":
            return CapacityExceeded(message.message, retry_after_s=message.retry_after_s)
        case "deadline":
            return DeadlineExceeded(message.message)
        case fault if fault in set(EngineFault):
            return EngineError(message.message, fault=EngineFault(fault), retry_after_s=message.retry_after_s)
        case _:
            return InvalidEngineReply(message.message)
