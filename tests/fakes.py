"""Stand-ins for faults that cannot be caused at will, and for clocks. Never used outside of tests."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from app.core.errors import EmbedgateError
from app.core.packing import Shares, TokenIds, unpack_items
from app.core.tiers import Tier


class FakeClock:
    def __init__(self, now_s: float = 1000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s

    def advance(self, seconds: float) -> None:
        self.now_s += seconds


class RecordingMetrics:
    def __init__(self) -> None:
        self.counts: dict[str, float] = {}

    def count(self, name: str, amount: float = 1.0, **labels: str) -> None:
        key = name + "".join(f",{k}={v}" for k, v in sorted(labels.items()))
        self.counts[key] = self.counts.get(key, 0) + amount

    def set(self, name: str, value: float, **labels: str) -> None:
        pass

    def observe(self, name: str, value: float, **labels: str) -> None:
        pass


def fake_vector(item: Sequence[int] | TokenIds, dimensions: int) -> NDArray[np.float32]:
    """A vector of length one that depends on the token ids alone."""
    seed = int.from_bytes(hashlib.sha256(np.asarray(item, np.int32).tobytes()).digest()[:8], "little")
    vector = np.random.default_rng(seed).standard_normal(dimensions)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


class FakeLink:
    """``EmbedderLink`` without a replica: counts calls, and fails or waits when told to."""

    def __init__(self, dimensions: int = 384) -> None:
        self.dimensions = dimensions
        self.calls: list[tuple[Tier, list[list[int]]]] = []
        self.shares: list[list[tuple[str, int]]] = []
        self.is_ready = True
        self.error: EmbedgateError | Exception | None = None
        self.reply: bytes | None = None
        self.gate: Callable[[], Awaitable[object]] | None = None
        self.cancelled = 0

    async def call(self, lengths: bytes, ids: bytes, *, tier: Tier, shares: Shares, timeout_ms: int) -> bytes:
        items = unpack_items(lengths, ids)
        self.shares.append(list(shares))
        self.calls.append((tier, [item.tolist() for item in items]))
        try:
            if self.gate is not None:
                await self.gate()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        if self.reply is not None:
            return self.reply
        return np.stack([fake_vector(item, self.dimensions) for item in items]).tobytes()
