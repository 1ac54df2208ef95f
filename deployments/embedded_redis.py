"""The embedded Redis as a Serve deployment: it lives with the application and is restarted with it."""

import asyncio
from pathlib import Path

from ray import serve

from app.stores.embedded_redis import EmbeddedRedis
from deployments.loopback import keep_internal_port_local
from deployments.preload import jemalloc


class EmbeddedRedisServer:
    """Owns the Valkey process of a single machine."""

    def __init__(self, data_dir: str) -> None:
        keep_internal_port_local()
        self._server = EmbeddedRedis(Path(data_dir), allocator=jemalloc())
        self._server.start()

    async def url(self) -> str:
        """What gateways connect to."""
        return self._server.url

    async def check_health(self) -> None:
        """Serve's health check."""
        if not self._server.is_running:
            await asyncio.to_thread(self._server.start)

    def __del__(self) -> None:
        """Ends the server; it writes out its file first."""
        self._server.stop()


embedded_redis_deployment = serve.deployment(
    EmbeddedRedisServer,
    ray_actor_options={"num_cpus": 0},
    health_check_period_s=1,
    graceful_shutdown_timeout_s=15,
)
