"""A gateway's connection as its replica sees it: what came over it and is not answered yet."""

import asyncio
import hmac
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec
import numpy as np

from app.core.load import EngineState
from app.core.packing import unpack_items
from app.core.tier_queue import QueuedItem
from app.core.tiers import Tier
from app.link.framing import MAX_FRAME_BYTES, Frames
from app.link.messages import FromGateway, Hello, Submit

_DECODER: msgspec.msgpack.Decoder[FromGateway] = msgspec.msgpack.Decoder(FromGateway)

logger = logging.getLogger("ray.serve.embedgate")

_HELLO_WITHIN_S = 5.0
_HELLO_MAX_BYTES = 1024


class Engine(Protocol):
    """What computes: an ``EngineLoop``."""

    def submit(self, items: Sequence[QueuedItem]) -> None:
        """Queue items; the outcome of each is told."""

    def withdraw(self, items: Sequence[QueuedItem]) -> None:
        """Take back what has not begun."""

    def check_health(self) -> None:
        """Raise ``EngineError`` when it is beyond use."""

    def state(self) -> EngineState:
        """How fast it is and what it waits for."""


class Host(Protocol):
    """The replica's server, as its connections need it."""

    engine: Engine
    token: str
    received_tokens: int

    def clock_s(self) -> float:
        """Monotonic clock."""

    def meet_stranger(self, gateway: "GatewayConnection") -> None:
        """Somebody connected."""

    def part_from_stranger(self) -> None:
        """One became known, or went."""

    def warn(self, sentence: str) -> None:
        """Log what others cause."""

    def add(self, gateway: "GatewayConnection") -> None:
        """One has shown that it knows the secret."""

    def drop(self, gateway: "GatewayConnection") -> None:
        """A connection ended."""


@dataclass(slots=True, eq=False)
class Ticket:
    """An item's owner and number: what ``QueuedItem.owner`` holds."""

    gateway: "GatewayConnection"
    number: int


class GatewayConnection(Frames[FromGateway]):
    """One gateway's connection."""

    def __init__(self, server: Host) -> None:
        super().__init__(_DECODER.decode, max_bytes=_HELLO_MAX_BYTES)
        self.tokens = [0] * len(Tier)
        self.received_tokens = [0] * len(Tier)
        self._server = server
        self._items: dict[int, QueuedItem] = {}
        self._is_known = False
        self._impatience = asyncio.get_running_loop().call_later(_HELLO_WITHIN_S, self.close)

    def on_message(self, message: FromGateway) -> None:
        """The first must be a ``Hello`` with the right secret."""
        if isinstance(message, Hello):
            self._meet(message)
        elif not self._is_known:
            self.close()
        elif isinstance(message, Submit):
            self._accept(message)
        else:
            self._cancel(np.frombuffer(message.numbers, "<i8").tolist())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Not known yet."""
        super().connection_made(transport)
        self._server.meet_stranger(self)

    def on_lost(self) -> None:
        """Nobody waits for what is left."""
        self._impatience.cancel()
        if not self._is_known:
            self._server.part_from_stranger()
        self._server.drop(self)
        self._cancel(list(self._items))

    def settle(self, number: int) -> bool:
        """Count an item as ended; False when it was cancelled before."""
        item = self._items.pop(number, None)
        if item is None:
            return False
        self.tokens[item.tier.rank] -= item.tokens
        return True

    def _meet(self, hello: Hello) -> None:
        if not hmac.compare_digest(hello.token.encode(), self._server.token.encode()):
            self._server.warn("somebody who does not know this replica's secret was turned away")
            self.close()
            return
        if self._is_known:
            return
        self._is_known = True
        self._server.part_from_stranger()
        self._impatience.cancel()
        self.max_bytes = MAX_FRAME_BYTES
        self._server.add(self)

    def _accept(self, message: Submit) -> None:
        try:
            items = self._unpack(message)
        except (ValueError, KeyError) as error:
            logger.error("a gateway sent what is no list of items; its connection is closed: %s", error)
            self.close()
            return
        for item in items:
            self._items[ticket_of(item).number] = item
            self.tokens[item.tier.rank] += item.tokens
            self.received_tokens[item.tier.rank] += item.tokens
            self._server.received_tokens += item.tokens
        self._server.engine.submit(items)

    def _unpack(self, message: Submit) -> list[QueuedItem]:
        arrays = unpack_items(message.lengths, message.ids)
        timeouts_ms = np.frombuffer(message.timeouts_ms, "<i4").tolist()
        owners = [group for group in message.groups for _ in range(group.count)]
        now_s = self._server.clock_s()
        return [
            QueuedItem(
                token_ids=array,
                tier=Tier(group.tier),
                queued_at_s=now_s,
                deadline_s=now_s + timeout_ms / 1000,
                owner=Ticket(self, number),
                flow=group.project_id,
                weight=max(1, group.weight),
                trace=group.trace,
            )
            for number, (array, timeout_ms, group) in enumerate(
                zip(arrays, timeouts_ms, owners, strict=True), message.first
            )
        ]

    def _cancel(self, numbers: Iterable[int]) -> None:
        items = [item for number in numbers if (item := self._items.get(number)) is not None]
        for item in items:
            self.settle(ticket_of(item).number)
        self._server.engine.withdraw(items)


def ticket_of(item: QueuedItem) -> Ticket:
    """Whose an item is."""
    assert isinstance(item.owner, Ticket), "only connections queue items. This is a bug."
    return item.owner
