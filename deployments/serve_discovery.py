"""How gateways find the replicas of a model: Serve knows them, and each says where it listens."""

import asyncio
import logging
from collections.abc import Sequence

from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from app.link.client import ReplicaAddress

logger = logging.getLogger("ray.serve.embedgate")

_TIMEOUT_S = 2.0
_WAKE_TIMEOUT_S = 60.0


class ServeDiscovery:
    """``Discovery`` over a Serve handle.

    Args:
        handle: of the model's deployment.
    """

    def __init__(self, handle: DeploymentHandle) -> None:
        self._handle = handle
        self._wake: asyncio.Task[None] | None = None

    async def find(self, *, wanted: bool) -> Sequence[ReplicaAddress]:
        """All running replicas. Where there is none and one is wanted, Serve's autoscaler gets to see a call."""
        try:
            replies = await self._handle.broadcast("announce").results_async(
                timeout_s=_TIMEOUT_S, return_exceptions=True
            )
        except TimeoutError:
            replies = await self._any_one()  # one that hangs must not hide the others
        except (RayError, RayServeException) as error:
            logger.debug("no replica was found: %s", error)
            replies = []
        found = [reply for reply in replies if isinstance(reply, ReplicaAddress)]
        if not found and wanted and (self._wake is None or self._wake.done()):
            self._wake = asyncio.create_task(self._wait_for_one())
        return found

    async def _any_one(self) -> list[ReplicaAddress]:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                return [await self._handle.announce.remote()]
        except (TimeoutError, RayError, RayServeException):
            return []

    async def _wait_for_one(self) -> None:
        """A call that waits in Serve is what makes its autoscaler start a replica where there is none."""
        try:
            async with asyncio.timeout(_WAKE_TIMEOUT_S):
                await self._handle.announce.remote()
        except (TimeoutError, RayError, RayServeException) as error:
            logger.debug("no replica came up: %s", error)
