"""The layer outside of Ray's own ingress code, in each gateway.

Ray lets callers steer it through headers (its deadline, which ends in plain text; its handling of
disconnects) and makes up request ids of its own. This layer takes the first away and makes the second ours.
It steers Serve itself so that an embedding request is ended here when its client leaves.
Serve imports :func:`middlewares` by the path in ``RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH``.
"""

import asyncio

from ray.serve._private.constants import RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.body_credit import meter
from app.api.express import embeddings_path
from app.api.request_record import CALLERS_ID
from deployments.departure import Departure
from deployments.fresh_ids import FreshIds

IMPORT_PATH = "deployments.ingress_headers:middlewares"

_REQUEST_ID = b"x-request-id"
_STEERING = frozenset(
    {
        b"x-request-timeout-seconds",
        b"x-request-disconnect-disabled",
        b"serve-multiplexed-model-id",
        b"serve_multiplexed_model_id",
        b"x-session-id",
    }
)


_WATCHED_HERE = ((b"x-request-disconnect-disabled", b"?1"), (b"x-request-timeout-seconds", b"0"))
"""Tell Serve that somebody else ends a request, so that it runs in the task of this layer."""


class IngressHeaders:
    """ASGI middleware: only headers that concern the service get through, and each request has a valid id.

    Args:
        app: Serve's ingress.
        shares_loop: whether the application runs in the task and the event loop of this layer, as with
            ``RAY_SERVE_THROUGHPUT_OPTIMIZED``: then embedding requests are ended here when their clients leave.
    """

    def __init__(self, app: ASGIApp, *, shares_loop: bool) -> None:
        self._app = app
        self._shares_loop = shares_loop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http":
            given = b""
            kept = []
            for name, value in scope["headers"]:
                if name == _REQUEST_ID:
                    given = value
                elif name not in _STEERING:
                    kept.append((name, value))
            request_id = given if CALLERS_ID.match(given) else new_request_id().encode()
            scope["headers"] = [*kept, (_REQUEST_ID, request_id)]
            if self._shares_loop and embeddings_path(scope)[0]:
                scope["headers"].extend(_WATCHED_HERE)
                await self._serve_while_the_client_stays(scope, receive, send)
                return
            receive = meter(scope, receive)
        await self._app(scope, receive, send)

    async def _serve_while_the_client_stays(self, scope: Scope, receive: Receive, send: Send) -> None:
        departure = Departure(receive, send)
        try:
            await self._app(scope, departure.receive, departure.send)
        except asyncio.CancelledError:
            if not departure.has_left:
                raise
        finally:
            departure.end()


new_request_id = FreshIds("req_")
"""A fresh id of a request."""


def middlewares() -> list[Middleware]:
    """What Serve puts around its ingress."""
    return [Middleware(IngressHeaders, shares_loop=not RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD)]
