"""The BatchWorker deployment: nobody calls it, it finds its work in the cluster's store."""

import asyncio
import logging
import os
import time
from collections.abc import Awaitable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ray import serve
from ray.serve.handle import DeploymentHandle

from app.core.settings import Settings
from app.services.activity import ActivityRecorder
from app.services.loop_watch import watch_loop
from app.stores.redis_activity import RedisActivity
from app.stores.redis_client import connect
from deployments.batches import open_worker
from deployments.environment import files_url, redis_url
from deployments.loopback import keep_internal_port_local
from deployments.metrics import RayMetrics
from deployments.models import open_models

logger = logging.getLogger("ray.serve.embedgate")

_THREADS = 2


class BatchWorkerReplica:
    """Works on batches, below every other tier.

    Args:
        settings: a ``Settings`` as JSON types.
        embedders: the deployment of each model, by id.
        embedded_redis: the store, where no URL names another.
        deployed_with: variables of the environment in which the application was deployed; this
            process's own go before them.
    """

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self,
        settings: dict[str, Any],
        embedders: dict[str, DeploymentHandle],
        embedded_redis: DeploymentHandle | None,
        deployed_with: dict[str, str],
    ) -> None:
        keep_internal_port_local()
        config = Settings.model_validate(settings)
        os.nice(config.batches.niceness)
        environment = {**deployed_with, **os.environ}
        metrics = RayMetrics()
        url = await redis_url(config, environment, embedded_redis)
        activity = ActivityRecorder(RedisActivity(connect(url)), standing=None, wall_s=time.time)
        executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="lines")
        self._worker = open_worker(
            redis_url=url,
            files_url=files_url(config, environment),
            settings=config,
            models=open_models(config.models, embedders, executor=executor, metrics=metrics),
            executor=executor,
            metrics=metrics,
            note_lines=activity.note_lines,
        )
        watch = watch_loop(metrics, process="batch_worker", clock_s=time.monotonic)
        loop = asyncio.get_running_loop()
        self._background = [loop.create_task(work) for work in (watch, activity.run_forever())]
        self._worker.start()
        self._has_left = False

    def __del__(self) -> Awaitable[None] | None:
        """Called by Serve, which awaits it, before it ends the replica; and by Python later."""
        if getattr(self, "_has_left", True):
            return None
        self._has_left = True
        return self._worker.close()

    async def check_health(self) -> None:
        """Serve's health check."""
        if not self._worker.is_alive:
            raise RuntimeError("a loop of this batch worker ended by itself")


batch_worker_deployment = serve.deployment(BatchWorkerReplica, name="BatchWorker")
