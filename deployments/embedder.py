"""The Embedder deployment: one model, its queue and its engine, in one replica process."""

import asyncio
import logging
import os
import time
from typing import Any

import numpy as np
from ray import serve

from app.core.errors import CapacityExceeded, DeadlineExceeded, EmbedgateError, EngineError, InvalidEngineReply
from app.core.packing import EmbedReply, Shares, unpack_items
from app.core.settings import ModelSettings
from app.core.tier_queue import TierQueue
from app.core.tiers import Tier
from app.services.engine_loop import EngineLoop, LoopBounds
from app.stores.model_files import locate
from deployments.loopback import keep_internal_port_local
from deployments.metrics import RayMetrics
from deployments.vllm_engine import VllmEngine

logger = logging.getLogger("ray.serve.embedgate")


class Embedder:
    """Serves one model. Fails its health check when the engine died or hangs, and is replaced then.

    Args:
        settings: a ``ModelSettings`` as JSON types.
    """

    async def __init__(self, settings: dict[str, Any]) -> None:  # type: ignore[misc]  # Serve awaits it
        keep_internal_port_local()
        model = ModelSettings.model_validate(settings)
        began_s = time.monotonic()
        files = await asyncio.to_thread(locate, model, weights=True)
        # vLLM's imports are made here, alone: from a second thread they have been seen to wait for each other.
        import vllm  # noqa: F401

        try:
            async with asyncio.timeout(model.engine.load_timeout_s):
                engine = await asyncio.to_thread(VllmEngine, model, files.folder, files.card)
        except TimeoutError:
            logger.error("%s did not load within %s s; starting anew", model.id, model.engine.load_timeout_s)
            os._exit(1)  # a thread that hangs cannot be ended otherwise
        bounds = LoopBounds(
            max_step_items=model.engine.max_step_items,
            max_step_tokens=model.engine.max_step_tokens,
            hang_after_s=model.engine.hang_after_s,
        )
        self._loop = EngineLoop(
            engine,
            TierQueue(
                max_queued_tokens=model.engine.max_queued_tokens,
                min_shares_thousandths=model.engine.min_shares.by_tier(),
            ),
            bounds=bounds,
            model_id=model.id,
            metrics=RayMetrics(),
            clock_s=time.monotonic,
        )
        self._loop.start(asyncio.get_running_loop())
        await self._warm_up()
        logger.info("%s is ready after %.1f s", model.id, time.monotonic() - began_s)

    async def _warm_up(self) -> None:
        """A first vector, so that a replica that cannot compute never counts as ready."""
        await self._loop.embed([np.zeros(8, np.int32)], tier=Tier.PRIORITY, timeout_ms=60_000)

    async def embed(self, lengths: bytes, ids: bytes, tier: str, timeout_ms: int, shares: Shares = ()) -> EmbedReply:
        """Compute packed items (see ``app.core.packing``); failures come back as values."""
        try:
            items = unpack_items(lengths, ids)
            vectors = await self._loop.embed(items, tier=Tier(tier), timeout_ms=timeout_ms, shares=shares)
        except EngineError as error:
            return EmbedReply(None, error.fault.value, error.message)
        except CapacityExceeded as error:
            return EmbedReply(None, "capacity", error.message)
        except DeadlineExceeded as error:
            return EmbedReply(None, "deadline", error.message)
        except InvalidEngineReply as error:
            return EmbedReply(None, "invalid", error.message)
        return EmbedReply(vectors.tobytes())

    async def ping(self) -> bool:
        """Whether the engine is well."""
        try:
            self._loop.check_health()
        except EmbedgateError:
            return False
        return True

    def __del__(self) -> None:
        """Ends the engine's thread after the step under way."""
        if hasattr(self, "_loop"):
            self._loop.stop()

    async def check_health(self) -> None:
        """Serve's health check; three failures in a row replace the replica."""
        try:
            self._loop.check_health()
        except EmbedgateError as error:
            logger.error("the engine is beyond use, this replica will be replaced: %s", error)
            raise RuntimeError(error.message) from None


embedder_deployment = serve.deployment(Embedder)
