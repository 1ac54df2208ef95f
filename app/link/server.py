"""The replica's end of the link: items in, vectors out, each as soon as its step is done."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from app.core.errors import (
    CapacityExceeded,
    DeadlineExceeded,
    EmbedgateError,
    EngineError,
)
from app.core.load import ReplicaLoad
from app.core.tier_queue import QueuedItem
from app.core.tiers import Tier
from app.link.gateway_connection import Engine, GatewayConnection, ticket_of
from app.link.messages import (
    Beat,
    Failed,
    Goodbye,
    Vectors,
    Welcome,
)

logger = logging.getLogger("ray.serve.embedgate")

BEAT_S = 0.5
_MAX_STRANGERS = 64
"""Connections that have not said the secret yet."""

_FRAME_VECTOR_BYTES = 16 * 1024 * 1024
_WARN_EVERY_S = 60.0


class EmbedderServer:
    """Serves the gateways of one replica; told of every item's outcome by the engine.

    Args:
        engine: where items go.
        token: the secret that a gateway must know.
        clock_s: monotonic clock.
    """

    def __init__(self, engine: Engine, *, token: str, clock_s: Callable[[], float]) -> None:
        self.engine = engine
        self.token = token
        self.clock_s = clock_s
        self.is_leaving = False
        self.received_tokens = 0
        self._gateways: set[GatewayConnection] = set()
        self._strangers = 0
        self._warned_at_s = -_WARN_EVERY_S
        self._server: asyncio.Server | None = None
        self._beat: asyncio.Task[None] | None = None

    async def listen(self, host: str) -> int:
        """Accept gateways at ``host``.

        Returns:
            The port.

        Raises:
            OSError: the address is not ours.
        """
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: GatewayConnection(self), host, 0)
        self._beat = loop.create_task(self._beat_forever())
        return int(self._server.sockets[0].getsockname()[1])

    async def leave(self, *, within_s: float) -> None:
        """Ask for no more work, answer what comes yet, and close when every gateway has gone."""
        self._refuse_work()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self._gateways:  # noqa: ASYNC110  # once in a replica's life
                    await asyncio.sleep(0.02)
        if self._beat is not None:
            self._beat.cancel()
        if self._server is not None:
            self._server.close()
        for gateway in list(self._gateways):
            gateway.close()

    def computed(self, items: Sequence[QueuedItem], vectors: NDArray[np.float32]) -> None:
        """Answer the items of a step; ``vectors`` has a row for each."""
        rows: dict[GatewayConnection, list[int]] = {}
        for row, item in enumerate(items):
            ticket = ticket_of(item)
            if ticket.gateway.settle(ticket.number):
                rows.setdefault(ticket.gateway, []).append(row)
        for gateway, own in rows.items():
            rows_a_frame = max(1, _FRAME_VECTOR_BYTES // vectors[0].nbytes)
            for start in range(0, len(own), rows_a_frame):
                part = own[start : start + rows_a_frame]
                numbers = np.fromiter((ticket_of(items[row]).number for row in part), "<i8", len(part))
                chosen = vectors if len(part) == len(vectors) else vectors[part]
                packed = chosen.astype("<f4", copy=False).tobytes()
                gateway.send(Vectors(numbers.tobytes(), packed, self.load_for(gateway)))

    def failed(self, items: Sequence[QueuedItem], error: EmbedgateError) -> None:
        """Tell the owners of items that will have no vector."""
        numbers: dict[GatewayConnection, list[int]] = {}
        for item in items:
            ticket = ticket_of(item)
            if ticket.gateway.settle(ticket.number):
                numbers.setdefault(ticket.gateway, []).append(ticket.number)
        for gateway, own in numbers.items():
            packed = np.array(own, "<i8").tobytes()
            gateway.send(Failed(packed, _failure_of(error), error.message, error.retry_after_s or 5))

    def tokens(self) -> list[int]:
        """Accepted and not answered, by rank."""
        return [sum(column) for column in zip([0] * len(Tier), *(g.tokens for g in self._gateways), strict=True)]

    def load_for(self, gateway: GatewayConnection) -> ReplicaLoad:
        """This replica's load as one gateway is told of it."""
        return ReplicaLoad(self.engine.state(), self.tokens(), tuple(gateway.received_tokens))

    def meet_stranger(self, gateway: GatewayConnection) -> None:
        """Somebody connected; too many at a time are turned away."""
        self._strangers += 1
        if self._strangers > _MAX_STRANGERS:
            gateway.abort()

    def part_from_stranger(self) -> None:
        """One became known, or went."""
        self._strangers -= 1

    def warn(self, sentence: str) -> None:
        """Log what others cause, once a minute at most."""
        if self.clock_s() - self._warned_at_s >= _WARN_EVERY_S:
            self._warned_at_s = self.clock_s()
            logger.warning(sentence)

    def add(self, gateway: GatewayConnection) -> None:
        """A gateway has shown that it knows the secret."""
        self._gateways.add(gateway)
        gateway.send(Goodbye() if self.is_leaving else Welcome(self.load_for(gateway)))

    def drop(self, gateway: GatewayConnection) -> None:
        """A gateway's connection ended: nobody waits for its items."""
        self._gateways.discard(gateway)

    def _refuse_work(self) -> None:
        if not self.is_leaving:
            self.is_leaving = True
            for gateway in self._gateways:
                gateway.send(Goodbye())

    async def _beat_forever(self) -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            try:
                self.engine.check_health()
            except EngineError as error:
                logger.error("gateways are sent away: %s", error)
                self._refuse_work()
                for gateway in list(self._gateways):
                    gateway.close()  # what they still wait for goes to another replica
            for gateway in self._gateways:
                gateway.send(Beat(self.load_for(gateway)))


def _failure_of(error: EmbedgateError) -> str:
    if isinstance(error, EngineError):
        return error.fault.value
    if isinstance(error, CapacityExceeded):
        return "capacity"
    return "deadline" if isinstance(error, DeadlineExceeded) else "invalid"
