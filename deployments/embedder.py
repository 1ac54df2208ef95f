"""The Embedder deployment: one model, its queue and its engine, in one replica process."""

import asyncio
import logging
import os
import secrets
import time
from collections.abc import Awaitable
from typing import Any

import numpy as np
import ray
from ray import serve

from app.core.errors import EmbedgateError
from app.core.load import RateMeter
from app.core.packing import check_norms
from app.core.settings import ModelSettings
from app.core.settings.application import TracingSettings
from app.core.tier_queue import TierQueue
from app.link.client import ReplicaAddress
from app.link.server import EmbedderServer
from app.services.engine_loop import EngineLoop
from app.services.idle_cores import idle_cores
from app.services.loop_watch import watch_loop
from app.services.step_engine import LoopBounds, StepEngine
from app.stores.model_files import locate
from deployments.garbage import collect_seldom
from deployments.loopback import keep_internal_port_local
from deployments.metrics import RayMetrics
from deployments.null_engine import NullEngineForTests
from deployments.scaling import ASKED_PER_S, TOKENS_PER_S, WAITING_TOKENS
from deployments.tracing import open_tracer
from deployments.vllm_engine import VllmEngine

logger = logging.getLogger("ray.serve.embedgate")

_LEAVE_WITHIN_S = 30.0
"""Less than the time that Serve gives a replica to leave."""


class Embedder:
    """Serves one model. Fails its health check when the engine died or hangs, and is replaced then.

    Args:
        settings: a ``ModelSettings`` as JSON types.
        tracing: a ``TracingSettings`` as JSON types.
        null_engine_tokens_per_s: for tests and benches: compute nothing, at this speed.
    """

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self,
        settings: dict[str, Any],
        tracing: dict[str, Any] | None = None,
        null_engine_tokens_per_s: float | None = None,
    ) -> None:
        keep_internal_port_local()
        model = ModelSettings.model_validate(settings)
        began_s = time.monotonic()
        engine = await _engine(model, null_engine_tokens_per_s)
        # A first vector, so that a replica that cannot compute never counts as ready.
        check_norms(await asyncio.to_thread(engine.embed, [np.zeros(8, np.int32)]))
        bounds = LoopBounds(
            max_step_items=model.engine.max_step_items,
            max_step_tokens=model.engine.max_step_tokens,
            hang_after_s=model.engine.hang_after_s,
            patience=model.engine.patience_thousandths / 1000,
            max_step_s=model.engine.max_step_ms / 1000,
            max_shared_step_s=model.engine.max_shared_step_ms / 1000,
            max_light_step_s=model.engine.max_light_step_ms / 1000,
            niceness=model.engine.niceness,
        )
        shares = model.engine.min_shares.by_tier()
        metrics = RayMetrics()
        watch = watch_loop(metrics, process="embedder", clock_s=time.monotonic)
        self._watch = asyncio.get_running_loop().create_task(watch)
        self._loop = EngineLoop(
            engine,
            TierQueue(max_queued_tokens=model.engine.max_queued_tokens, min_shares_thousandths=shares),
            meter=RateMeter(shares),
            bounds=bounds,
            model_id=model.id,
            metrics=metrics,
            clock_s=time.monotonic,
            tracer=open_tracer(
                TracingSettings.model_validate(tracing or {}), service="embedder", clock_s=time.monotonic
            ),
            idle_cores=idle_cores(threads=int(os.environ["OMP_NUM_THREADS"])) if not model.num_gpus else None,
        )
        token = secrets.token_urlsafe(32)
        self._server = EmbedderServer(self._loop, token=token, clock_s=time.monotonic)
        self._loop.start(asyncio.get_running_loop(), self._server)
        host = ray.util.get_node_ip_address()
        port = await self._server.listen(host)
        self._address = ReplicaAddress(serve.get_replica_context().replica_id.unique_id, host, port, token)
        self._has_left = False
        self._stats_at_s, self._stats_tokens = time.monotonic(), 0
        collect_seldom()
        logger.info("%s is ready after %.1f s", model.id, time.monotonic() - began_s)

    async def announce(self) -> ReplicaAddress:
        """Where gateways send items to, and the secret that lets them in."""
        return self._address

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """What Serve's controller hands to :class:`deployments.scaling.TokenPolicy`."""
        now_s, received = time.monotonic(), self._server.received_tokens
        asked_per_s = (received - self._stats_tokens) / max(0.1, now_s - self._stats_at_s)
        self._stats_at_s, self._stats_tokens = now_s, received
        return {
            WAITING_TOKENS: float(sum(self._server.tokens())),
            ASKED_PER_S: asked_per_s,
            TOKENS_PER_S: self._loop.state().tokens_per_s,
        }

    def __del__(self) -> Awaitable[None] | None:
        """Called by Serve, which awaits it, before it ends the replica; and by Python later."""
        if getattr(self, "_has_left", True):
            return None
        self._has_left = True
        return self._leave()

    async def _leave(self) -> None:
        await self._server.leave(within_s=_LEAVE_WITHIN_S)
        self._loop.stop()

    async def check_health(self) -> None:
        """Serve's health check; three failures in a row replace the replica."""
        try:
            self._loop.check_health()
        except EmbedgateError as error:
            logger.error("the engine is beyond use, this replica will be replaced: %s", error)
            raise RuntimeError(error.message) from None


async def _engine(model: ModelSettings, null_engine_tokens_per_s: float | None) -> StepEngine:
    files = await asyncio.to_thread(locate, model, weights=null_engine_tokens_per_s is None)
    if null_engine_tokens_per_s is not None:
        logger.warning("TESTING: %s computes nothing", model.id)
        return NullEngineForTests(files.card.dimensions, tokens_per_s=null_engine_tokens_per_s)
    # vLLM's imports are made here, alone: from a second thread they have been seen to wait for each other.
    import vllm  # noqa: F401

    try:
        async with asyncio.timeout(model.engine.load_timeout_s):
            return await asyncio.to_thread(VllmEngine, model, files.folder, files.card)
    except TimeoutError:
        logger.error("%s did not load within %s s; starting anew", model.id, model.engine.load_timeout_s)
        os._exit(1)  # a thread that hangs cannot be ended otherwise


embedder_deployment = serve.deployment(Embedder)
