"""Stand-ins for faults that cannot be caused at will, and for clocks. Never used outside of tests."""

import asyncio
import hashlib
import os
import threading
import time
from collections.abc import Awaitable, Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from app.core.errors import EmbedgateError, EngineError, EngineFault, ModelProvisioning
from app.core.packing import TokenIds, Vector, unpack_vectors
from app.core.standing import ModelStanding
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
        self.highest: dict[str, float] = {}
        self.latest: dict[str, float] = {}

    def count(self, name: str, amount: float = 1.0, **labels: str) -> None:
        key = name + "".join(f",{k}={v}" for k, v in sorted(labels.items()))
        self.counts[key] = self.counts.get(key, 0) + amount

    def set(self, name: str, value: float, **labels: str) -> None:
        self.highest[name] = max(value, self.highest.get(name, value))
        self.latest[name] = value

    def observe(self, name: str, value: float, **labels: str) -> None:
        pass


def fake_vector(item: Sequence[int] | TokenIds, dimensions: int) -> NDArray[np.float32]:
    """A vector of length one that depends on the token ids alone."""
    seed = int.from_bytes(hashlib.sha256(np.asarray(item, np.int32).tobytes()).digest()[:8], "little")
    vector = np.random.default_rng(seed).standard_normal(dimensions)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


class FakePool:
    """``EmbedderPool`` without a replica: notes what was submitted, and fails or waits when told to."""

    def __init__(self, dimensions: int = 384) -> None:
        self.dimensions = dimensions
        self.calls: list[tuple[Tier, list[list[int]]]] = []
        self.weights: list[int] = []
        self.traces: list[str] = []
        self.is_ready = True
        self.is_idle = False
        self.error: EmbedgateError | Exception | None = None
        self.refusal: EmbedgateError | None = None
        self.reply: bytes | None = None
        self.gate: Callable[[], Awaitable[object]] | None = None
        self.cancelled = 0

    def standing(self, *, may_sleep: bool) -> ModelStanding:
        nothing = {tier.value: 0 for tier in Tier}
        return ModelStanding(int(self.is_ready), may_sleep, 0.0, nothing, dict(nothing), dict(nothing))

    def check(self, *, tier: Tier, project_id: str, tokens: int) -> None:
        if not self.is_ready:
            raise ModelProvisioning("No replica; try again.", retry_after_s=5)
        if self.refusal is not None:
            raise self.refusal

    def submit(
        self,
        items: Sequence[TokenIds],
        *,
        tier: Tier,
        project_id: str,
        weight: int = 1,
        timeout_ms: int,
        trace: str = "",
    ) -> list[asyncio.Future[Vector]]:
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[Vector]] = [loop.create_future() for _ in items]
        if items:
            self.calls.append((tier, [item.tolist() for item in items]))
            self.weights.append(weight)
            self.traces.append(trace)
            task = loop.create_task(self._compute(items, futures, self.gate))
            for future in futures:
                future.add_done_callback(lambda _: self._on_done(futures, task))
        return futures

    async def _compute(
        self,
        items: Sequence[TokenIds],
        futures: Sequence[asyncio.Future[Vector]],
        gate: Callable[[], Awaitable[object]] | None,
    ) -> None:
        try:
            if gate is not None:
                await gate()
            if self.error is not None:
                raise self.error
            reply = self.reply
            if reply is None:
                reply = np.stack([fake_vector(item, self.dimensions) for item in items]).tobytes()
            vectors = unpack_vectors(reply, count=len(items), dimensions=self.dimensions)
        except Exception as error:
            for future in futures:
                if not future.done():
                    future.set_exception(error)
                    future.exception()
        else:
            for future, vector in zip(futures, vectors, strict=True):
                if not future.done():
                    future.set_result(vector)

    def _on_done(self, futures: Sequence[asyncio.Future[Vector]], task: asyncio.Task[None]) -> None:
        if not task.done() and not task.cancelling() and all(future.cancelled() for future in futures):
            self.cancelled += 1
            task.cancel()


class FakeEngine:
    """A ``StepEngine`` that can be made to wait, to fail, or to answer nonsense."""

    dimensions = 8

    def __init__(self) -> None:
        self.steps: list[list[list[int]]] = []
        self.errors: list[Exception] = []
        self.scale = 1.0
        self.poison = -1
        self.takes_s = 0.0
        self.niceness = 0
        self.gate = threading.Event()
        self.gate.set()

    def embed(self, items: Sequence[TokenIds]) -> NDArray[np.float32]:
        self.steps.append([item.tolist() for item in items])
        self.niceness = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        time.sleep(self.takes_s)
        self.gate.wait(10)
        if self.errors:
            raise self.errors.pop()
        if any(item[0] == self.poison for item in items):
            raise EngineError("refused", fault=EngineFault.BAD_INPUT)
        return np.stack([fake_vector(item, 8) for item in items]) * np.float32(self.scale)
