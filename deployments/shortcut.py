"""The way of embedding requests past Serve's own code around an application, in a gateway's process.

For each request that code parses headers, draws an id, and makes a context and some wrappers: a third of what
a gateway spends on a cached answer. What counts is done here by the same means: a request takes one of the
replica's places (``max_ongoing_requests``), is in the count by which Serve drains and scales, and in Serve's metrics.
It has no span and no request context of Serve's, and neither its queue's bound nor its timeout.
"""

import asyncio
import logging
import time
from typing import Any, Protocol

from ray.serve._private.common import RequestMetadata, RequestProtocol
from ray.serve._private.constants import RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD
from ray.serve._private.replica import Replica
from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger("ray.serve.embedgate")


class Shortcut(Protocol):
    """A way to the application."""

    def is_open(self) -> bool:
        """Whether requests may take it."""

    async def serve(self, scope: Scope, receive: Receive, send: Send, *, request_id: str) -> None:
        """Serve one request in the caller's task, with ``x-request-id`` on its answer."""


class PastServe:
    """The way to the application of the replica that this process is.

    Args:
        replica: Ray's own object. All that is used of it is private to the pinned release of Ray.
    """

    def __init__(self, replica: Any) -> None:
        self._replica = replica
        self._application = replica._user_callable_wrapper._callable
        self._places = replica._semaphore
        self._metrics = replica._metrics_manager
        self._metadata = RequestMetadata(
            request_id="",
            internal_request_id="",
            route="/",
            app_name=replica._deployment_id.app_name,
            is_streaming=True,
            _request_protocol=RequestProtocol.HTTP,
            _http_method="POST",
            is_direct_ingress=True,
        )

    def is_open(self) -> bool:
        """Whether the application is at the root, where its paths are what the server was asked for."""
        return bool(self._replica._route_prefix == "/")

    async def serve(self, scope: Scope, receive: Receive, send: Send, *, request_id: str) -> None:
        """Serve one request, when the replica has a place for it; see :class:`Shortcut`."""
        began_s = time.perf_counter()
        status: str | None = None
        failure: BaseException | None = None

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        await self._places.acquire()
        try:
            self._metrics.inc_num_ongoing_requests(self._metadata)
            try:
                await self._application(scope, receive, send_with_id)
            except asyncio.CancelledError as error:
                failure = error
                raise
            except Exception as error:
                failure = error
                logger.exception("request %s failed outside of its envelope", request_id)
                raise
            finally:
                self._metrics.dec_num_ongoing_requests(self._metadata)
        finally:
            self._places.release()
            took_ms = (time.perf_counter() - began_s) * 1000
            self._replica._record_errors_and_metrics(failure, status, took_ms, self._metadata)


def shortcut_through(app: ASGIApp) -> Shortcut | None:
    """The shortcut that an ingress allows; None where it is not a gateway's, or runs its application elsewhere.

    Args:
        app: what Serve gives to the layers around its ingress, once the replica is ready to serve.
    """
    replica = getattr(getattr(app, "_app", None), "__self__", None)
    if RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD or not isinstance(replica, Replica):
        return None
    return PastServe(replica)
