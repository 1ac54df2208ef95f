"""Calls from a gateway to the replicas of one model, and what their failures mean."""

import asyncio
import logging

from ray.exceptions import RayActorError, RayError
from ray.serve.exceptions import BackPressureError, RayServeException
from ray.serve.handle import DeploymentHandle

from app.core import metric_names as names
from app.core.errors import (
    CapacityExceeded,
    DeadlineExceeded,
    EmbedgateError,
    EngineError,
    EngineFault,
    InvalidEngineReply,
    ModelProvisioning,
)
from app.core.packing import EmbedReply, Shares
from app.core.ports import Metrics
from app.core.tiers import Tier

logger = logging.getLogger("ray.serve.embedgate")

_PING_PERIOD_S = 1.0
_PING_TIMEOUT_S = 2.0
_FAILURES_THAT_COUNT = 3
"""One sick replica among several must not switch the model off."""


class RayEmbedderLink:
    """``EmbedderLink`` over a Serve handle.

    Args:
        model_id: for messages and metrics.
        handle: the model's deployment.
        metrics: where calls that were sent once more are counted.
    """

    def __init__(self, model_id: str, handle: DeploymentHandle, metrics: Metrics) -> None:
        self._model_id = model_id
        self._handle = handle
        self._metrics = metrics
        self._ready = False
        self._check_now = asyncio.Event()
        self._watch = asyncio.create_task(self._watch_forever())

    @property
    def is_ready(self) -> bool:
        """Whether a replica answered lately."""
        return self._ready

    async def call(self, lengths: bytes, ids: bytes, *, tier: Tier, shares: Shares, timeout_ms: int) -> bytes:
        """Send packed items to a replica; once more, elsewhere, when that replica dies meanwhile.

        Sending twice is safe: a vector costs only time, and what it costs in money is settled
        by the gateway, once.
        """
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                try:
                    reply = await self._send(lengths, ids, tier, timeout_ms, shares)
                    lost = reply.failure == EngineFault.DEAD
                except RayActorError as error:
                    self._lost_replica(str(error))
                    lost = True
                if lost:
                    reply = await self._send(lengths, ids, tier, timeout_ms, shares)
        except TimeoutError:
            raise DeadlineExceeded("No vector was computed before the deadline; nothing was charged.") from None
        except RayActorError as error:
            self._lost_replica(str(error))
            raise ModelProvisioning(
                f"{self._model_id} is being restarted; try again shortly.", retry_after_s=5
            ) from error
        except BackPressureError as error:
            raise CapacityExceeded(f"{self._model_id} is overloaded; try again shortly.") from error
        except (RayError, RayServeException) as error:
            logger.exception("call to %s failed", self._model_id)
            raise EngineError("The model's replica failed.", fault=EngineFault.OTHER) from error
        if reply.vectors is None:
            raise _failure(reply)
        return reply.vectors

    async def _send(self, lengths: bytes, ids: bytes, tier: Tier, timeout_ms: int, shares: Shares) -> EmbedReply:
        reply = await self._handle.embed.remote(lengths, ids, tier.value, timeout_ms, shares)
        if not isinstance(reply, EmbedReply):
            raise InvalidEngineReply("The model's replica answered something that is not a reply. Tell the operator.")
        return reply

    def _lost_replica(self, error: str) -> None:
        logger.error("a replica of %s died during a call, which is sent once more: %s", self._model_id, error)
        self._metrics.count(names.EMBEDDER_RETRIES, model=self._model_id)
        self._check_now.set()

    async def _watch_forever(self) -> None:
        """Ping a replica every second, and at once after one was lost."""
        failures = 0
        while True:
            self._check_now.clear()
            answered = await self._ping()
            failures = 0 if answered else failures + 1
            ready = answered or (self._ready and failures < _FAILURES_THAT_COUNT)
            if ready != self._ready:
                logger.info("%s is %s", self._model_id, "ready" if ready else "not ready")
            self._ready = ready
            try:
                async with asyncio.timeout(_PING_PERIOD_S):
                    await self._check_now.wait()
            except TimeoutError:
                pass

    async def _ping(self) -> bool:
        try:
            async with asyncio.timeout(_PING_TIMEOUT_S):
                return bool(await self._handle.ping.remote())
        except TimeoutError:
            return False
        except Exception as error:
            logger.debug("ping of %s failed: %s", self._model_id, error)
            return False


def _failure(reply: EmbedReply) -> EmbedgateError:
    match reply.failure:
        case "capacity":
            return CapacityExceeded(reply.message)
        case "deadline":
            return DeadlineExceeded(reply.message)
        case fault if fault in set(EngineFault):
            return EngineError(reply.message, fault=EngineFault(fault), retry_after_s=5)
        case _:
            return InvalidEngineReply("The model's replica answered something that is not a reply. Tell the operator.")
